"""What looks like a person's own: by the name of a property, and by its value.

Small patterns of our own, each with a bound on what it reads, tested against a corpus of what is
personal and of what only looks so. They mark; they never take anything away: a person decides,
with a rule of redaction.

Invariants:
    1. Every pattern takes time in proportion to the text: bounded repeats, no nesting of them.
    2. Nothing of a value is kept; a mark is a word.
"""

from __future__ import annotations

import functools
import ipaddress
import math
import re
from collections import Counter
from typing import Final

MOST_CHARS: Final = 4_096  #: Of a text; the rest is not looked at.
LONG_WORDS: Final = 25  #: From so many words on, a text is something that a person wrote.
TOKEN_CHARS: Final = 24  #: A shorter random text is an id more often than a secret.
TOKEN_BITS: Final = 3.6  #: Per character; hexadecimal text has at most 4, words have about 3.

#: A word of a key → what it says of the value. A key is taken apart at capitals, - and _.
WORDS: Final[dict[str, str]] = {
    **dict.fromkeys(("email", "mail", "emailaddress"), "email"),
    **dict.fromkeys(("phone", "tel", "telephone", "mobile", "msisdn", "fax"), "phone"),
    **dict.fromkeys(("firstname", "lastname", "fullname", "surname", "givenname"), "name"),
    **dict.fromkeys(("username", "login", "realname", "displayname", "nickname"), "name"),
    **dict.fromkeys(("password", "passwd", "pwd", "passphrase", "secret", "pin"), "secret"),
    **dict.fromkeys(("token", "apikey", "jwt", "cookie", "authorization", "bearer"), "secret"),
    **dict.fromkeys(("creditcard", "cardnumber", "pan", "cvv", "cvc"), "card"),
    **dict.fromkeys(("iban", "bic", "accountnumber"), "iban"),
    **dict.fromkeys(("ssn", "passport", "taxid", "nationalid"), "id-number"),
    **dict.fromkeys(("birthday", "birthdate", "dob", "dateofbirth"), "birthday"),
    **dict.fromkeys(("address", "street", "zip", "zipcode", "postcode", "postalcode"), "address"),
    **dict.fromkeys(("ip", "ipaddress", "remoteaddr"), "ip"),
    **dict.fromkeys(("mac", "macaddress"), "mac"),
    **dict.fromkeys(("latitude", "longitude", "lat", "lng", "lon", "geo"), "location"),
    **dict.fromkeys(("hostname", "computername", "machinename"), "host"),
    **dict.fromkeys(("homedir", "homepath", "homefolder"), "path"),
}
#: Words behind which a key speaks of a thing about the value, not of the value itself.
ABOUT: Final = frozenset(
    {"count", "type", "kind", "length", "size", "valid", "verified", "enabled", "used", "usage"}
    | {"limit", "total", "changed", "sent", "opened", "clicked", "status", "id", "hash", "version"}
    | {"provider", "format", "field", "error", "visible", "present", "bar", "book", "mode", "lang"}
)
_NUMBERS: Final = frozenset({"phone", "card", "id-number", "location", "birthday", "secret"})

