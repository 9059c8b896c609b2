"""The tables of a SQL job beside DynamoDB's: `filesystem` and `datagen` to read, `print` to write.

The options are those of Flink's connectors of the same names.
"""

from __future__ import annotations

import difflib
import math
import random
import string
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn

import apache_beam as beam
from apache_beam.pvalue import PBegin, PCollection, TaggedOutput
from apache_beam.transforms.periodicsequence import PeriodicImpulse
from apache_beam.utils.timestamp import Timestamp

from beam_dynamodb.ddl import Table
from beam_dynamodb.dead_letters import DeadLetter
from beam_dynamodb.errors import OptionError, RowError
from beam_dynamodb.sql_types import Column, SqlType, convert_row
from pipelines.flags import is_in_process
from pipelines.formats import FORMATS
from pipelines.sources import ReadRows, SourceError, SourceRow

__all__ = ["CONNECTORS", "DataGen", "Print", "ReadFiles", "check_table"]

_REFUSED = "refused"


def check_table(table: Table) -> None:
    """Checks the options of a table that is not DynamoDB's.

    Raises:
        SqlError: One is unknown, missing or not allowed; it points at the option.
    """
    name = table.options.get("connector")
    if name is None:
        table.name.fail(
            "Table options do not contain an option key 'connector' for discovering a connector"
        )
    if name not in CONNECTORS:
        _fail(
            table, "connector",
            f"Could not find any factory for identifier '{name}'. Available factory identifiers "
            f"are: {', '.join(sorted([*CONNECTORS, 'dynamodb']))}",
        )  # fmt: skip
    CONNECTORS[name](table)


def _fail(table: Table, option: str, message: str) -> NoReturn:
    (table.places or {}).get(option, table.name).fail(message, option=option)


class _Options:
    """The options of a table, each read once and by its type; what nobody read is unknown."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._known = {"connector"}

    def text(self, key: str, default: str | None = None) -> str | None:
        """An option's text."""
        self._known.add(key)
        return self._table.options.get(key, default)

    def required(self, key: str) -> str:
        """An option's text, which must be there."""
        found = self.text(key)
        if not found:
            missing = "One or more required options are missing.\n\nMissing required options are:"
            self._table.name.fail(f"{missing}\n\n{key}", option=key)
        return found

    def boolean(self, key: str, *, default: bool = False) -> bool:
        """An option that is true or false."""
        found = (self.text(key) or str(default)).lower()
        if found not in ("true", "false"):
            _fail(self._table, key, f"Invalid value for option '{key}': it must be true or false")
        return found == "true"

    def number(self, key: str, default: Any, kind: Callable[[str], Any] = int) -> Any:
        """An option that is a number."""
        found = self.text(key)
        try:
            return default if found is None else kind(found)
        except (ValueError, ArithmeticError):
            _fail(self._table, key, f"Invalid value for option '{key}': '{found}' is no number")

    def finish(self) -> None:
        """Refuses what nobody has read."""
        for key in self._table.options:
            if key not in self._known:
                near = difflib.get_close_matches(key, self._known, n=1)
                hint = f" Did you mean '{near[0]}'?" if near else ""
                _fail(self._table, key, f"Unsupported option '{key}'.{hint}")


# --- filesystem ----------------------------------------------------------------------------


class ReadFiles(beam.PTransform[Any, Any]):
    """A table of files: `path`, `format` (csv, json, parquet, avro) and the format's options.

    As in Flink a CSV file has no line of names: its cells are the columns in their order. With
    `csv.header` = 'true' (not in Flink) the first line names them.
    """

    def __init__(self, table: Table) -> None:
        """Checks the options; reads nothing.

        Raises:
            SqlError: An option is not allowed.
        """
        super().__init__()
        options = _Options(table)
        self._columns = table.columns
        self._path = _pattern(options.required("path"))
        name = options.required("format")
        if name not in FORMATS:
            _fail(table, "format", f"Unknown format '{name}'. Formats are: {', '.join(FORMATS)}")
        self._ignore = options.boolean(f"{name}.ignore-parse-errors")
        self._settings: dict[str, Any] = {"format": name}
        if name == "csv":
            self._settings |= self._csv(options, table)
        self._all_needed = name == "json" and options.boolean("json.fail-on-missing-field")
        options.finish()
        self._handler: Any = None

    @staticmethod
    def _csv(options: _Options, table: Table) -> dict[str, Any]:
        header = None
        if not options.boolean("csv.header"):
            header = [each.name for each in table.columns]
        delimiter = options.text("csv.field-delimiter", ",")
        null = options.text("csv.null-literal")
        settings = {"header": header, "delimiter": delimiter, "columns": {"null": null}}
        try:
            ReadRows("x", **settings)  # type: ignore[arg-type]
        except OptionError as fault:
            _fail(table, "csv.field-delimiter", fault.message)
        return settings

    def with_error_handler(self, handler: Any) -> ReadFiles:
        """Sends bad rows to a Beam `ErrorHandler`; None asks for none.

        Returns:
            This transform.
        """
        self._handler = handler
        return self

    def expand(self, begin: PBegin) -> PCollection[Any]:
        """Reads the rows."""
        handler = self._handler
        in_order = is_in_process(begin.pipeline.options)
        read = ReadRows(self._path, in_order=in_order, positions=True, **self._settings)
        rows = begin | "Read" >> read.with_error_handler(_Dropped() if self._ignore else handler)
        declare = _Declare(
            self._columns,
            handled=handler is not None,
            all_needed=self._all_needed,
            lenient=self._ignore,
        )
        declared, refused = rows | "Declare" >> beam.ParDo(declare).with_outputs(
            _REFUSED, main="rows"
        )
        refused.element_type = DeadLetter
        if handler is not None:
            handler.add_error_pcollection(refused)
        return declared


