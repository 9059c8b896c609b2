"""The connector `datagen` of a SQL job: tables of made rows, random or counting."""

from __future__ import annotations

import math
import random
import string
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PBegin, PCollection
from apache_beam.transforms.periodicsequence import PeriodicImpulse
from apache_beam.utils.timestamp import Timestamp

from beam_dynamodb.ddl import Table
from beam_dynamodb.sql_types import TEXTS, Column, SqlType
from pipelines.sql_options import TableOptions, refuse_option

__all__ = ["DataGen"]

_COUNTED = (*TEXTS, "TINYINT", "SMALLINT", "INT", "BIGINT", "DECIMAL", "FLOAT", "DOUBLE")
_LETTERS = string.hexdigits[:16]
_RANGES = {
    "TINYINT": (-(2**7), 2**7 - 1),
    "SMALLINT": (-(2**15), 2**15 - 1),
    "INT": (-(2**31), 2**31 - 1),
    "BIGINT": (-(2**63), 2**63 - 1),
}


class DataGen(beam.PTransform[Any, Any]):
    """A table of made rows, random or counting; ends where `number-of-rows` or a sequence says.

    With `seed` (not in Flink) the same rows come each time.
    """

    def __init__(self, table: Table) -> None:
        """Checks the options.

        Raises:
            SqlError: An option is not allowed.
        """
        super().__init__()
        options = TableOptions(table)
        self._rate = options.number("rows-per-second", 10_000)
        self._limited = "rows-per-second" in table.options
        self._count = options.number("number-of-rows", None)
        self._seed = options.number("seed", None)
        if self._rate < 1:
            refuse_option(table, "rows-per-second", "'rows-per-second' must be at least 1")
        self._fields = {each.name: _field(table, options, each) for each in table.columns}
        options.finish()
        lengths = [each["count"] for each in self._fields.values() if each["count"] is not None]
        self._count = min([*lengths, *([] if self._count is None else [self._count])], default=None)

    @property
    def is_bounded(self) -> bool:
        """Whether the rows come to an end."""
        return self._count is not None

    def with_error_handler(self, _: Any) -> DataGen:
        """Made rows are never bad.

        Returns:
            This transform.
        """
        return self

    def expand(self, begin: PBegin) -> PCollection[Any]:
        """Makes the rows."""
        rate = self._rate if self._limited else None
        make = _MakeRows(self._fields, self._seed, self._count, rate)
        if self.is_bounded:
            return begin | "Once" >> beam.Create([None]) | "Make" >> beam.ParDo(make)
        now = Timestamp.now()
        make_second = _MakeOfSecond(self._fields, self._seed, self._rate, float(now))
        ticks = begin | "EverySecond" >> PeriodicImpulse(now, fire_interval=1.0)
        return ticks | "Make" >> beam.ParDo(make_second)


def _field(table: Table, options: TableOptions, column: Column) -> dict[str, Any]:
    """What makes the values of a column."""
    how = options.text(f"fields.{column.name}.kind", "random")
    made: dict[str, Any] = {"kind": how, "type": column.type, "count": None}
    if how == "sequence":
        return made | _counted(table, options, column)
    if how == "random":
        return made | _drawn(table, options, column)
    refuse_option(
        table,
        f"fields.{column.name}.kind",
        f"Unsupported generator kind '{how}': random or sequence",
    )


def _counted(table: Table, options: TableOptions, column: Column) -> dict[str, Any]:
    kind, prefix = column.type, f"fields.{column.name}"
    if kind.name not in _COUNTED:
        refuse_option(table, f"{prefix}.kind", f"datagen counts no values of type {kind}")
    ends: dict[str, Any] = {}
    for key in ("start", "end"):
        options.required(f"{prefix}.{key}")
        ends[key] = options.number(f"{prefix}.{key}", 0)
    return {**ends, "count": max(ends["end"] - ends["start"] + 1, 0)}


def _drawn(table: Table, options: TableOptions, column: Column) -> dict[str, Any]:
    kind, prefix = column.type, f"fields.{column.name}"
    if not _is_made(kind):
        refuse_option(
            table, f"{prefix}.kind", f"datagen makes no values of type {kind} ({column.name})"
        )
    base = kind.name
    low, high = _RANGES.get(base, (0, 1))
    number = Decimal if base == "DECIMAL" else float if base in ("FLOAT", "DOUBLE") else int
    drawn: dict[str, Any] = {
        "min": options.number(f"{prefix}.min", low, number),
        "max": options.number(f"{prefix}.max", high, number),
        "length": options.number(f"{prefix}.length", 3 if base in ("ARRAY", "MAP") else 100),
        "max-past": _duration_ms(table, options, f"{prefix}.max-past"),
        "null-rate": options.number(f"{prefix}.null-rate", 0.0, float),
    }
    if drawn["min"] > drawn["max"]:
        refuse_option(table, f"{prefix}.min", f"'{prefix}.min' must not exceed '{prefix}.max'")
    return drawn


def _is_made(kind: SqlType) -> bool:
    parts = (*kind.elements, *(each for _, each in kind.fields))
    return kind.name in _MAKERS and all(map(_is_made, parts))


