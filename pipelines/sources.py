"""Files to rows: `ReadRows`, which any pipeline of this project may begin with.

    rows = pipeline | ReadRows("s3://bucket/users-*.jsonl.zst", columns={"types": "user_id:N"})

Every setting may be a Beam `ValueProvider`, for a template that learns it when it is launched.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import itertools
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystem import CompressionTypes, FileMetadata
from apache_beam.io.filesystems import FileSystems
from apache_beam.metrics.metric import Metrics
from apache_beam.options.value_provider import StaticValueProvider, ValueProvider
from apache_beam.pvalue import PBegin, PCollection, TaggedOutput

from beam_dynamodb.dead_letters import DeadLetter
from beam_dynamodb.errors import DynamoDBSinkError, OptionError, RowError
from beam_dynamodb.replay import files_of
from beam_dynamodb.requests import Delete, Put, row_of
from pipelines.columns import Columns
from pipelines.compressed import COMPRESSIONS, Part, UnreadableFileError, parts
from pipelines.formats import (
    FORMATS,
    BadRecord,
    Record,
    Text,
    format_of,
    records,
)
from pipelines.live import Meter

__all__ = [
    "NAMESPACE",
    "ReadRows",
    "SourceError",
    "SourceRow",
    "ToDeadLetter",
    "first_rows",
    "matched",
    "told",
]

NAMESPACE = "beam_dynamodb.sources"
"""The namespace of the counters `read` (rows, good or bad) and `refused` (bad rows and files)."""

_REFUSED = "refused"
_LOOK_EVERY = 1_000
"""Rows between two looks at how far a file is read."""

_AUTO = "auto"


class SourceError(DynamoDBSinkError, ValueError):
    """A row of a file, or a file, cannot be read.

    Attributes:
        file: The file's path.
        number: The number of the row's first line, or of the record; 0 for the file as a whole.
        path: The attribute at fault, as in `tags[2]`; empty for the whole row.
        code: `InvalidRow` or `UnreadableFile`.
    """

    def __init__(
        self,
        message: str,
        *,
        file: str | None = None,
        number: int = 0,
        path: str = "",
        code: str = "InvalidRow",
    ) -> None:
        super().__init__(message)
        self.file = file
        self.number = number
        self.path = path
        self.code = code


class SourceRow(dict[str, Any]):
    """A row that knows where it stands in its file; else a dict.

    Attributes:
        where: Such as `users.csv, line 7`.
    """

    __slots__ = ("where",)

    def __init__(self, attributes: Mapping[str, Any], where: str) -> None:
        super().__init__(attributes)
        self.where = where

    def __reduce__(self) -> Any:
        return SourceRow, (dict(self), self.where)


class ReadRows(beam.PTransform[Any, Any]):
    """Reads files; gives rows fit for `WriteToDynamoDB`: dicts, of an export `Put` and `Delete`.

    Files are CSV (with a header line), JSON lines, exports of DynamoDB (full or incremental, in
    DynamoDB's JSON), Parquet or Avro; plain, gzip, bzip2, xz, zstd or zip; on any file system that
    Beam knows (`s3://`, `gs://`, …). Types of JSON, Parquet and Avro are kept, with all digits.

    A row that can't be read, or a file from the place on where it can't, raises `SourceError`;
    with an error handler it becomes a `DeadLetter` instead, which tells file, line or record, and
    attribute, and all others are read. Rows are `SourceRow`s then, so that `ToDeadLetter` can say
    the same of rows which a sink refuses.
    """

    def __init__(
        self,
        patterns: str | ValueProvider | Sequence[str],
        *,
        format: str | ValueProvider = _AUTO,  # noqa: A002 - the field's word for it
        columns: Mapping[str, Any] | None = None,
        csv_null: str | None = None,
        encoding: str | ValueProvider = "utf-8",
        delimiter: str | ValueProvider | None = None,
        header: Sequence[str] | None = None,
        short_rows: bool = False,
        rows: int | ValueProvider | None = None,
        in_order: bool = False,
        positions: bool = False,
        shown_below: str | None = None,
    ) -> None:
        """Nothing is read yet.

        Args:
            patterns: Paths or patterns of files, each of which must match some file. One text, or
                a ValueProvider of it, may hold several with commas between them.
            format: One of `pipelines.formats.FORMATS`; `auto` goes by each file's name.
            columns: The arguments of `Columns.parse` (types, rename, drop, …).
            csv_null: The text of a cell of CSV without a value, where `columns` tell none.
            encoding: Of CSV and JSON files, in Python's names.
            delimiter: What stands between the cells of CSV; a comma, in `.tsv` files a tab.
            header: The columns of CSV files that have no line of names; a row may end with a
                delimiter then.
            short_rows: Whether a row of CSV may have too few cells; it lacks the other columns.
            rows: Read only so many rows of each file.
            in_order: Whether one worker reads the files one after the other, in the order of
                their paths, so that of two rows of one key the later stays later. Else all
                workers read.
            positions: Whether rows are `SourceRow`s also where there is no error handler.
            shown_below: A folder below which the names of files and folders that begin with a dot
                or a low line, such as those of checksums, are passed over.

        Raises:
            OptionError: A setting that is known already is not allowed.
        """
        super().__init__()
        self._patterns = patterns
        self._shown_below = shown_below
        self._settings: dict[str, Any] = {
            "format": format,
            "columns": dict(columns or {}),
            "csv_null": csv_null,
            "encoding": encoding,
            "delimiter": delimiter,
            "header": header,
            "short_rows": short_rows,
            "rows": rows,
        }
        self._in_order = in_order
        self._positions = positions
        self._handler: Any = None
        self._names = NAMESPACE, "read", NAMESPACE
        if not _unknown(self._settings):
            _Reading(self._settings)  # refuses now what can be refused now

    def counting(self, namespace: str, run: str) -> ReadRows:
        """Counts `read` rows, good or bad, and `bytes` of files in this namespace and process.

        Args:
            namespace: That of the counter.
            run: What this process calls the run, for `pipelines.live`.

        Returns:
            This transform.
        """
        self._names = namespace, "read", run
        return self

    def with_error_handler(self, error_handler: Any) -> ReadRows:
        """Sends what can't be read to a Beam `ErrorHandler`, as `DeadLetter`s; None asks for none.

        Returns:
            This transform.
        """
        self._handler = error_handler
        return self

    def expand(self, begin: PBegin) -> PCollection[Any]:
        """Reads them."""
        handled = self._handler is not None
        find = _Find(self._patterns, self._shown_below)
        files = begin | "Start" >> beam.Create([None]) | "Find" >> beam.ParDo(find)
        if not self._in_order:
            files = files | "Spread" >> beam.Reshuffle()
        placed = handled or self._positions
        read = _Read(self._settings, self._names, handled=handled, placed=placed)
        rows, refused = files | "Read" >> beam.ParDo(read).with_outputs(_REFUSED, main="rows")
        refused.element_type = DeadLetter
        if handled:
            self._handler.add_error_pcollection(refused)
        return rows


class ToDeadLetter(beam.DoFn):
    """Failed records of a sink to dead letters that say in which file and line the row stood.

    Takes whatever an `ErrorHandler` gets; what stood in no file stays as it is.
    """

    def process(self, failed: Any, timestamp: Any = beam.DoFn.TimestampParam) -> Iterator[Any]:
        """Yields the dead letter."""
        where = None
        if not isinstance(failed, DeadLetter):
            element = row_of(failed[0])
            where = getattr(element, "where", None)
        if where is None:
            yield failed
            return
        letter = DeadLetter.of(failed)
        yield dataclasses.replace(letter, message=f"{where}: {letter.message}")


def first_rows(
    patterns: str | Sequence[str], *, only_good: bool = False, **settings: Any
) -> Iterator[Any]:
    """The rows of files, read here and now; to look at the first of them.

    Args:
        patterns: As for `ReadRows`.
        only_good: Whether those that can't be read are left out.
        **settings: As for `ReadRows`.

    Raises:
        SourceError: One can't be read, or no file is there.
    """
    names = ("format", "csv_null", "encoding", "delimiter", "header", "short_rows", "rows")
    reading = _Reading({**dict.fromkeys(names), "columns": {}, **settings})
    for file in matched(patterns):
        for each in reading.rows(file.path, placed=False):
            if not isinstance(each, DeadLetter):
                yield each
            elif not only_good:
                raise SourceError(each.message, code=each.code)


def matched(patterns: str | Sequence[str]) -> list[FileMetadata]:
    """The files of patterns, in the order of their paths.

    Args:
        patterns: As for `ReadRows`.

    Raises:
        OptionError: There is no pattern.
        SourceError: A pattern matches no file, or is a folder.
    """
    listed = patterns.split(",") if isinstance(patterns, str) else patterns
    named = [each.strip() for each in listed or () if each.strip()]
    if not named:
        raise OptionError("No input files are named.", option="input")
    files = files_of(named, _no_file)
    return [files[path] for path in sorted(files)]


def _no_file(pattern: str) -> SourceError:
    folder = Path(pattern).is_dir()
    hint = f" It is a folder: name its files, as in {pattern}/*." if folder else ""
    return SourceError(f"No file matches {pattern}.{hint}", file=pattern, code="NoFile")


# --- the steps -----------------------------------------------------------------------------


class _Find(beam.DoFn):
    """Patterns to files."""

    def __init__(
        self, patterns: str | ValueProvider | Sequence[str], shown_below: str | None
    ) -> None:
        self._patterns = patterns
        self._folder = shown_below

    def process(self, _: None) -> Iterable[FileMetadata]:
        files = matched(told(self._patterns))
        if self._folder is None:
            return files
        shown = [each for each in files if not _is_hidden(each.path, self._folder)]
        if not shown:
            raise _no_file(f"{self._folder}/**")
        return shown


def _is_hidden(path: str, folder: str) -> bool:
    names = path.removeprefix(folder).split("/")
    return any(each.startswith((".", "_")) for each in names)


class _Read(beam.DoFn):
    """Files to rows."""

    _rows_refused = Metrics.counter(NAMESPACE, "refused")

    def __init__(
        self,
        settings: Mapping[str, Any],
        names: tuple[str, str, str],
        *,
        handled: bool,
        placed: bool,
    ) -> None:
        self._settings = settings
        self._names = names
        self._handled = handled
        self._placed = placed

    def setup(self) -> None:
        self._reading: _Reading | None = None
        namespace, name, run = self._names
        self._rows_read = Meter(namespace, name, run)
        self._bytes_read = Meter(namespace, "bytes", run)

    def finish_bundle(self) -> None:
        self._rows_read.flush()
        self._bytes_read.flush()

    def process(self, file: FileMetadata) -> Iterator[Any]:
        self._reading = self._reading or _Reading(self._settings)
        rows = self._reading.rows(file.path, placed=self._placed)
        with contextlib.closing(rows):  # and so the file, whatever happens
            done, size = 0, file.size_in_bytes
            for count, each in enumerate(rows, start=1):
                self._rows_read.inc()
                if count % _LOOK_EVERY == 0:
                    place = min(max(done, self._reading.place), size)
                    self._bytes_read.inc(place - done)
                    done = place
                yield self._refusal(each) if isinstance(each, DeadLetter) else each
            self._bytes_read.inc(size - done)

    def _refusal(self, letter: DeadLetter) -> TaggedOutput[str, DeadLetter]:
        if not self._handled:
            raise SourceError(letter.message, code=letter.code)
        self._rows_refused.inc()
        return TaggedOutput(_REFUSED, letter)


class _Reading:
    """The settings of a source once all of them are known, and what reads a file by them."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        columns = {name: told(value) for name, value in settings["columns"].items()}
        self._columns = Columns.parse(**columns)
        self._csv_null = settings["csv_null"]
        self._format = _format_name(told(settings["format"]))
        if self._format == "dynamodb-json" and self._columns.changing:
            raise OptionError(
                f"'format' is dynamodb-json, whose items are written as they are: leave out "
                f"{self._columns.changing}.",
                option="format",
            )
        self._encoding = _encoding_name(told(settings["encoding"]))
        self._delimiter = _delimiter(told(settings["delimiter"]))
        self._header = settings["header"]
        self._short_rows = bool(settings["short_rows"])
        rows = told(settings["rows"])
        self._rows = int(rows) if rows else None
        self._raw: Any = None

    @property
    def place(self) -> int:
        """How many bytes of the file that is being read are read; of a compressed one likewise."""
        try:
            return int(self._raw.tell())
        except (AttributeError, OSError, ValueError):
            return 0

    def rows(self, path: str, *, placed: bool) -> Generator[Any, None, None]:
        """A file's rows, and a `DeadLetter` for each that can't be read and for the file's rest."""
        raw = self._raw = FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)
        with raw:
            yield from itertools.islice(self._all_rows(path, raw, placed), self._rows)

    def _all_rows(self, path: str, raw: Any, placed: bool) -> Iterator[Any]:
        try:
            found = parts(path, raw)
        except UnreadableFileError as fault:
            yield _unreadable(path, fault)
            return
        for part in found:
            try:
                yield from self._rows_of(part, self._format_of(path, part.name), placed)
            except UnreadableFileError as fault:
                yield _unreadable(part.name, fault)

    def _format_of(self, path: str, part: str) -> str:
        name = self._format or format_of(path) or format_of(part)
        if name is None:
            raise UnreadableFileError(
                f"has a name that tells no format: set it to one of {', '.join(FORMATS)}. What is "
                f"compressed must end with one of {', '.join(COMPRESSIONS)}"
            )
        return name

    def _rows_of(self, part: Part, name: str, placed: bool) -> Iterator[Any]:
        delimiter = self._delimiter or ("\t" if ".tsv" in part.name.lower() else ",")
        text = Text(self._encoding, delimiter, self._header, self._short_rows)
        unit, first = FORMATS[name].unit, True
        columns = self._columns_of(name)
        with part.open() as binary:
            for record in records(binary, name, text):
                if first and isinstance(record, Record):
                    self._check_columns(record, name)
                    first = False
                where = f"{part.name}, {unit} {record.number}"
                yield self._row(record, columns, where, placed)

    def _columns_of(self, name: str) -> Columns:
        if name != "csv" or self._columns.null is not None:
            return self._columns
        return dataclasses.replace(self._columns, null=self._csv_null)

    def _check_columns(self, record: Record, name: str) -> None:
        """Refuses a file that lacks a column, or has one too many.

        JSON has no columns but attributes, which a row may lack and another have.
        """
        if isinstance(record.values, (Put, Delete)) and self._columns.changing:
            raise UnreadableFileError(
                f"is an export of DynamoDB, whose items are written as they are: leave out "
                f"{self._columns.changing}"
            )
        if name not in ("csv", "parquet", "avro"):
            return
        missing = sorted(self._columns.needed - set(record.values))
        if missing:
            near = difflib.get_close_matches(missing[0], record.values, n=1)
            hint = f" (it has {near[0]})" if near else ""
            raise UnreadableFileError(f"has no column {', '.join(missing)}{hint}")
        clash = self._columns.clash(record.values)
        if clash:
            column, setting = clash
            raise UnreadableFileError(
                f"has a column '{column}' already, which '{setting}' makes: drop or rename it"
            )

    @staticmethod
    def _row(record: Record | BadRecord, columns: Columns, where: str, placed: bool) -> Any:
        if isinstance(record, BadRecord):
            place = f"{where}, column '{record.path}'" if record.path else where
            return DeadLetter(
                record.content, code="InvalidRow", message=f"{place}: {record.fault}."
            )
        values = record.values
        if isinstance(values, (Put, Delete)):
            return _placed_change(values, where) if placed else values
        try:
            row = columns.row(values)
        except RowError as fault:
            return DeadLetter(dict(values), code="InvalidRow", message=f"{where}, {fault.message}")
        return SourceRow(row, where) if placed else row


