"""Runs one proxy script, as `python -m agent.adapters.roads.pac_engine`: question in, verdict out.

Started by :mod:`agent.adapters.roads.pac` for each run, with nothing in its environment. The engine
(QuickJS, by dukpy) has no bounds of its own, so the kernel holds the whole process to some: CPU
time, address space, no file opened or written, no process started. The parent ends what is slow.

The functions that a script may call are those of the format (Mozilla, "Proxy Auto-Configuration
(PAC) file"), in JavaScript, so that no script ever calls into Python. Names cannot be looked up
from here: a script that wants an address ends with ``needs``, and is run again with it.
"""

from __future__ import annotations

import json
import os
import sys

CPU_S, SPACE_BYTES = 1, 512 * 1024 * 1024

FUNCTIONS = r"""
"use strict";
var isPlainHostName, dnsDomainIs, localHostOrDomainIs, isResolvable, isInNet, dnsResolve;
var convert_addr, myIpAddress, dnsDomainLevels, shExpMatch, weekdayRange, dateRange, timeRange;
var alert;
(function (known) {
  function Needs(name) { this.needs = name; }
  function address(name) {
    if (!Object.prototype.hasOwnProperty.call(known, name)) throw new Needs(name);
    return known[name];
  }
  const IP = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/;
  const DAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
  const MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN",
                  "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
  const number = (text) => {
    const parts = IP.exec(text);
    if (!parts || parts.slice(1).some((part) => part > 255)) return null;
    return parts.slice(1).reduce((sum, part) => ((sum << 8) | part) >>> 0, 0);
  };
  for (const extra of ["require", "call_python", "process", "console"]) delete globalThis[extra];
  alert = () => undefined;
  isPlainHostName = (host) => !host.includes(".") && !host.includes(":");
  dnsDomainIs = (host, domain) => host.toLowerCase().endsWith(domain.toLowerCase());
  localHostOrDomainIs = (host, full) =>
    host === full || (!host.includes(".") && full.startsWith(host + "."));
  dnsDomainLevels = (host) => host.split(".").length - 1;
  dnsResolve = (host) => (number(host) !== null ? host : address(host) || null);
  isResolvable = (host) => dnsResolve(host) !== null;
  myIpAddress = () => address("");
  convert_addr = (text) => number(text) ?? 0;
  isInNet = (host, net, mask) => {
    const found = dnsResolve(host);
    const [ip, base, bits] = [found && number(found), number(net), number(mask)];
    if (ip === null || base === null || bits === null) return false;
    return ((ip & bits) >>> 0) === ((base & bits) >>> 0);
  };
  shExpMatch = (text, pattern) => {
    const escaped = String(pattern).replace(/[.+^${}()|[\]\\]/g, "\\$&");
    return new RegExp("^" + escaped.replace(/\*/g, ".*").replace(/\?/g, ".") + "$").test(text);
  };
  const within = (now, from, to) => (from <= to ? from <= now && now <= to
                                                : now >= from || now <= to);
  const told = (words) => {
    const utc = words.length > 0 && words[words.length - 1] === "GMT";
    const rest = utc ? words.slice(0, -1) : words;
    const now = new Date();
    return [rest, (part) => now["get" + (utc ? "UTC" : "") + part]()];
  };
  weekdayRange = (...words) => {
    const [days, now] = told(words);
    const wanted = days.map((day) => DAYS.indexOf(day));
    if (!wanted.length || wanted.includes(-1)) return false;
    return within(now("Day"), wanted[0], wanted[wanted.length - 1]);
  };
  timeRange = (...words) => {
    const [parts, now] = told(words);
    const at = now("Hours") * 3600 + now("Minutes") * 60 + now("Seconds");
    const s = (h, m, sec) => h * 3600 + m * 60 + sec;
    switch (parts.length) {
      case 1: return now("Hours") === parts[0];
      case 2: return within(at, s(parts[0], 0, 0), s(parts[1], 0, 0));
      case 4: return within(at, s(parts[0], parts[1], 0), s(parts[2], parts[3], 0));
      case 6: return within(at, s(...parts.slice(0, 3)), s(...parts.slice(3)));
      default: return false;
    }
  };
  dateRange = (...words) => {
    const [parts, now] = told(words);
    const half = parts.length > 1 ? parts.length / 2 : 1;
    if (!parts.length || half !== Math.floor(half)) return false;
    const kinds = parts.map((part) =>
      typeof part === "string" ? "month" : part > 31 ? "year" : "day");
    const order = ["year", "month", "day"].filter((kind) => kinds.slice(0, half).includes(kind));
    const get = { year: now("FullYear"), month: now("Month"), day: now("Date") };
    const size = { year: 10000, month: 12, day: 32 };
    const weigh = (of) => order.reduce((sum, kind) => sum * size[kind] + of(kind), 0);
    const pick = (list) => (kind) => {
      const found = list[kinds.slice(0, half).indexOf(kind)];
      return kind === "month" ? MONTHS.indexOf(found) : found;
    };
    const from = weigh(pick(parts.slice(0, half)));
    const to = parts.length > 1 ? weigh(pick(parts.slice(half))) : from;
    return within(weigh((kind) => get[kind]), from, to);
  };
  globalThis.__run = (script, url, host) => {
    try {
      (0, eval)(script);
      const found = globalThis.FindProxyForURL(url, host);
      return JSON.stringify({ answer: found === null || found === undefined ? "" : String(found) });
    } catch (wrong) {
      if (wrong instanceof Needs) return JSON.stringify({ needs: wrong.needs });
      return JSON.stringify({ fault: String(wrong).slice(0, 200) });
    }
  };
})(dukpy.known);
"""


def confine() -> None:
    """Give up what a script could abuse; the kernel holds us to it."""
    try:
        import resource
    except ImportError:  # pragma: no cover - Windows: the engine's own bounds remain
        return
    for what, most in (
        (resource.RLIMIT_CPU, CPU_S),
        (resource.RLIMIT_AS, SPACE_BYTES),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 0),
        (resource.RLIMIT_NPROC, 0),
    ):
        try:
            resource.setrlimit(what, (most, most))
        except (OSError, ValueError):  # pragma: no cover - some kernels have not all of them
            continue


def run(script: str, url: str, host: str, known: dict[str, str]) -> str:
    """Return the verdict of one run, as JSON."""
    try:
        import dukpy
    except ImportError:
        return json.dumps({"fault": "no engine for it is installed: pip install homing[pac]"})
    engine = dukpy.JSInterpreter()  # reads its own files, so before we are confined
    confine()
    try:
        return str(
            engine.evaljs(
                (FUNCTIONS, "__run(dukpy.script, dukpy.url, dukpy.host)"),
                script=script,
                url=url,
                host=host,
                known=known,
            )
        )
    except dukpy.JSRuntimeError as exc:
        return json.dumps({"fault": str(exc).partition("\n")[0][:200]})


def main() -> int:
    """Read one question, write one verdict."""
    asked = json.loads(sys.stdin.buffer.read())
    said = run(asked["script"], asked["url"], asked["host"], asked["known"])
    os.write(1, said.encode("utf-8", "replace"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