def _pattern(path: str) -> str:
    """A path of Flink's, which may be a folder, as a pattern of files."""
    path = path.removeprefix("file://")
    if "*" in path:
        return path
    is_folder = "." not in path.rsplit("/", 1)[-1] if "://" in path else Path(path).is_dir()
    # Names that begin with a dot or a low line are hidden, such as those of checksums.
    return f"{path.rstrip('/')}/[!._]*" if is_folder else path


class _Dropped:
    """Takes what is no row at all and forgets it, as `ignore-parse-errors` asks."""

    def add_error_pcollection(self, refused: Any) -> None:
        """Forgets them."""


class _Declare(beam.DoFn):
    """Rows of files to rows of the declared columns, by their types.

    A lenient one makes NULL of a value that is not of its type.
    """

    def __init__(
        self, columns: tuple[Column, ...], *, handled: bool, all_needed: bool, lenient: bool
    ) -> None:
        self._columns = columns
        self._handled = handled
        self._all_needed = all_needed
        self._lenient = lenient

    def setup(self) -> None:
        """Makes the converter."""
        self._names = [each.name for each in self._columns]
        self._convert = convert_row(self._columns)

    def process(self, row: Mapping[str, Any]) -> Iterable[Any]:
        """Gives the row with the declared columns alone, others being none of the table's."""
        where = getattr(row, "where", "")
        try:
            if self._all_needed:
                self._check_complete(row)
            made = self._declared(row)
        except RowError as fault:
            message = f"{where}, column {fault.message}." if where else f"{fault.message}."
            if not self._handled:
                raise SourceError(message, path=fault.path) from None
            letter = DeadLetter(dict(row), code="InvalidRow", message=message)
            return [TaggedOutput(_REFUSED, letter)]
        return [SourceRow(made, where) if where else made]

    def _declared(self, row: Mapping[str, Any]) -> dict[str, Any]:
        fields = {
            each.name: _known(row[each.name], each.type)
            for each in self._columns
            if each.name in row
        }
        made: dict[str, Any]
        try:
            made = self._convert(fields)
        except RowError:
            if not self._lenient:
                raise
            kinds = {each.name: each.type for each in self._columns}
            fitting = {name: _fitting(value, kinds[name]) for name, value in fields.items()}
            made = self._convert(fitting)
        return made

    def _check_complete(self, row: Mapping[str, Any]) -> None:
        missing = next((name for name in self._names if name not in row), None)
        if missing is not None:
            raise RowError(f"{missing}: the field is missing", path=missing)


def _known(value: Any, kind: SqlType) -> Any:
    """A value without the fields that no ROW in it declares, and truth as text in JSON's words."""
    if isinstance(value, bool):
        return str(value).lower() if kind.name in _TEXTS else value
    return _within(value, kind, _known) if kind.elements or kind.fields else value


def _fitting(value: Any, kind: SqlType) -> Any:
    """A value with NULL in place of each part that is not of its type."""
    value = _within(value, kind, _fitting)
    try:
        convert_row((Column("value", kind),))({"value": value})
    except RowError:
        return None
    return value


def _within(value: Any, kind: SqlType, change: Callable[[Any, SqlType], Any]) -> Any:
    """A value with the parts of its ROW, ARRAY or MAP changed."""
    if kind.name == "ROW" and isinstance(value, Mapping):
        return {name: change(value[name], each) for name, each in kind.fields if name in value}
    if kind.name == "MAP" and isinstance(value, Mapping):
        return {key: change(each, kind.elements[1]) for key, each in value.items()}
    if kind.name == "ARRAY" and isinstance(value, list):
        return [change(each, kind.elements[0]) for each in value]
    return value


# --- datagen -------------------------------------------------------------------------------

_TEXTS = ("CHAR", "VARCHAR", "STRING")
_COUNTED = (*_TEXTS, "TINYINT", "SMALLINT", "INT", "BIGINT", "DECIMAL", "FLOAT", "DOUBLE")
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
        options = _Options(table)
        self._rate = options.number("rows-per-second", 10_000)
        self._limited = "rows-per-second" in table.options
        self._count = options.number("number-of-rows", None)
        self._seed = options.number("seed", None)
        if self._rate < 1:
            _fail(table, "rows-per-second", "'rows-per-second' must be at least 1")
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


