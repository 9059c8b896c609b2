"""The connector `filesystem` of a SQL job: tables of files, to read."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PBegin, PCollection, TaggedOutput

from beam_dynamodb.ddl import Table
from beam_dynamodb.dead_letters import DeadLetter
from beam_dynamodb.errors import OptionError, RowError
from beam_dynamodb.sql_types import TEXTS, Column, SqlType, convert_row
from pipelines.flags import is_in_process
from pipelines.formats import FORMATS
from pipelines.sources import ReadRows, SourceError, SourceRow
from pipelines.sql_options import TableOptions, refuse_option

__all__ = ["ReadFiles"]

_REFUSED = "refused"


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
        options = TableOptions(table)
        if table.partitioned_by:
            table.name.fail(
                f"Table '{table.name.text}': PARTITIONED BY is not supported for files, whose "
                "folders would hold the values, as in 'day=2024-01-01'. Read such a folder as a "
                "table of its own"
            )
        self._columns = table.columns
        self._path, self._folder = _pattern(options.required("path"))
        name = options.required("format")
        if name not in FORMATS:
            refuse_option(
                table, "format", f"Unknown format '{name}'. Formats are: {', '.join(FORMATS)}"
            )
        self._ignore = options.boolean(f"{name}.ignore-parse-errors")
        self._settings: dict[str, Any] = {"format": name}
        if name == "csv":
            self._settings |= {**self._csv(options, table), "short_rows": self._ignore}
        self._all_needed = name == "json" and self._json(options, table)
        options.finish()
        self._handler: Any = None

    @staticmethod
    def _json(options: TableOptions, table: Table) -> bool:
        """Checks the options of JSON; whether a row needs all its fields."""
        option = "json.timestamp-format.standard"  # times are read in both forms
        if options.text(option, "SQL") not in ("SQL", "ISO-8601"):
            refuse_option(
                table, option, f"Invalid value for option '{option}': it must be SQL or ISO-8601"
            )
        return options.boolean("json.fail-on-missing-field")

    @staticmethod
    def _csv(options: TableOptions, table: Table) -> dict[str, Any]:
        header = None
        if not options.boolean("csv.header"):
            header = [each.name for each in table.columns]
        delimiter = options.text("csv.field-delimiter", ",")
        null = options.text("csv.null-literal")
        settings = {"header": header, "delimiter": delimiter, "columns": {"null": null}}
        try:
            ReadRows("x", **settings)  # type: ignore[arg-type]
        except OptionError as fault:
            refuse_option(table, "csv.field-delimiter", fault.message)
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
        read = ReadRows(
            self._path,
            in_order=in_order,
            positions=True,
            shown_below=self._folder,
            **self._settings,
        )
        rows = begin | "Read" >> read.with_error_handler(
            _OfFiles(handler) if self._ignore else handler
        )
        declare = _Declare(
            self._columns,
            handled=handler is not None,
            all_needed=self._all_needed,
            lenient=self._ignore,
            read=_local if self._settings["format"] == "avro" else _known,
        )
        declared, refused = rows | "Declare" >> beam.ParDo(declare).with_outputs(
            _REFUSED, main="rows"
        )
        refused.element_type = DeadLetter
        if handler is not None:
            handler.add_error_pcollection(refused)
        return declared


def _pattern(path: str) -> tuple[str, str | None]:
    """A path of Flink's as a pattern of files; of a folder also the folder itself."""
    path = re.sub(r"^file:(//)?", "", path)
    if "*" in path:
        return path, None
    is_folder = "." not in path.rsplit("/", 1)[-1] if "://" in path else Path(path).is_dir()
    if not is_folder:
        return path, None
    folder = path.rstrip("/") if "://" in path else os.path.abspath(path)  # noqa: PTH100 - '..'
    return f"{folder}/**", folder


class _OfFiles:
    """Takes what can't be read and forgets the rows in it, as `ignore-parse-errors` asks.

    A file that can't be read, or only up to a place, holds rows that nobody has seen: a fault.
    """

    def __init__(self, handler: Any) -> None:
        self._handler = handler

    def add_error_pcollection(self, refused: PCollection[Any]) -> None:
        """Passes on those of files."""
        check = beam.ParDo(_UnreadableFiles(handled=self._handler is not None))
        files = refused | "Unreadable files" >> check
        files.element_type = DeadLetter
        if self._handler is not None:
            self._handler.add_error_pcollection(files)


class _UnreadableFiles(beam.DoFn):
    def __init__(self, *, handled: bool) -> None:
        self._handled = handled

    def process(self, letter: DeadLetter) -> Iterable[DeadLetter]:
        if letter.code != "UnreadableFile":
            return ()
        if not self._handled:
            raise SourceError(letter.message, code=letter.code)
        return [letter]


class _Declare(beam.DoFn):
    """Rows of files to rows of the declared columns, by their types.

    A lenient one makes NULL of a value that is not of its type.
    """

    def __init__(
        self,
        columns: tuple[Column, ...],
        *,
        handled: bool,
        all_needed: bool,
        lenient: bool,
        read: Callable[[Any, SqlType], Any],
    ) -> None:
        self._columns = columns
        self._handled = handled
        self._all_needed = all_needed
        self._lenient = lenient
        self._read = read

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
            each.name: self._read(row[each.name], each.type)
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
    """A value without the fields that no ROW in it declares, and a text in JSON's words."""
    if kind.name in TEXTS and isinstance(value, (bool, dict, list)):
        return _json_text(value)
    return _within(value, kind, _known) if kind.elements or kind.fields else value


def _local(value: Any, kind: SqlType) -> Any:
    """A value of Avro: Flink keeps the local times of a TIMESTAMP there as if they were of UTC."""
    if kind.name == "TIMESTAMP" and isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(timezone.utc).replace(tzinfo=None)
    return _within(value, kind, _local) if kind.elements or kind.fields else _known(value, kind)


def _json_text(value: Any) -> Any:
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=float)
    except (TypeError, ValueError, ArithmeticError):  # of Parquet or Avro, with bytes in it
        return value


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
