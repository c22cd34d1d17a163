"""JSON that two readers cannot understand differently, and cannot choke on.

An object that names a key twice, a number that another language rounds, a NUL, half a surrogate
pair, a thousand brackets: each is refused here, with the path of the offending place, before
anything is queued (SECURITY.md, "Limits on the local API").

Most payloads are flat and were written compactly. Those are *proved* rather than searched: they
are decoded with bounds on numbers and keys, and encoded again; if the bytes are the sender's,
there was no second key to lose (:class:`Proof`). The rest goes through :func:`check_object`.

Invariants:
    1. No input raises anything but :class:`RequestFault`. Nothing recurses before
       the depth is known to be small.
    2. The walkers (:func:`members`, :func:`elements`) run in linear time and trust nothing
       inside a value: a bad value spoils itself, not its neighbours.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Generator, Iterator, Mapping
from typing import Annotated, Final, NoReturn

import msgspec

from tracking.errors import RequestFault
from tracking.events import Limits

MAX_INTEGER: Final = 2**53 - 1  #: Beyond this JavaScript rounds (RFC 8259 §6).
_MAX_DIGITS: Final = 20  #: Longer integers are not worth converting in order to refuse them.

Integer = Annotated[int, msgspec.Meta(ge=-MAX_INTEGER, le=MAX_INTEGER)]

_SPACE = re.compile(r"[ \t\n\r]*+")
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_BRACKET = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{}"]', re.DOTALL)
#: For skipping: up to some hundred scalars and flat values at a time, or a run of brackets.
_FLAT = r'(?:[^\[\]{}"]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")'
_RUN = re.compile(
    rf'(?:{_FLAT}|[\[{{]{_FLAT}{{0,500}}+[\]}}]){{1,500}}+|([\[{{]++)|([\]}}]++)|"', re.DOTALL
)
_MOST_RUNS = 1_048_576  #: In one value; a frame of as many events as may be has half as many.
_PULSE = 4_096  #: Matches between two pulses: some milliseconds.
_SCALAR = re.compile(r'[^\s,\]}\[{":]++')
_SURROGATE = re.compile("[\ud800-\udfff]")
_PLAIN = re.compile(r'"[^"\\\x00-\x1f]*+"')  #: A string that needs no decoding.
_CLIP = 40

ENCODER: Final = msgspec.json.Encoder()


class Proof:
    """Recognises flat payloads that need no search, many at a time.

    Args:
        limits: Only ``keys`` matters here: a flat payload has depth 1.

    """

    def __init__(self, limits: Limits) -> None:
        scalar = Integer | float | str | bool | None
        flat = Annotated[dict[str, scalar], msgspec.Meta(max_length=limits.keys)]
        self._decoder: msgspec.json.Decoder[list[dict[str, object]]] = msgspec.json.Decoder(
            list[flat]
        )

    def holds(self, payloads: list[bytes]) -> bool:
        """Return whether every payload is flat, within the limits, and unambiguous.

        False proves nothing. NUL is not looked for: it can only arrive as an escape, so the
        caller sees it in one search for a backslash over the whole frame.
        """
        joined = b"[" + b",".join(payloads) + b"]"
        try:
            return ENCODER.encode(self._decoder.decode(joined)) == joined
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return False


@functools.lru_cache(maxsize=16)
def proof(limits: Limits) -> Proof:
    """Return the proof for these limits; building one costs as much as a thousand events."""
    return Proof(limits)


def check_object(text: str, field: str, limits: Limits) -> None:
    """Pass a JSON object of the sender's, or refuse it.

    Args:
        text: The value as it stood in the frame.
        field: Its path, for the sentence: ``data[3].payload``.
        limits: Depth and keys per object.

    Raises:
        RequestFault: Names the place within the object where that is known.

    """
    if not text.startswith("{"):
        raise RequestFault(f"{field} must be an object, got {clip(text)}", field=field)
    if depth(text) > limits.depth:
        raise RequestFault(f"{field} is nested deeper than {limits.depth}", field=field)
    check_value(decode(text, field, keys=limits.keys), field)


def check_value(value: object, field: str) -> None:
    """Refuse numbers and strings that not every reader takes the same way.

    Raises:
        RequestFault: Names the place.

    """
    match value:
        case str():
            _check_text(value, field)
        case Unfit():
            raise RequestFault(f"{field} {value.why}, got {clip(value.text)}", field=field)
        case dict():
            for key, inner in value.items():
                _check_text(key, field)
                check_value(inner, f"{field}.{clip(key, quoted=False)}")
        case list():
            for n, inner in enumerate(value):
                check_value(inner, f"{field}[{n}]")
        case _:
            pass


class Unfit:
    """A number that JSON can write and not every reader can hold."""

    __slots__ = ("text", "why")

    def __init__(self, text: str, why: str) -> None:
        self.text = text
        self.why = why


def decode(text: str, field: str, *, keys: int) -> object:
    """Decode one JSON value whose depth is known to be small; numbers may come out Unfit.

    Raises:
        RequestFault: It is not JSON, or an object in it names a key twice or too many.

    """
    if _PLAIN.fullmatch(text):
        return text[1:-1]
    try:
        return _decoder(keys).decode(text)
    except _Ambiguous as exc:
        raise RequestFault(f"{field} {exc}", field=field) from None
    except ValueError as exc:
        raise RequestFault(f"{field} is not JSON: {exc}", field=field) from None


class _Ambiguous(Exception):
    """An object that readers may understand differently."""


@functools.lru_cache(maxsize=16)
def _decoder(keys: int) -> json.JSONDecoder:
    def pairs(found: list[tuple[str, object]]) -> dict[str, object]:
        if len(found) > keys:
            raise _Ambiguous(f"has an object of more than {keys} keys")
        built = dict(found)
        if len(built) != len(found):
            names = [key for key, _ in found]
            twice = next(key for n, key in enumerate(names) if key in names[:n])
            raise _Ambiguous(f"names the key {clip(twice)} twice")
        return built

    return json.JSONDecoder(
        object_pairs_hook=pairs,
        parse_int=_integer,
        parse_float=_number,
        parse_constant=lambda word: Unfit(word, "must be a finite number"),
    )


def depth(text: str) -> int:
    """Return how deep the brackets of a JSON value nest, strings aside."""
    now = deepest = 0
    for match in _BRACKET.finditer(text):
        found = match[0]
        if found in "[{":
            now += 1
            deepest = max(deepest, now)
        elif found in "]}":
            now -= 1
    return deepest


def members(text: str, at: int, field: str) -> Iterator[tuple[str, int, int]]:
    """Walk the object that opens at ``at``: yield each key and where its value starts and ends.

    Raises:
        RequestFault: The object is not one, or a key is no string.

    """
    for found in members_in_steps(text, at, field):
        if found is not None:
            yield found


def members_in_steps(text: str, at: int, field: str) -> Iterator[tuple[str, int, int] | None]:
    """Do the same as :func:`members`, and yield None now and then: a large value takes a while."""
    for found in _walk(text, at, "{", "}", field):
        if found is None:
            yield None
        else:
            key, start, end = found
            yield str(decode(key, field, keys=0)), start, end


def elements(text: str, at: int, field: str) -> Iterator[tuple[int, int]]:
    """Walk the array that opens at ``at``: yield where each element starts and ends.

    Raises:
        RequestFault: The array is not one.

    """
    return (found for found in elements_in_steps(text, at, field) if found is not None)


def elements_in_steps(text: str, at: int, field: str) -> Iterator[tuple[int, int] | None]:
    """Do the same as :func:`elements`, and yield None now and then: a large value takes a while."""
    for found in _walk(text, at, "[", "]", field):
        yield None if found is None else found[1:]


def end_of(text: str, at: int, field: str) -> int:
    """Return where the value that starts at ``at`` ends, and the white space behind it.

    Raises:
        RequestFault: There is no value.

    """
    steps = end_in_steps(text, at, field)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return int(done.value)


def end_in_steps(text: str, at: int, field: str) -> Generator[None, None, int]:
    """Do the same as :func:`end_of`, and yield now and then: a large value takes a while."""
    match = _SPACE.match(text, (yield from _skip(text, at, field)))
    assert match is not None
    return match.end()


def skip_space(text: str, at: int = 0) -> int:
    """Return the place of the first character from ``at`` on that is not white space."""
    match = _SPACE.match(text, at)
    assert match is not None
    return match.end()


def clip(text: str, *, quoted: bool = True) -> str:
    """Return text fit for a sentence: short, one line, printable."""
    shown = text if len(text) <= _CLIP else text[: _CLIP - 1] + "…"
    shown = shown.encode("unicode_escape", "backslashreplace").decode("ascii")
    return f"`{shown}`" if quoted else shown


def _walk(
    text: str, at: int, opening: str, closing: str, field: str
) -> Generator[tuple[str, int, int] | None, None, None]:
    """Yield the key, empty in an array, and the extent of each value; None is a pulse."""
    if text[at : at + 1] != opening:
        _malformed(text, at, field)
    at = skip_space(text, at + 1)
    if text[at : at + 1] == closing:
        return
    while True:
        key = ""
        if opening == "{":
            match = _STRING.match(text, at)
            if match is None:
                _malformed(text, at, field)
            key, at = match[0], skip_space(text, match.end())
            if text[at : at + 1] != ":":
                _malformed(text, at, field)
            at = skip_space(text, at + 1)
        start, at = at, (yield from _skip(text, at, field))
        yield key, start, at
        at = skip_space(text, at)
        if text[at : at + 1] == closing:
            return
        if text[at : at + 1] != ",":
            _malformed(text, at, field)
        at = skip_space(text, at + 1)


def _skip(text: str, at: int, field: str) -> Generator[None, None, int]:
    """Return where the value at ``at`` ends; only strings and brackets are understood.

    Raises:
        RequestFault: Something is never closed, or it nests more than anybody means.

    """
    first = text[at : at + 1]
    if first not in ("[", "{"):
        scalar = (_STRING if first == '"' else _SCALAR).match(text, at)
        if scalar is None:
            _malformed(text, at, field)
        return scalar.end()
    open_now = 1
    for count, match in enumerate(_RUN.finditer(text, at + 1)):
        if not count % _PULSE and count:
            if count > _MOST_RUNS:
                raise RequestFault(f"{field} has too many brackets", field=field, status=413)
            yield None
        if match.lastindex == 1:
            open_now += match.end() - match.start()
        elif match.lastindex == 2:
            closed = match.end() - match.start()
            if closed >= open_now:
                return match.start() + open_now
            open_now -= closed
        elif match[0] == '"':
            break  # a string that never ends
    raise RequestFault(f"{field} is not JSON: a bracket or a string is never closed", field=field)


def _malformed(text: str, at: int, field: str) -> NoReturn:
    raise RequestFault(
        f"{field} is not JSON: unexpected {clip(text[at : at + 16]) if at < len(text) else 'end'} "
        f"at character {at}",
        field=field,
    )


def _check_text(text: str, field: str) -> None:
    if "\0" in text:
        raise RequestFault(f"{field} contains NUL", field=field)
    if _SURROGATE.search(text):
        raise RequestFault(f"{field} contains half a surrogate pair or bad UTF-8", field=field)


def _integer(text: str) -> object:
    if len(text) > _MAX_DIGITS or not -MAX_INTEGER <= (value := int(text)) <= MAX_INTEGER:
        return Unfit(text, f"must be an integer within ±{MAX_INTEGER}; send it as a string")
    return value


def _number(text: str) -> object:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        return Unfit(text, "must be a finite number")
    return value


def scalar(members: Mapping[str, str], key: str) -> tuple[bool, object]:
    """Return whether there is such a member, in a form that can be echoed, and its value."""
    text = members.get(key, "[")
    if text[0] in "[{":
        return False, None
    try:
        value = decode(text, key, keys=0)
        check_value(value, key)
    except RequestFault:
        return False, None
    return True, value