def _unreadable(name: str, fault: UnreadableFileError) -> DeadLetter:
    return DeadLetter({"file": name}, code="UnreadableFile", message=f"{name} {fault}.")


def _placed_change(change: Put | Delete, where: str) -> Put | Delete:
    if isinstance(change, Put):
        return Put(SourceRow(change.row, where))
    return Delete(SourceRow(change.key, where))


# --- settings ------------------------------------------------------------------------------


def told(value: Any) -> Any:
    """What a setting is, now that the pipeline runs."""
    return value.get() if isinstance(value, ValueProvider) else value


def _unknown(settings: Mapping[str, Any]) -> bool:
    """Whether a setting is told only when the pipeline runs."""
    every = [*settings.values(), *settings["columns"].values()]
    return any(
        isinstance(each, ValueProvider) and not isinstance(each, StaticValueProvider)
        for each in every
    )


def _format_name(name: str | None) -> str | None:
    if name in (None, "", _AUTO):
        return None
    if name not in FORMATS:
        raise OptionError(
            f"'format' must be {_AUTO} or one of {', '.join(FORMATS)}, not '{name}'.",
            option="format",
        )
    return name


def _encoding_name(name: str | None) -> str:
    name = name or "utf-8"
    try:
        "".encode(name)  # a codec such as base64 is known, but none of texts
    except (LookupError, UnicodeError):
        raise OptionError(
            f"'encoding' is '{name}', which is none that Python has for texts.", option="encoding"
        ) from None
    return name


def _delimiter(text: str | None) -> str | None:
    text = {"\\t": "\t", "tab": "\t"}.get(text or "", text)
    if text and (len(text) != 1 or text in '"\r\n'):
        raise OptionError(
            f"'delimiter' must be one character, and neither a quote nor a line's end, not "
            f"{text!r}.",
            option="delimiter",
        )
    return text or None