_DURATIONS = {"ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}


def _duration_ms(table: Table, options: TableOptions, key: str) -> int:
    text = options.text(key, "0") or "0"
    digits = text.rstrip(string.ascii_letters + " ")
    unit = text[len(digits) :].strip() or "ms"
    if not digits.isdigit() or unit not in _DURATIONS:
        refuse_option(
            table, key, f"Invalid value for option '{key}': '{text}' is no length of time"
        )
    return int(digits) * _DURATIONS[unit]


class _MakeRows(beam.DoFn):
    """All rows of a bounded table, at the asked rate where one is asked."""

    def __init__(
        self, fields: Mapping[str, Any], seed: int | None, count: int | None, rate: int | None
    ) -> None:
        self._fields = fields
        self._seed = seed
        self._count = count or 0
        self._rate = rate

    def process(self, _: None) -> Iterator[dict[str, Any]]:
        """Yields them."""
        made = _Maker(self._fields, self._seed)
        started = time.monotonic()
        for index in range(self._count):
            if self._rate is not None:
                time.sleep(max(0.0, started + index / self._rate - time.monotonic()))
            yield made.row(index)


class _MakeOfSecond(beam.DoFn):
    """The rows of one second of a table without end."""

    def __init__(
        self, fields: Mapping[str, Any], seed: int | None, rate: int, started: float
    ) -> None:
        self._fields = fields
        self._seed = seed
        self._rate = rate
        self._started = started

    def process(self, moment: float) -> Iterator[dict[str, Any]]:
        """Yields them."""
        second = round(float(moment) - self._started)
        seed = None if self._seed is None else hash((self._seed, second))
        made = _Maker(self._fields, seed)
        for index in range(self._rate):
            yield made.row(index)


class _Maker:
    """Makes rows; the same ones for the same seed."""

    def __init__(self, fields: Mapping[str, Any], seed: int | None) -> None:
        self._fields = fields
        self._random = random.Random(seed)
        self._now = (
            datetime.now(timezone.utc).replace(tzinfo=None)
            if seed is None
            else datetime(2024, 1, 1)  # noqa: DTZ001 - TIMESTAMP has no zone
        )

    def row(self, index: int) -> dict[str, Any]:
        """The row of a number, from 0 on."""
        return {name: self._value(each, index) for name, each in self._fields.items()}

    def _value(self, made: Mapping[str, Any], index: int) -> Any:
        kind: SqlType = made["type"]
        if made["kind"] == "sequence":
            number = made["start"] + index
            return str(number) if kind.name in TEXTS else number
        if made["null-rate"] and self._random.random() < made["null-rate"]:
            return None
        return _MAKERS[kind.name](self, made, kind)

    def integer(self, made: Mapping[str, Any], _: SqlType) -> int:
        """A whole number in its range."""
        return self._random.randint(made["min"], made["max"])

    def double(self, made: Mapping[str, Any], _: SqlType) -> float:
        """A number in its range."""
        return self._random.uniform(made["min"], made["max"])

    def decimal(self, made: Mapping[str, Any], kind: SqlType) -> Decimal:
        """A decimal in its range, with all its digits."""
        unit = 10 ** (kind.scale or 0)
        low, high = math.ceil(made["min"] * unit), math.floor(made["max"] * unit)
        return Decimal(self._random.randint(low, high)).scaleb(-(kind.scale or 0))

    def text(self, made: Mapping[str, Any], kind: SqlType) -> str:
        """Hexadecimal digits, as many as asked."""
        length = min(made["length"], kind.precision or made["length"])
        return "".join(self._random.choices(_LETTERS, k=length))

    def boolean(self, _: Mapping[str, Any], __: SqlType) -> bool:
        """True or false."""
        return self._random.random() < 0.5

    def binary(self, made: Mapping[str, Any], kind: SqlType) -> bytes:
        """Bytes, as many as asked."""
        return self._random.randbytes(min(made["length"], kind.precision or made["length"]))

    def moment(self, made: Mapping[str, Any], kind: SqlType) -> datetime:
        """Now, or a time in the past that `max-past` allows."""
        past = timedelta(milliseconds=self._random.randint(0, made["max-past"]))
        moment = self._now - past
        return moment.replace(tzinfo=timezone.utc) if kind.name == "TIMESTAMP_LTZ" else moment

    def day(self, made: Mapping[str, Any], kind: SqlType) -> date:
        """Today, or a day in the past that `max-past` allows."""
        return self.moment(made, kind).date()

    def array(self, made: Mapping[str, Any], kind: SqlType) -> list[Any]:
        """Elements, as many as asked."""
        return [self._inner(kind.elements[0]) for _ in range(made["length"])]

    def map(self, made: Mapping[str, Any], kind: SqlType) -> dict[Any, Any]:
        """Entries, as many as asked."""
        of_key, of_value = kind.elements
        return {self._inner(of_key): self._inner(of_value) for _ in range(made["length"])}

    def fields(self, _: Mapping[str, Any], kind: SqlType) -> dict[str, Any]:
        """All fields of a row."""
        return {name: self._inner(each) for name, each in kind.fields}

    def _inner(self, kind: SqlType) -> Any:
        low, high = _RANGES.get(kind.name, (0, 1))
        length = 3 if kind.name in ("ARRAY", "MAP") else 100
        made = {"min": low, "max": high, "length": length, "max-past": 0}
        return _MAKERS[kind.name](self, made, kind)


_MAKERS: dict[str, Callable[[_Maker, Mapping[str, Any], SqlType], Any]] = {
    **dict.fromkeys(_RANGES, _Maker.integer),
    **dict.fromkeys(("FLOAT", "DOUBLE"), _Maker.double),
    **dict.fromkeys(TEXTS, _Maker.text),
    **dict.fromkeys(("BINARY", "VARBINARY", "BYTES"), _Maker.binary),
    **dict.fromkeys(("TIMESTAMP", "TIMESTAMP_LTZ"), _Maker.moment),
    "DECIMAL": _Maker.decimal,
    "BOOLEAN": _Maker.boolean,
    "DATE": _Maker.day,
    "ARRAY": _Maker.array,
    "MAP": _Maker.map,
    "ROW": _Maker.fields,
}