_PARTS: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_EMAIL: Final = re.compile(
    r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![A-Za-z0-9])"
)
_PHONE: Final = re.compile(
    r"(?<![\w.+-])(?:\+[1-9][0-9]{0,2}[ .\-/]?(?:\(?[0-9]{1,5}\)?[ .\-/]?){2,5}[0-9]{2,4}"
    r"|\(?0?[0-9]{3}\)[ .\-][0-9]{3}[ .\-][0-9]{4}|[0-9]{3}[.\-][0-9]{3}[.\-][0-9]{4})(?![\w-])"
)
_DIGITS: Final = re.compile(r"(?<![\w.-])[0-9](?:[ -]?[0-9]){12,18}(?![\w-]|\.[0-9])")
_IBAN: Final = re.compile(
    r"(?<!\w)[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?!\w)"
)
_IPV4: Final = re.compile(r"(?<![\w.-])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![\w-]|\.[0-9])")
_IPV6: Final = re.compile(r"(?<![\w:.])[0-9A-Fa-f:]{2,39}:[0-9A-Fa-f:]{1,39}(?![\w:])")
_MAC: Final = re.compile(r"(?<![\w:-])(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}(?![\w:-])")
_HOME: Final = re.compile(r"(?:/home/|/Users/|[A-Za-z]:[\\/]Users[\\/])[^/\\\s\"':]{1,64}")
_SHARED_HOMES: Final = frozenset({"shared", "public", "default", "runner", "user", "app", "node"})
_JWT: Final = re.compile(r"eyJ[A-Za-z0-9_-]{8,2000}\.[A-Za-z0-9_-]{8,4000}\.[A-Za-z0-9_-]{0,1000}")
_KNOWN_TOKENS: Final = re.compile(
    r"(?<![A-Za-z0-9])(?:gh[pousr]_[A-Za-z0-9]{20,80}|xox[abprs]-[A-Za-z0-9-]{10,100}"
    r"|sk[-_](?:live|test|proj)?[-_]?[A-Za-z0-9]{20,80}|AKIA[0-9A-Z]{16}|AIza[0-9A-Za-z_-]{35})"
)
_STARTS: Final = ("gh", "xox", "sk", "AKIA", "AIza")
_RUN: Final = re.compile(r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{24,200}={0,2}(?![A-Za-z0-9+/_=-])")
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}")
_HASH: Final = re.compile(r"[a-z2-7]{24}")  #: :func:`agent.rules.redaction.keyed_hasher`.
_HEX: Final = re.compile(r"[0-9a-fA-F]+")

# What bytes are, for :func:`may_be_personal`: digits 0, letters a, the rest itself.
_KINDS: Final = bytes(
    48 if 48 <= n <= 57 else 97 if 65 <= n <= 90 or 97 <= n <= 122 else n for n in range(256)
)
_RUNS: Final = bytes(97 if n in b"+/_-" or _KINDS[n] in (48, 97) else 32 for n in range(256))
_LONG_RUN: Final = b"a" * TOKEN_CHARS


def may_be_personal(payload: bytes) -> bool:
    """Return whether it is worth looking closer at the values of a payload.

    A few searches for bytes, a third of a microsecond; whatever a pattern below finds passes.
    """
    if (
        b"@" in payload
        or b"/home/" in payload
        or b"sers" in payload
        or payload.count(b" ") >= LONG_WORDS - 1
    ):
        return True
    kinds = payload.translate(_KINDS)
    if b"0000000" in kinds or b"aa00" in kinds or b"000-0" in kinds or b"000.0" in kinds:
        return True
    if b"+0" in kinds or b"a:" in kinds or b"0:" in kinds or b"::" in kinds or b"0-0" in kinds:
        return True
    if b"0.0" in kinds and kinds.count(b".") >= 3:
        return True
    if (
        b"0 0" in kinds
        or b") 0" in kinds
        or b"AKIA" in payload
        or b"sk" in payload
        or b"xox" in payload
    ):
        return True
    return payload != payload.lower() and _LONG_RUN in payload.translate(_RUNS)


@functools.lru_cache(maxsize=2_048)
def of_key(key: str) -> str:
    """Return what the name of a property says of its value, empty if nothing."""
    parts = [part.lower() for part in _PARTS.findall(key[:64])]
    if not parts or parts[-1] in ABOUT:
        return ""
    for size in (3, 2, 1):
        for at in range(len(parts) - size, -1, -1):
            word = WORDS.get("".join(parts[at : at + size]))
            if word is not None and (
                size > 1 or at == len(parts) - 1 or word in ("email", "phone")
            ):
                return word
    return ""


def of_property(key: str, value: object) -> str:
    """Return what a property's name says of this value; a flag or an empty text says nothing."""
    word = of_key(key)
    if not word or isinstance(value, bool):
        return ""
    if isinstance(value, str):
        return word if value and not (word == "address" and "://" in value) else ""
    return word if isinstance(value, (int, float)) and word in _NUMBERS else ""


def of_what_is_left(key: str, value: object) -> str:
    """Return what a property's name says of a value that a rule of redaction may have replaced.

    A mask says nothing any more, and a hash nothing but where a secret is wanted: there a drawn
    text of that form may be the secret itself.
    """
    word = of_property(key, value)
    if not word or not isinstance(value, str):
        return word
    replaced = not value.strip("*") or (word != "secret" and _HASH.fullmatch(value) is not None)
    return "" if replaced else word


