"""Flink's casts and arithmetic in DuckDB's words, by the types that DuckDB tells. Pure."""

from __future__ import annotations

from typing import Any

from sqlglot import exp

__all__ = ["Untranslatable", "call", "cast", "divided", "family", "shortened", "text", "whole"]

_DIGITS = {
    "TINYINT": 3,
    "SMALLINT": 5,
    "INTEGER": 10,
    "BIGINT": 19,
    "HUGEINT": 38,
    "UBIGINT": 19,
    "UINTEGER": 10,
}
"""The integers, and the digits that each may have."""

_FAMILIES = {
    **dict.fromkeys(_DIGITS, "integer"),
    **dict.fromkeys(("DOUBLE", "FLOAT"), "double"),
    **dict.fromkeys(("TIMESTAMP", "TIMESTAMP WITH TIME ZONE"), "timestamp"),
    "VARCHAR": "text",
    '"NULL"': "null",
    "BOOLEAN": "boolean",
    "DATE": "date",
    "TIME": "time",
    "TIME WITH TIME ZONE": "time",
    "BLOB": "bytes",
    "INTERVAL": "interval",
    "UUID": "text",
}
_TIMES = ("timestamp", "date", "time", "interval")
_MOST_DIGITS = 38


class Untranslatable(ValueError):
    """A function, or a way to use one, that is not supported; `node` tells where it stands."""

    def __init__(self, reason: str, node: exp.Expr) -> None:
        super().__init__(reason)
        self.node = node


def call(name: str, *arguments: Any) -> exp.Expr:
    """A call of one of DuckDB's functions."""
    return exp.Anonymous(this=name, expressions=list(arguments))


def whole(number: int) -> exp.Expr:
    """A whole number."""
    return exp.Literal.number(number)


def family(kind: str) -> str:
    """What kind of values a type of DuckDB's has; of ARRAY, MAP and ROW `nested`."""
    return "decimal" if _is_decimal(kind) else _FAMILIES.get(kind, "nested")


def _is_decimal(kind: str) -> bool:
    return kind.startswith("DECIMAL(") and kind.endswith(")")


def _to(value: exp.Expr, kind: str) -> exp.Expr:
    """A cast in DuckDB's own words."""
    return exp.Cast(this=value, to=exp.DataType.build(kind, dialect="duckdb"))


# --- casts ---------------------------------------------------------------------------------


def cast(node: Any, kind: str) -> exp.Expr:
    """A CAST, or TRY_CAST, of a value that DuckDB has for one of a type."""
    target, value = node.args["to"], node.this
    _check_times(node, family(kind), target)
    if target.this in exp.DataType.TEXT_TYPES:
        return _text_of_length(text(value, kind), target)
    if target.sql().upper().startswith(("BYTES", "BINARY", "VARBINARY")):
        return _bytes(node, family(kind))
    if target.this in exp.DataType.INTEGER_TYPES:
        node.set("this", _integral(value, family(kind)))
    elif target.this == exp.DataType.Type.DECIMAL and not target.expressions:
        node.set("to", exp.DataType.build("DECIMAL(10, 0)"))
    if target.this in exp.DataType.NUMERIC_TYPES - exp.DataType.INTEGER_TYPES:
        if family(kind) == "text":
            node.set("this", call("flink_number", value))
        elif family(kind) == "double" and target.this == exp.DataType.Type.DECIMAL:
            # By its shortest digits, as BigDecimal.valueOf has it.
            node.set("this", _to(_to(value, "DOUBLE"), "VARCHAR"))
    return _moment(node, target, kind) if target.this in _PRECISE else node


def _bytes(node: Any, found: str) -> exp.Expr:
    if found not in ("text", "bytes") or node.args["to"].expressions:
        raise Untranslatable("CAST to bytes is supported of text to BYTES alone", node)
    return call("encode", node.this) if found == "text" else exp.Paren(this=node.this)


_PRECISE = (exp.DataType.Type.TIMESTAMP, exp.DataType.Type.TIMESTAMPLTZ)


def _check_times(node: Any, found: str, target: Any) -> None:
    if (found in _TIMES and target.this in exp.DataType.NUMERIC_TYPES) or (
        found in ("integer", "decimal", "double", "boolean")
        and target.this in exp.DataType.TEMPORAL_TYPES
    ):
        raise Untranslatable(
            f"Cast function cannot convert a {found} to {target.sql().upper()}", node
        )


