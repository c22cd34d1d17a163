"""One SQL text for both engines, and the dozen words in which they differ.

Questions are written in what DuckDB 2.0, ClickHouse 18.16 and today's ClickHouse share: derived
tables, CASE, count(DISTINCT), scalar subqueries, equi-joins, whole milliseconds instead of dates;
no window functions, no JSON functions, no IS NULL. A value is ``$name`` and always bound. The rest
is a macro in braces, innermost first, arguments separated by ``|``:

    {events}            the table of events, each once
    {range}             app_id = $app AND ts in [$start, $end), with what the engine needs to prune
    {idiv|a|b}          whole division
    {real|a}            as a floating-point number
    {text|a}            as text
    {argmax|v|k}        the v of the greatest k, of equal k the greatest v
    {attr|name}         the JSON text of the attribute bound as $name; '' if the event has none
    {has|name}          whether it has it
    {pair_columns}      ``k, v``: one row for each attribute of an event, together with
    {pair_join}         ... this one after the table
    {in|column|name}    column IN the list bound as $name
    {md5|a}             the MD5 of a text, hexadecimal, lower case
    {word32|a|n}        word n (0 to 3) of the MD5 of a text, big end first, as a whole number
    {said_range}        as {range}, of the date that the event said, believed or not
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

_INNERMOST = re.compile(r"\{([a-z_0-9]+)(?:\|([^{}]*))?\}")
_VALUE = re.compile(r"\$([a-z_][a-z_0-9]*)")


class Dialect:
    """DuckDB's words; the others change what they say differently."""

    name = "duckdb"

    def value(self, name: str) -> str:
        return f"${name}"

    def literal(self, text: str) -> str:
        """Return text in which nothing is a value."""
        return text

    def events(self) -> str:
        return "events"

    def range(self) -> str:
        return "app_id = $app AND ts >= $start AND ts < $end"

    def idiv(self, a: str, b: str) -> str:
        return f"(({a}) // ({b}))"

    def real(self, a: str) -> str:
        return f"CAST({a} AS DOUBLE)"

    def text(self, a: str) -> str:
        return f"CAST({a} AS VARCHAR)"

    def argmax(self, v: str, k: str) -> str:
        return f"arg_max({v}, ({k}, {v}))"

    def attr(self, name: str) -> str:
        return f"coalesce(attr_values[list_position(attr_keys, ${name})], '')"

    def has(self, name: str) -> str:
        return f"list_contains(attr_keys, ${name})"

    def pair_columns(self) -> str:
        return "unnest(attr_keys) AS k, unnest(attr_values) AS v"

    def pair_join(self) -> str:
        return ""

    def in_(self, column: str, name: str) -> str:
        return f"{column} IN (SELECT unnest(${name}))"

    def md5(self, a: str) -> str:
        return f"md5({a})"

    def word32(self, a: str, n: str) -> str:
        return f"CAST(concat('0x', substr(md5({a}), {1 + 8 * int(n)}, 8)) AS BIGINT)"

    def said_range(self) -> str:
        return "app_id = $app AND said_ts >= $start AND said_ts < $end"


class ClickHouse(Dialect):
    """ClickHouse's words, 18.16 and later; values are bound by the driver as ``%(name)s``."""

    name = "clickhouse"

    def value(self, name: str) -> str:
        return f"%({name})s"

    def literal(self, text: str) -> str:
        return text.replace("%", "%%")

    def events(self) -> str:
        return "events FINAL"

    def range(self) -> str:
        return (
            "app_id = $app AND ts >= $start AND ts < $end AND (day = 0 OR "
            "(day >= intDiv($start, 86400000) AND day <= intDiv($end, 86400000)))"
        )

    def idiv(self, a: str, b: str) -> str:
        return f"intDiv({a}, {b})"

    def real(self, a: str) -> str:
        return f"toFloat64({a})"

    def text(self, a: str) -> str:
        return f"toString({a})"

    def argmax(self, v: str, k: str) -> str:
        return f"argMax({v}, ({k}, {v}))"

    def attr(self, name: str) -> str:
        return f"attr_values[indexOf(attr_keys, ${name})]"

    def has(self, name: str) -> str:
        return f"has(attr_keys, ${name})"

    def pair_columns(self) -> str:
        return "k, v"

    def pair_join(self) -> str:
        return "ARRAY JOIN attr_keys AS k, attr_values AS v"

    def in_(self, column: str, name: str) -> str:
        return f"{column} IN ${name}"

    def md5(self, a: str) -> str:
        return f"lower(hex(MD5({a})))"

    def word32(self, a: str, n: str) -> str:
        word = f"substring(MD5({a}), {1 + 4 * int(n)}, 4)"
        return f"toInt64(reinterpretAsUInt32(reverse({word})))"

    def said_range(self) -> str:
        # A date that was believed decides the day; one that was not lies in day 0.
        return (
            "app_id = $app AND said_ts >= $start AND said_ts < $end AND (day = 0 OR "
            "(day >= intDiv($start, 86400000) AND day <= intDiv($end, 86400000)))"
        )


DUCKDB = Dialect()
CLICKHOUSE = ClickHouse()


@lru_cache(maxsize=1024)
def render(template: str, dialect: Dialect) -> str:
    """Return the engine's own text of a question.

    Raises:
        KeyError: There is no such macro.

    """

    def said(found: re.Match[str]) -> str:
        word, rest = found[1], found[2]
        macro: Callable[..., str] | None = getattr(dialect, "in_" if word == "in" else word, None)
        if macro is None:
            raise KeyError(word)
        return macro(*(rest.split("|") if rest is not None else ()))

    before = ""
    while before != template:
        before, template = template, _INNERMOST.sub(said, template)
    return _VALUE.sub(lambda found: dialect.value(found[1]), dialect.literal(template))


def values_in(template: str) -> set[str]:
    """Return the names of the values that a question binds."""
    return set(_VALUE.findall(render(template, DUCKDB)))