def _field(table: Table, options: _Options, column: Column) -> dict[str, Any]:
    """What makes the values of a column."""
    kind, prefix = column.type, f"fields.{column.name}"
    how = options.text(f"{prefix}.kind", "random")
    base = kind.name
    made: dict[str, Any] = {"kind": how, "type": kind, "count": None}
    if how == "sequence":
        if base not in _COUNTED:
            _fail(table, f"{prefix}.kind", f"datagen counts no values of type {kind}")
        for key in ("start", "end"):
            options.required(f"{prefix}.{key}")
            made[key] = options.number(f"{prefix}.{key}", 0)
        made["count"] = max(made["end"] - made["start"] + 1, 0)
        return made
    if how != "random":
        _fail(table, f"{prefix}.kind", f"Unsupported generator kind '{how}': random or sequence")
    if not _is_made(kind):
        _fail(table, f"{prefix}.kind", f"datagen makes no values of type {kind} ({column.name})")
    low, high = _RANGES.get(base, (0, 1))
    number = Decimal if base == "DECIMAL" else float if base in ("FLOAT", "DOUBLE") else int
    made["min"] = options.number(f"{prefix}.min", low, number)
    made["max"] = options.number(f"{prefix}.max", high, number)
    made["length"] = options.number(f"{prefix}.length", 3 if base in ("ARRAY", "MAP") else 100)
    made["max-past"] = _duration_ms(table, options, f"{prefix}.max-past")
    made["null-rate"] = options.number(f"{prefix}.null-rate", 0.0, float)
    if made["min"] > made["max"]:
        _fail(table, f"{prefix}.min", f"'{prefix}.min' must not exceed '{prefix}.max'")
    return made


def _is_made(kind: SqlType) -> bool:
    parts = (*kind.elements, *(each for _, each in kind.fields))
    return kind.name in _MAKERS and all(map(_is_made, parts))


_DURATIONS = {"ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}


def _duration_ms(table: Table, options: _Options, key: str) -> int:
    text = options.text(key, "0") or "0"
    digits = text.rstrip(string.ascii_letters + " ")
    unit = text[len(digits) :].strip() or "ms"
    if not digits.isdigit() or unit not in _DURATIONS:
        _fail(table, key, f"Invalid value for option '{key}': '{text}' is no length of time")
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
            return str(number) if kind.name in _TEXTS else number
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
    **dict.fromkeys(("CHAR", "VARCHAR", "STRING"), _Maker.text),
    **dict.fromkeys(("BINARY", "VARBINARY", "BYTES"), _Maker.binary),
    **dict.fromkeys(("TIMESTAMP", "TIMESTAMP_LTZ"), _Maker.moment),
    "DECIMAL": _Maker.decimal,
    "BOOLEAN": _Maker.boolean,
    "DATE": _Maker.day,
    "ARRAY": _Maker.array,
    "MAP": _Maker.map,
    "ROW": _Maker.fields,
}


# --- print ---------------------------------------------------------------------------------


class Print(beam.PTransform[Any, Any]):
    """A table that prints its rows, `+I[1, view]`, on the worker."""

    def __init__(self, table: Table) -> None:
        """Checks the options.

        Raises:
            SqlError: An option is not allowed.
        """
        super().__init__()
        options = _Options(table)
        self._columns = table.columns
        self._identifier = options.text("print-identifier", "") or ""
        self._to_stderr = options.boolean("standard-error")
        options.finish()

    def expand(self, rows: PCollection[Any]) -> PCollection[Any]:
        """Prints them."""
        printing = _PrintRow(self._columns, self._identifier, self._to_stderr)
        return rows | "Print" >> beam.ParDo(printing)


class _PrintRow(beam.DoFn):
    def __init__(self, columns: tuple[Column, ...], identifier: str, to_stderr: bool) -> None:
        self._columns = columns
        self._prefix = f"{identifier}> " if identifier else ""
        self._to_stderr = to_stderr

    def setup(self) -> None:
        """Makes the converter."""
        self._convert = convert_row(self._columns)

    def process(self, row: Mapping[str, Any]) -> Iterable[Any]:
        """Prints the row and passes it on."""
        import sys

        shown = ", ".join(_shown(each) for each in self._convert(row).values())
        stream = sys.stderr if self._to_stderr else sys.stdout
        print(f"{self._prefix}+I[{shown}]", file=stream, flush=True)
        return [row]


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(_shown, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_shown(k)}={_shown(v)}' for k, v in value.items())}}}"
    return value.isoformat() if isinstance(value, (date, datetime)) else str(value)


CONNECTORS: dict[str, Callable[[Table], Any]] = {
    "filesystem": ReadFiles,
    "datagen": DataGen,
    "print": Print,
}
"""The connectors beside `dynamodb`."""