def _integral(value: exp.Expr, found: str) -> exp.Expr:
    """Digits after the point are dropped, where DuckDB rounds."""
    if found in ("double", "decimal"):
        return call("trunc", value)
    return call("flink_integer", value) if found == "text" else value


def _moment(node: Any, target: Any, kind: str) -> exp.Expr:
    """A time of the precision that the type names; finer digits are dropped."""
    digits = int(target.expressions[0].name) if target.expressions else None
    if digits is not None and digits > 6:
        raise Untranslatable("a precision of times finer than 6 digits is not supported", node)
    if kind == "VARCHAR" and target.this == exp.DataType.Type.TIMESTAMP:
        node.set("this", call("flink_moment", node.this))
    node.set("to", exp.DataType(this=target.this))
    made: exp.Expr = node
    if digits is not None and digits < 6:
        made = call("flink_precise", node, whole(10 ** (6 - digits)))
    if digits is not None:
        made.meta["digits"] = digits
    return made


def _text_of_length(value: exp.Expr, target: Any) -> exp.Expr:
    if not target.expressions:
        return value
    length = whole(int(target.expressions[0].name))
    if target.this in (exp.DataType.Type.CHAR, exp.DataType.Type.NCHAR):
        return call("rpad", value, length, exp.Literal.string(" "))
    return call("left", value, length)


def text(value: exp.Expr, kind: str) -> exp.Expr:
    """A value as Flink prints it."""
    found = family(kind)
    if kind == "VARCHAR":
        return value
    if found in ("nested", "interval"):
        raise Untranslatable(f"CAST of {kind} to STRING is not supported", value)
    if found == "bytes":
        return call("decode", value)
    if found in ("timestamp", "time"):
        return _time_text(value, found)
    printed = _to(value, "TEXT")
    if found == "boolean":
        return exp.Upper(this=printed)
    return call("flink_double_text", printed) if found == "double" else printed


def _time_text(value: exp.Expr, found: str) -> exp.Expr:
    digits = value.meta.get("digits")
    if digits is None:
        raise Untranslatable(
            "CAST of a time to STRING is supported where its precision is plain, as of a column: "
            "CAST it to TIMESTAMP(n) first, or use DATE_FORMAT",
            value,
        )
    if found == "timestamp":
        return call("flink_time_text", _to(value, "TIMESTAMP"), whole(digits))
    day = exp.Literal.string("1970-01-01")
    moment = exp.Paren(this=exp.Add(this=_to(day, "DATE"), expression=_to(value, "TIME")))
    return call("substring", call("flink_time_text", moment, whole(digits)), whole(12))


# --- arithmetic ----------------------------------------------------------------------------


def divided(node: Any, kinds: tuple[str, str]) -> exp.Expr:
    """A quotient: whole of integers, exact of decimals."""
    found = {family(each) for each in kinds}
    if found == {"integer"}:
        return exp.Paren(this=exp.IntDiv(this=node.left, expression=node.right))
    if found in ({"decimal"}, {"decimal", "integer"}):
        (p1, s1), (p2, s2) = map(_digits, kinds)
        scale = max(6, s1 + p2 + 1)
        precision, scale = _adjusted(p1 - s1 + s2 + scale, scale)
        sides = (_to(each, "VARCHAR") for each in (node.left, node.right))
        quotient = call("flink_divide", *sides, whole(precision), whole(scale))
        return _to(quotient, f"DECIMAL({precision}, {scale})")
    node.set("typed", None)
    return exp.Paren(this=node)


def _digits(kind: str) -> tuple[int, int]:
    if not _is_decimal(kind):
        return _DIGITS[kind], 0
    precision, scale = kind[len("DECIMAL(") : -1].split(",")
    return int(precision), int(scale)


def _adjusted(precision: int, scale: int) -> tuple[int, int]:
    """What is left of a type's digits where there are too many: those before the point first."""
    if precision <= _MOST_DIGITS:
        return precision, scale
    return _MOST_DIGITS, max(_MOST_DIGITS - (precision - scale), min(scale, 6))


def shortened(how: str, value: exp.Expr, digits: exp.Expr, kind: str) -> exp.Expr:
    """A number with so many digits after the point, of the same type; `how` is the function."""
    made = call(how, _to(value, "VARCHAR"), digits)
    if not _is_decimal(kind) or not isinstance(digits, exp.Literal):
        return _to(made, kind)
    precision, scale = _digits(kind)
    kept = min(scale, int(digits.name))
    return _to(made, f"DECIMAL({max(precision - scale + kept, 1)}, {kept})")
