"""What stands in a file: records of CSV, JSON lines, DynamoDB's JSON, Parquet and Avro.

Takes binary files and gives plain values; knows nothing of Beam, nor where a file comes from.
"""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import io
import json
import lzma
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any

import orjson

from beam_dynamodb.requests import Delete, Put
from beam_dynamodb.times import ExactTime
from pipelines.columns import MOST_LEVELS, check_levels
from pipelines.compressed import COMPRESSIONS, UnreadableFileError

__all__ = [
    "FORMATS",
    "BadRecord",
    "Format",
    "Record",
    "Text",
    "format_of",
    "records",
]

_CELL_MAX_BYTES = 16 * 1024 * 1024
"""The longest cell of a CSV file: what a whole request to DynamoDB may hold."""

_LINE_MAX_BYTES = 64 * 1024 * 1024
_LONG_NUMBER = re.compile(rb"[0-9.]{16}|[0-9][eE]")
"""Where a line matches, floats may not be exact."""

_BATCH_ROWS = 1_000
_SNAPSHOT = frozenset(["Item"])
_CHANGE = frozenset(["Metadata", "Keys", "NewImage", "OldImage"])


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a file.

    Attributes:
        number: Of its first line in the file, or of the record; from 1 on.
        values: Its values by column; for DynamoDB's JSON a `Put` or a `Delete`.
    """

    number: int
    values: Any


@dataclass(frozen=True, slots=True)
class BadRecord:
    """One record of a file that can't be read, while those after it can.

    Attributes:
        number: As of a `Record`.
        content: What stands there, as text.
        fault: What is wrong with it.
        path: The column at fault, where one is.
    """

    number: int
    content: str
    fault: str
    path: str = ""


@dataclass(frozen=True, slots=True)
class Text:
    """How a text file is written.

    Attributes:
        encoding: In Python's names.
        delimiter: What stands between the cells of CSV.
        header: The columns of CSV whose first line does not name them.
        short_rows: Whether a row of CSV may have too few cells; it has no value of the others.
    """

    encoding: str = "utf-8"
    delimiter: str = ","
    header: Sequence[str] | None = None
    short_rows: bool = False


@dataclass(frozen=True, slots=True)
class Format:
    """How a kind of file is read.

    Attributes:
        unit: What `Record.number` counts: `line` or `record`.
        read: Gives the records of a binary file.
    """

    unit: str
    read: Callable[[Any, Text], Iterator[Record | BadRecord]]


def format_of(path: str) -> str | None:
    """The format that a file's name tells, or None."""
    suffixes = [each.lower() for each in PurePosixPath(path).suffixes]
    while suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes.pop()
    return _BY_SUFFIX.get(suffixes[-1]) if suffixes else None


def records(binary: Any, name: str, text: Text = Text()) -> Iterator[Record | BadRecord]:
    """The records of a file.

    Args:
        binary: The open file, uncompressed.
        name: One of `FORMATS`.
        text: How CSV and JSON are written.

    Yields:
        The records, readable or not, in the file's order.

    Raises:
        UnreadableFileError: From here on nothing can be read.
    """
    try:
        yield from FORMATS[name].read(binary, text)
    except (EOFError, zlib.error, lzma.LZMAError, OSError, zipfile.BadZipFile) as cause:
        if isinstance(cause, OSError) and cause.errno is not None:
            raise  # of the system, not of what stands in the file
        raise UnreadableFileError(
            f"is not compressed as its name says, or cut off: {cause}"
        ) from cause
    except Exception as cause:
        if type(cause).__name__ == "ZstdError":
            raise UnreadableFileError(f"is no zstd file, or cut off: {cause}") from cause
        raise


# --- CSV -----------------------------------------------------------------------------------


