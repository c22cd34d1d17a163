"""The same table for people: one page, made here, without a script."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import lru_cache
from html import escape
from typing import Final

from collector.api.endpoints import ENDPOINTS, Endpoint

STYLE: Final = """
:root { color-scheme: light dark; --ink: #1b2430; --soft: #5b6878; --line: #dfe5ec; --paper: #fff;
  --card: #f6f8fb; --get: #0b6b4f; --delete: #b3261e; --accent: #1f5fbf; --socket: #7a3fb0; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6ebf2; --soft: #9aa7b7; --line: #2c3644;
  --paper: #11161d; --card: #18202a; --get: #58c9a3; --delete: #ff8a80; --accent: #7fb2ff;
  --socket: #c79bf0; } }
* { box-sizing: border-box; }
html { scroll-padding-top: 1rem; }
body { margin: 0; color: var(--ink); background: var(--paper);
  font: 16px/1.55 system-ui, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
.frame { display: grid; grid-template-columns: 17rem minmax(0, 50rem); gap: 3rem; max-width: 74rem;
  margin: 0 auto; padding: 2.5rem 1.5rem 5rem; }
nav { position: sticky; top: 2rem; align-self: start; max-height: calc(100vh - 4rem);
  overflow-y: auto; font-size: .875rem; }
nav h2 { font-size: .75rem; text-transform: uppercase; letter-spacing: .08em; color: var(--soft);
  margin: 1.4rem 0 .35rem; }
nav ul { list-style: none; margin: 0; padding: 0; }
nav li { margin: .15rem 0; }
a { color: var(--accent); text-decoration: none; } a:hover { text-decoration: underline; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .5rem; letter-spacing: -.01em; }
h2.group { font-size: 1.3rem; margin: 3rem 0 1rem; }
.lead { color: var(--soft); margin: 0 0 1.5rem; max-width: 42rem; }
section.one { border: 1px solid var(--line); border-radius: .6rem; margin: 0 0 1rem;
  background: var(--card); overflow: hidden; }
section.one > header { padding: .9rem 1.1rem .8rem; }
h3 { margin: 0; font-size: 1rem; font-weight: 600; }
.path { display: flex; flex-wrap: wrap; gap: .6rem; align-items: baseline; margin: .35rem 0 0; }
.verb { font: 600 .75rem/1 ui-monospace, "SF Mono", Menlo, Consolas, monospace; color: var(--get);
  border: 1px solid currentColor; border-radius: .3rem; padding: .2rem .4rem; }
.verb.delete { color: var(--delete); } .verb.ws { color: var(--socket); }
code, pre { font: .85rem/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
code { overflow-wrap: anywhere; } .path code b { color: var(--accent); font-weight: 600; }
.scope { margin-left: auto; color: var(--soft); font-size: .8rem; white-space: nowrap; }
.doc { margin: .5rem 0 0; color: var(--soft); font-size: .92rem; }
table { width: 100%; border-collapse: collapse; font-size: .88rem; background: var(--paper); }
td { border-top: 1px solid var(--line); padding: .5rem 1.1rem; vertical-align: top; }
td:first-child { width: 9rem; white-space: nowrap; } .must { color: var(--delete); }
pre { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: 1rem;
  overflow-x: auto; }
@media (max-width: 60rem) { .frame { grid-template-columns: minmax(0, 1fr); gap: 1rem; }
  nav { position: static; max-height: none; border-bottom: 1px solid var(--line);
    padding-bottom: 1rem; } .scope { margin-left: 0; } }
"""
#: The page may have this style and nothing else.
STYLE_HASH: Final = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()

LEAD: Final = """What this collector knows of an app. Send a token with every question, bare or
after <code>Bearer</code>; <code>homing collector token add APPID</code> makes one. Each path also
answers to <code>POST</code>, with the parameters and the <code>token</code> in a JSON object or a
form."""
STREAM_LINK: Final = '<li><a href="#stream">What is live, as it changes</a></li>'
STREAM: Final = """<section class="one" id="stream"><header><h3>What is live, as it changes</h3>
<p class="path"><span class="verb ws">WS</span><code>/api/v1/apps/<b>:appId</b>/live/stream</code>
<span class="scope">users:read</span></p>
<p class="doc">A snapshot, then changes, at most one a second. The token is in the header, or in the
first message: <code>{"token": "…"}</code>. A token that is taken back ends it within two
seconds.</p></header></section>"""


@lru_cache(maxsize=1)
def page() -> bytes:
    """Return the page as UTF-8."""
    groups: dict[str, list[Endpoint]] = {}
    for endpoint in ENDPOINTS:
        groups.setdefault(endpoint.group, []).append(endpoint)
    links = "".join(
        f"<h2>{escape(name)}</h2><ul>{''.join(map(_link, those))}"
        f"{STREAM_LINK if name == 'Live' else ''}</ul>"
        for name, those in groups.items()
    )
    body = "".join(
        f'<h2 class="group">{escape(name)}</h2>{"".join(map(_section, those))}'
        f"{STREAM if name == 'Live' else ''}"
        for name, those in groups.items()
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Homing Data API v1</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>
<body><div class="frame"><nav aria-label="Endpoints">
<a href="openapi.json">openapi.json</a>{links}</nav>
<main><h1>Data API v1</h1><p class="lead">{LEAD}</p>
<pre>curl -H "Authorization: $TOKEN" \\
  http://127.0.0.1:7780/api/v1/apps/acme-notes/analytics/quickglance</pre>
<p class="lead">A refusal is <code>{{"error": …, "code": …, "field": …}}</code> with 400, 401,
403, 404, 405, 413, 415, 429 or 503.</p>
{body}</main></div></body></html>
""".encode()


def _link(one: Endpoint) -> str:
    return f'<li><a href="#{one.name}">{escape(one.summary)}</a></li>'


def _section(one: Endpoint) -> str:
    path = re.sub(r"(:[A-Za-z]+)", r"<b>\1</b>", escape(one.full))
    must = ' <span class="must">required</span>'
    doc = f'<p class="doc">{_inline(one.doc)}</p>' if one.doc else ""
    rows = "".join(
        f"<tr><td><code>{escape(param.name)}</code>{must if param.required else ''}</td>"
        f"<td>{_inline(param.doc)}</td></tr>"
        for param in one.params
    )
    return (
        f'<section class="one" id="{one.name}"><header><h3>{escape(one.summary)}</h3>'
        f'<p class="path"><span class="verb {one.method.lower()}">{one.method}</span>'
        f'<code>{path}</code><span class="scope">{one.scope}</span></p>'
        f"{doc}</header>"
        f"{f'<table>{rows}</table>' if rows else ''}</section>"
    )


def _inline(text: str) -> str:
    return re.sub(
        r"`([^`]*)`", r"<code>\1</code>", re.sub(r"\*([^*]+)\*", r"<em>\1</em>", escape(text))
    )
