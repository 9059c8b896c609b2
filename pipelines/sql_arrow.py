"""Flink's types and their values in Arrow, which DuckDB takes and gives."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]

from beam_dynamodb.sql_types import TEXTS, SqlType

__all__ = ["arrow_family", "arrow_type", "family_of", "from_arrow", "to_arrow"]

_FAMILIES = {
    **dict.fromkeys((*TEXTS, "INTERVAL YEAR TO MONTH"), "text"),
    **dict.fromkeys(("BINARY", "VARBINARY", "BYTES"), "bytes"),
    **dict.fromkeys(("TINYINT", "SMALLINT", "INT", "BIGINT"), "numbers"),
    **dict.fromkeys(("DECIMAL", "FLOAT", "DOUBLE"), "numbers"),
    "BOOLEAN": "booleans",
    "DATE": "dates",
    "TIME": "times of day",
    "TIMESTAMP": "times",
    "TIMESTAMP_LTZ": "instants",
    "INTERVAL DAY TO SECOND": "intervals",
    "ARRAY": "arrays",
    "MAP": "maps",
    "ROW": "rows",
}  # fmt: skip

_CONVERTED = ("TIMESTAMP", "TIMESTAMP_LTZ", "INTERVAL DAY TO SECOND", "ARRAY", "MAP", "ROW")
"""The types whose values are not the same in Python and in Arrow."""


def family_of(kind: SqlType) -> str:
    """What kind of values a column of a type takes, in words."""
    return _FAMILIES[kind.name]


def arrow_family(kind: pa.DataType) -> str | None:
    """What kind of values a result's column has; None where it has no type, as NULL alone."""
    tests = (
        (pa.types.is_null, None),
        (pa.types.is_boolean, "booleans"),
        (pa.types.is_integer, "numbers"),
        (pa.types.is_floating, "numbers"),
        (pa.types.is_decimal, "numbers"),
        (pa.types.is_date, "dates"),
        (pa.types.is_time, "times of day"),
        (pa.types.is_timestamp, "instants" if getattr(kind, "tz", None) else "times"),
        (pa.types.is_duration, "intervals"),
        (pa.types.is_interval, "intervals"),
        (pa.types.is_list, "arrays"),
        (pa.types.is_map, "maps"),
        (pa.types.is_struct, "rows"),
        (pa.types.is_binary, "bytes"),
        (pa.types.is_large_binary, "bytes"),
    )
    return next((name for test, name in tests if test(kind)), "text")


_ARROW = {
    "BOOLEAN": pa.bool_(),
    "TINYINT": pa.int8(),
    "SMALLINT": pa.int16(),
    "INT": pa.int32(),
    "BIGINT": pa.int64(),
    "FLOAT": pa.float32(),
    "DOUBLE": pa.float64(),
    "DATE": pa.date32(),
    "TIME": pa.time64("us"),
    "TIMESTAMP": pa.timestamp("us"),
    "TIMESTAMP_LTZ": pa.timestamp("us", "UTC"),
    "INTERVAL DAY TO SECOND": pa.duration("us"),
    **dict.fromkeys(("BINARY", "VARBINARY", "BYTES"), pa.binary()),
}


def arrow_type(kind: SqlType) -> pa.DataType:
    """The type that a column has in Arrow."""
    if kind.name == "DECIMAL":
        return pa.decimal128(kind.precision, kind.scale)
    if kind.name == "ARRAY":
        return pa.list_(arrow_type(kind.elements[0]))
    if kind.name == "MAP":
        return pa.map_(*map(arrow_type, kind.elements))
    if kind.name == "ROW":
        return pa.struct([(name, arrow_type(each)) for name, each in kind.fields])
    return _ARROW.get(kind.name, pa.string())


def to_arrow(values: Sequence[Any], kind: SqlType) -> pa.Array:
    """The values of a column, in Arrow."""
    if kind.name in _CONVERTED:
        values = [_in_arrow(each, kind) for each in values]
    return pa.array(values, arrow_type(kind))


def from_arrow(column: Any, kind: SqlType) -> list[Any]:
    """The values of a result's column as the sink's type takes them."""
    values: list[Any] = column.to_pylist()
    return [_from_arrow(each, kind) for each in values] if kind.name in _CONVERTED else values


def _in_arrow(value: Any, kind: SqlType) -> Any:
    """A value of a type as pyarrow takes it."""
    if value is None:
        return None
    if kind.name in ("TIMESTAMP", "TIMESTAMP_LTZ") and isinstance(value, str):
        return datetime.fromisoformat(value[:26] + ("+00:00" if value.endswith("Z") else ""))
    if kind.name == "ARRAY":
        return [_in_arrow(each, kind.elements[0]) for each in value]
    if kind.name == "MAP":
        of_key, of_value = kind.elements
        return [(_in_arrow(k, of_key), _in_arrow(v, of_value)) for k, v in value.items()]
    if kind.name == "ROW":
        return {name: _in_arrow(value[name], each) for name, each in kind.fields}
    return value


def _from_arrow(value: Any, kind: SqlType) -> Any:
    """A result's value as the sink's type takes it: the fields of a ROW go by position."""
    if value is None:
        return None
    if kind.name == "ROW" and isinstance(value, dict):
        return tuple(
            _from_arrow(each, field)
            for each, (_, field) in zip(value.values(), kind.fields, strict=False)
        )
    if kind.name == "INTERVAL DAY TO SECOND" and isinstance(value, pa.MonthDayNano):
        if value.months:
            raise ValueError("an interval of months is none of seconds")
        return timedelta(days=value.days, microseconds=value.nanoseconds // 1000)
    if kind.name == "ARRAY" and isinstance(value, list):
        return [_from_arrow(each, kind.elements[0]) for each in value]
    if kind.name == "MAP" and isinstance(value, list):
        return {key: _from_arrow(each, kind.elements[1]) for key, each in value}
    return value