def _csv(binary: Any, written: Text) -> Iterator[Record | BadRecord]:
    csv.field_size_limit(max(_CELL_MAX_BYTES, csv.field_size_limit()))
    encoding = written.encoding
    with io.TextIOWrapper(binary, encoding, errors="surrogateescape", newline="") as text:
        lines = _Lines(text)
        rows = csv.reader(lines, delimiter=written.delimiter, strict=True)
        try:
            yield from _csv_records(rows, lines, written)
        except (csv.Error, UnicodeError) as cause:
            # Python 3.10 stops at a NUL, which later ones give in a cell.
            reason = "it is in another encoding" if "NUL" in str(cause) else cause
            raise UnreadableFileError(
                f"is no CSV file in {_shown(encoding)} after line {rows.line_num}: {reason}"
            ) from cause


class _Lines:
    """The lines of a text without its byte order mark; remembers the last one that was taken."""

    def __init__(self, text: Iterable[str]) -> None:
        self._text = text
        self.last = ""

    def __iter__(self) -> Iterator[str]:
        text = iter(self._text)
        for line in text:
            self.last = line.removeprefix("\ufeff")
            yield self.last
            break
        for line in text:
            self.last = line
            yield line


@dataclass(frozen=True, slots=True)
class _Header:
    """The columns of a CSV file.

    Attributes:
        names: Their names.
        spare: How many blank cells a row may have beyond them, where lines end with delimiters.
    """

    names: Sequence[str]
    spare: int


def _csv_records(rows: Any, lines: _Lines, written: Text) -> Iterator[Record | BadRecord]:
    header = _header(rows, written)
    while True:
        started = rows.line_num + 1
        try:
            cells = next(rows, None)
        except csv.Error as cause:
            yield _misquoted(started, rows, lines.last.rstrip("\r\n"), written, cause)
            continue
        if cells is None:
            return
        if cells:  # an empty line is none
            yield _csv_record(started, header, cells, written)


def _misquoted(started: int, rows: Any, line: str, written: Text, cause: csv.Error) -> BadRecord:
    """A row with a quote out of place, where it is plain that its line is all of it.

    Raises:
        UnreadableFileError: A quote may be open at the line's end: what follows may be its text.
    """
    if rows.line_num == started and _closes(line, written.delimiter):
        return BadRecord(started, line, f"the row is no CSV: {cause}")
    raise UnreadableFileError(
        f"is no CSV file in {_shown(written.encoding)} from line {started} on, in whose row a "
        f"quote has no end or stands out of place: {cause}"
    )


def _closes(line: str, delimiter: str) -> bool:
    """Whether no cell goes on in the next line, if only a quote before a delimiter ends one."""
    end = f" *(?:{re.escape(delimiter)}|$)"
    quoted = f'"(?:[^"]|"(?!{end}))*"'
    plain = f'(?!")[^{re.escape(delimiter)}]*'
    return re.fullmatch(f"(?:(?:{quoted}|{plain}){end})*", line) is not None


def _header(rows: Any, written: Text) -> _Header:
    if written.header is not None:
        return _Header(written.header, 1)
    names: list[str] = next(filter(None, rows), [])
    named = max((place for place, each in enumerate(names, start=1) if each.strip()), default=0)
    if not named:
        raise UnreadableFileError("is empty: a CSV file begins with a line of column names")
    if any("\0" in each or not _is_unicode(each) for each in names):
        raise UnreadableFileError(
            f"is no CSV file in {_shown(written.encoding)}: its first line is in another encoding"
        )
    _check_names(names[:named])
    return _Header(names[:named], len(names) - named)