def of_text(text: str) -> tuple[str, ...]:
    """Return what a text holds that looks personal, each word once."""
    text = text[:MOST_CHARS]
    found: list[str] = []
    if "@" in text and _EMAIL.search(text):
        found.append("email")
    if _has_digits(text, 9):
        if any(_luhn(one[0]) for one in _DIGITS.finditer(text)):
            found.append("card")
        elif _PHONE.search(text):
            found.append("phone")
        if any(_mod97(one[0]) for one in _IBAN.finditer(text)):
            found.append("iban")
    if text.count(".") >= 3 and any(_is_ip(one[0]) for one in _IPV4.finditer(text)):
        found.append("ip")
    elif text.count(":") >= 2:
        if _MAC.search(text):
            found.append("mac")
        elif any(_is_ip(one[0]) for one in _IPV6.finditer(text)):
            found.append("ip")
    elif text.count("-") >= 5 and _MAC.search(text):
        found.append("mac")
    if ("/home/" in text or "sers" in text) and any(
        _names_somebody(one[0]) for one in _HOME.finditer(text)
    ):
        found.append("path")
    if len(text) >= 20 and _holds_a_secret(text):
        found.append("secret")
    if (
        text.count(" ") >= LONG_WORDS - 1
        and "path" not in found
        and len(text.split()) >= LONG_WORDS
    ):
        found.append("text")
    return tuple(found)


def of_number(value: float) -> str:
    """Return what a number looks like: the digits of a card are one also without quotes."""
    if isinstance(value, int) and 10**12 <= value < 10**19:
        digits = str(value)
        if len(digits) >= 14 and digits[0] in "3456" and _luhn(digits):
            return "card"
    return ""


def _has_digits(text: str, least: int) -> bool:
    return sum(map(text.count, "0123456789")) >= least


def _luhn(text: str) -> bool:
    """Return whether digits are those of a card: issuer, length, and the check digit."""
    digits = [int(letter) for letter in text if letter.isdigit()]
    if not 13 <= len(digits) <= 19 or digits[0] not in (2, 3, 4, 5, 6) or len(set(digits)) < 2:
        return False
    if digits[0] == 4 and len(digits) not in (13, 16, 19):
        return False
    if digits[0] in (2, 5) and len(digits) != 16:
        return False
    doubled = [d * 2 - 9 * (d > 4) for d in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _mod97(text: str) -> bool:
    """Return whether letters and digits are an IBAN (ISO 13616)."""
    joined = text.replace(" ", "")
    if not 15 <= len(joined) <= 34:
        return False
    turned = joined[4:] + joined[:4]
    return int("".join(str(int(letter, 36)) for letter in turned)) % 97 == 1


def _is_ip(text: str) -> bool:
    """Return whether it is an address of a machine, and not one that says nothing of anybody."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return not (address.is_loopback or address.is_unspecified or int(address) < 2**24)


def _names_somebody(path: str) -> bool:
    return re.split(r"[/\\]", path)[-1].lower() not in _SHARED_HOMES


def _holds_a_secret(text: str) -> bool:
    if "eyJ" in text and _JWT.search(text):
        return True
    if any(start in text for start in _STARTS) and _KNOWN_TOKENS.search(text):
        return True
    if text == text.lower() or text == text.upper():  # what was drawn has both
        return False
    return any(_is_random(one[0]) for one in _RUN.finditer(text))


def _is_random(run: str) -> bool:
    """Return whether a run of letters and digits was drawn rather than written.

    Ids and hashes in hexadecimal are ids more often than secrets; a path or a name in kebab-case
    has small words.
    """
    if _UUID.fullmatch(run) or _HEX.fullmatch(run):
        return False
    if not (any(map(str.isdigit, run)) and any(map(str.islower, run))):
        return False
    if not any(map(str.isupper, run)):
        return False
    words = re.split(r"[/_+-]", run)
    if len(words) > 2 and max(map(len, words)) < 16:
        return False
    counts = Counter(run)
    bits = -sum(n / len(run) * math.log2(n / len(run)) for n in counts.values())
    return bits >= TOKEN_BITS