def _check_names(names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UnreadableFileError(f"has more than one column {', '.join(twice)}")


def _csv_record(
    number: int, header: _Header, cells: list[str], written: Text
) -> Record | BadRecord:
    names = header.names
    if len(cells) != len(names):
        names, cells = _evened(header, cells, written)
        if len(cells) != len(names):
            fault = f"not as many cells as the header: {len(cells)} instead of {len(names)}"
            return BadRecord(number, written.delimiter.join(cells), f"the row has {fault}")
    # The text of the whole row is looked at first: nearly always it is fine.
    if not _is_unicode("".join(cells)):
        bad = next(each for each, cell in zip(names, cells, strict=True) if not _is_unicode(cell))
        fault = f"the cell is not in {_shown(written.encoding)}"
        return BadRecord(number, written.delimiter.join(cells), fault, bad)
    return Record(number, dict(zip(names, cells, strict=True)))


def _evened(header: _Header, cells: list[str], written: Text) -> tuple[Sequence[str], list[str]]:
    """Names and cells without the cells that a row may have more, or less."""
    names = header.names
    more = len(cells) - len(names)
    if 0 < more <= header.spare and not "".join(cells[len(names) :]).strip():
        return names, cells[: len(names)]
    return (names[: len(cells)] if more < 0 and written.short_rows else names), cells


def _is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(encoding: str) -> str:
    return "UTF-8" if codecs.lookup(encoding).name == "utf-8" else encoding


# --- JSON ----------------------------------------------------------------------------------


def _json(binary: Any, written: Text) -> Iterator[Record | BadRecord]:
    """JSON lines, plain or in DynamoDB's form; the first good line tells which."""
    read: Callable[[int, bytes], Record] | None = None
    for number, line in _json_lines(binary, written.encoding):
        if read is None and _is_export(line):
            read = _export_record
        found = _guarded(read or _json_record, number, line)
        if read is None and isinstance(found, Record):
            read = _json_record
        yield found


def _dynamodb_json(binary: Any, written: Text) -> Iterator[Record | BadRecord]:
    for number, line in _json_lines(binary, written.encoding):
        yield _guarded(_export_record, number, line)


def _json_lines(binary: Any, encoding: str) -> Iterator[tuple[int, bytes]]:
    readline = binary.readline if _shown(encoding) == "UTF-8" else _recoding(binary, encoding)
    lines = iter(lambda: readline(_LINE_MAX_BYTES), b"")
    for number, line in enumerate(lines, start=1):
        if number == 1:
            line = _checked_start(line)
        line = line.strip()
        if line:
            yield number, line


def _recoding(binary: Any, encoding: str) -> Callable[[int], bytes]:
    """Lines of a text in any encoding as UTF-8."""
    # Of a codec's own reader a line ends at any of Unicode's line breaks, inside of texts too.
    text = io.TextIOWrapper(binary, encoding, newline="\n")

    def readline(size: int) -> bytes:
        try:
            return text.readline(size).encode()
        except UnicodeError as cause:
            raise UnreadableFileError(f"is not in {encoding}: {cause}") from cause

    return readline


def _checked_start(line: bytes) -> bytes:
    if line.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UnreadableFileError("is in UTF-16, not in UTF-8")
    line = line.removeprefix(b"\xef\xbb\xbf")
    if line.lstrip().startswith(b"["):
        raise UnreadableFileError("holds a JSON list, not one JSON object on each line")
    if line.startswith((b"PAR1", b"Obj\x01", b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PK\x03\x04")):
        raise UnreadableFileError("is no JSON file")
    return line


def _guarded(read: Callable[[int, bytes], Record], number: int, line: bytes) -> Record | BadRecord:
    try:
        return read(number, line)
    except (ValueError, RecursionError) as fault:
        reason = "it is nested too deeply" if isinstance(fault, RecursionError) else str(fault)
        return BadRecord(number, line.decode("utf-8", "backslashreplace"), reason)


def _json_record(number: int, line: bytes) -> Record:
    values = _loads(line)
    if not isinstance(values, dict):
        raise ValueError(f"the line is no JSON object but a {type(values).__name__}")
    return Record(number, values)


def _loads(line: bytes) -> Any:
    """The value of a line of JSON, with all digits of its numbers."""
    value = _parsed(line)
    if line.count(b"[") + line.count(b"{") > MOST_LEVELS:  # else it can't be that deep
        check_levels(value)
    return value


def _parsed(line: bytes) -> Any:
    if not _LONG_NUMBER.search(line):
        try:
            return orjson.loads(line)
        except ValueError:
            pass  # the other reader says better what is wrong, and reads longer numbers
    try:
        return json.loads(line, parse_float=Decimal, parse_constant=_refuse_constant)
    except UnicodeDecodeError as cause:
        raise ValueError(f"the line is not in UTF-8 after byte {cause.start}") from None
    except json.JSONDecodeError as cause:
        raise ValueError(f"the line is no JSON: {cause.msg} at column {cause.colno}") from None


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"the line holds {text}, which is no JSON")


def _is_export(line: bytes) -> bool:
    try:
        values = orjson.loads(line)
    except ValueError:
        return False
    if not isinstance(values, dict) or not values:
        return False
    if set(values) == _SNAPSHOT:
        return _is_tagged(values["Item"])
    return "Keys" in values and set(values) <= _CHANGE and _is_tagged(values["Keys"])


def _is_tagged(values: Any) -> bool:
    return (
        isinstance(values, dict)
        and bool(values)
        and all(isinstance(each, dict) and len(each) == 1 for each in values.values())
    )


def _export_record(number: int, line: bytes) -> Record:
    """A line of an export to S3: a full one holds items, an incremental one holds changes.

    The formats are those of the DynamoDB Developer Guide, *DynamoDB table export output format*.
    """
    values = _loads(line)
    if isinstance(values, Mapping):
        if isinstance(values.get("Item"), dict):
            return Record(number, Put(values["Item"]))
        if isinstance(values.get("NewImage"), dict):
            return Record(number, Put(values["NewImage"]))
        if isinstance(values.get("Keys"), dict):
            return Record(number, Delete(values["Keys"]))
    raise ValueError("the line is none of an export of DynamoDB: it has no Item, NewImage or Keys")


# --- Parquet and Avro ----------------------------------------------------------------------


def _parquet(binary: Any, _: Text) -> Iterator[Record | BadRecord]:
    import pyarrow as pa  # type: ignore[import-untyped]
    from pyarrow import parquet

    number = 0
    try:
        with _seekable(binary) as file:
            # INT96, in which Spark writes times, goes from year 1 on and well past pyarrow's
            # nanoseconds, in which the year 9999 would be one of the 19th century.
            table = parquet.ParquetFile(file, coerce_int96_timestamp_unit="us")
            _check_names(table.schema_arrow.names)
            for found in _table_records(table):
                number = found.number
                yield found
    except (pa.ArrowException, OSError) as cause:
        rest = f" after record {number}" if number else ""
        raise UnreadableFileError(
            f"is no complete Parquet file{rest}: {_first_line(cause)}"
        ) from cause


def _table_records(table: Any) -> Iterator[Record | BadRecord]:
    before = 0
    for batch in table.iter_batches(_BATCH_ROWS):
        yield from _batch_records(batch, before)
        before += batch.num_rows


_NO_VALUE = (ValueError, OverflowError, KeyError, TypeError)
"""What pyarrow raises for what Python has not, such as a year 10000."""

_NO_MAP = {
    KeyError: "a map holds a key twice",
    TypeError: "a map's key is a list, a map or a struct",
}


def _batch_records(batch: Any, before: int) -> Iterator[Record | BadRecord]:
    try:
        columns = {
            name: _python_values(column)
            for name, column in zip(batch.schema.names, batch.columns, strict=True)
        }
    except _NO_VALUE:  # only the rows with it are bad
        for index in range(batch.num_rows):
            yield _parquet_record(batch.slice(index, 1), before + index + 1)
        return
    for index in range(batch.num_rows):
        yield Record(before + index + 1, {name: each[index] for name, each in columns.items()})


def _parquet_record(row: Any, number: int) -> Record | BadRecord:
    values: dict[str, Any] = {}
    bad: dict[str, str] = {}
    for name, column in zip(row.schema.names, row.columns, strict=True):
        try:
            [values[name]] = _python_values(column)
        except _NO_VALUE as cause:
            bad[name] = _NO_MAP.get(type(cause)) or _first_line(cause)
    if not bad:
        return Record(number, values)
    path, fault = next(iter(bad.items()))
    return BadRecord(number, str(values), f"the value cannot be read: {fault}", path)


def _python_values(column: Any) -> list[Any]:
    """A column's values as Python has them; times finer than its own as `ExactTime`s."""
    import pyarrow as pa
    from pyarrow import compute

    kind = column.type
    if not (pa.types.is_timestamp(kind) and kind.unit == "ns"):
        return list(column.to_pylist(maps_as_pydicts="strict"))
    micros = column.cast(pa.timestamp("us", kind.tz), safe=False)
    finer = compute.not_equal(micros.cast(kind), column)
    values = micros.to_pylist()
    if not compute.any(finer).as_py():
        return list(values)
    zone = "Z" if kind.tz else ""
    instants = column.cast(pa.timestamp("ns", "UTC" if zone else None))
    texts = compute.strftime(instants, f"%Y-%m-%dT%H:%M:%S{zone}").to_pylist()
    return [
        ExactTime(text) if exact else value
        for value, text, exact in zip(values, texts, finer.to_pylist(), strict=True)
    ]


def _avro(binary: Any, _: Text) -> Iterator[Record | BadRecord]:
    import fastavro

    number = 0
    try:
        for block in fastavro.block_reader(binary):
            for found in _block_records(block, number):
                number = found.number
                yield found
    except Exception as cause:
        rest = f" after record {number}" if number else ""
        raise UnreadableFileError(
            f"is no complete Avro file{rest}: {_first_line(cause) or type(cause).__name__}"
        ) from cause


def _block_records(block: Any, before: int) -> Iterator[Record | BadRecord]:
    try:
        rows = list(block)
    except Exception:  # such as of a year 10000; only the records with it are bad
        yield from _avro_records(block, before)
        return
    for number, values in enumerate(rows, start=before + 1):
        yield _avro_record(number, values)


def _avro_records(block: Any, before: int) -> Iterator[Record | BadRecord]:
    """The records of a block one by one: without logical types each is read to its end."""
    from fastavro import schemaless_reader

    plain = _without_logical_types(block.writer_schema)
    data = block.bytes_
    data.seek(0)
    for number in range(before + 1, before + 1 + block.num_records):
        start = data.tell()
        content = schemaless_reader(data, plain)
        end = data.tell()
        data.seek(start)
        try:
            yield _avro_record(number, schemaless_reader(data, block.writer_schema))
        except (ValueError, ArithmeticError) as cause:
            yield BadRecord(number, str(content), f"the value cannot be read: {_first_line(cause)}")
        data.seek(end)


def _avro_record(number: int, values: Any) -> Record:
    return Record(number, values if isinstance(values, dict) else {"value": values})


def _without_logical_types(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_logical_types(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {name: each for name, each in schema.items() if name != "logicalType"}
    return {name: _without_logical_types(each) for name, each in kept.items()}


def _seekable(binary: Any) -> Any:
    """The file itself, or a copy of it on disk: Parquet is read from its end."""
    if getattr(binary, "seekable", bool)() and not isinstance(
        binary, (gzip.GzipFile, bz2.BZ2File, lzma.LZMAFile, zipfile.ZipExtFile)
    ):
        return binary
    copy = tempfile.TemporaryFile()  # noqa: SIM115 - whoever reads it closes it
    shutil.copyfileobj(binary, copy)
    copy.seek(0)
    return copy


def _first_line(cause: Exception) -> str:
    return str(cause).strip().split("\n", 1)[0]


FORMATS: dict[str, Format] = {
    "csv": Format("line", _csv),
    "json": Format("line", _json),
    "dynamodb-json": Format("line", _dynamodb_json),
    "parquet": Format("record", _parquet),
    "avro": Format("record", _avro),
}
"""The formats by name. `json` is JSON lines, or such an export as its first good line tells."""

_BY_SUFFIX = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".avro": "avro",
}
