r"""Loads files into a DynamoDB table.

    python -m pipelines.load --input='s3://bucket/users-*.jsonl.zst' --types=user_id:N,tags:SS \
        --keys=user_id --table_name=users --aws_region=us-east-2 --dead_letters=failed.jsonl

Files are CSV (with a header line), JSON lines, exports of DynamoDB, Parquet or Avro; plain, gzip,
bzip2, xz, zstd or zip; on any file system that Beam knows. The runner is any that Beam has; without
`--runner` it is the in-process one, which reads the files in the order of their names, so that of
two rows of one key the later one stays.

Exit codes: 0 all rows are written or superseded, 1 the load failed, 3 some rows failed and are in
`--dead_letters`, 130 it was stopped with Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import re
import sys
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pvalue import PCollection
from apache_beam.runners.runner import PipelineResult
from apache_beam.transforms.error_handling import ErrorHandler

from beam_dynamodb import (
    Delete,
    DynamoDBSinkError,
    OptionError,
    Put,
    SinkOptions,
    WriteToDynamoDB,
)
from beam_dynamodb.errors import RowError
from beam_dynamodb.replay import takes_empty
from beam_dynamodb.requests import row_of
from beam_dynamodb.table import TableKey
from beam_dynamodb.values import attribute_value, row_mapping
from pipelines.columns import Columns
from pipelines.dry_run import Estimate, Judge, Reasons, estimate
from pipelines.faults import cancelling, exit_code, quiet
from pipelines.flags import is_in_process, read_flags, use_files
from pipelines.letters import FailedRows, check_new
from pipelines.live import WatchSink, counts_here, counts_of
from pipelines.load_flags import keys_of, load_parser, reading
from pipelines.new_table import Billing, create_table, describe
from pipelines.progress import Counts, History, Total, shown
from pipelines.report import html_report
from pipelines.sources import ReadRows, SourceRow, first_rows, matched

__all__ = ["main", "run"]

_PROGRAM = "python -m pipelines.load" if __name__ == "__main__" else "beam-dynamodb load"
_NAMESPACE = "beam_dynamodb.load"
_KEY_TYPES = ("S", "N", "B")
_KEY_TYPE = re.compile(r"(\S+): the table's key has type ([SNB]), and this is of type")
_NO_KEYS = re.compile(r": a Delete holds just the key attributes \((.+)\)")
_MOST_LOOKED_AT = 1_000
"""Rows that are looked at for the types of keys, so that a misspelt key is told soon."""


class Stopped(KeyboardInterrupt):
    """The user pressed Ctrl-C; says what had become of the rows by then."""

    def __init__(self, counts: Counts) -> None:
        super().__init__(
            f"{counts}\nWhat was written stays written. To load the rest, run the same again: "
            "writing a row twice does no harm."
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the load; prints a summary.

    Returns:
        The exit code, as this module says.
    """
    return exit_code("load", lambda: _run(sys.argv[1:] if argv is None else argv), _advice)


def _advice(text: str) -> str:
    """What to say in the command, for the two faults of who loads a first file."""
    typed, deleted = _KEY_TYPE.search(text), _NO_KEYS.search(text)
    if typed:
        return (
            f" Say it with --types={typed[1]}:{typed[2]}; a column that --rename gives this name "
            "goes by that in the file."
        )
    if deleted:
        return f" With --keys={deleted[1].replace(', ', ',')} the other columns are left out."
    return ""


def run(argv: Sequence[str]) -> Counts:
    """Runs the load, showing how far it is.

    Args:
        argv: Flags of the load, of the sink and of Beam; not `--dry_run`.

    Returns:
        What became of the rows.

    Raises:
        OptionError: An option of the sink is not allowed; nothing was read.
        SourceError: A file, or a row of it, cannot be read.
        DynamoDBSinkError: A row, or the table, cannot be written.
    """
    done = _run(argv)
    assert isinstance(done, Counts)  # noqa: S101 - a dry run is for the command line
    return done


@dataclass(frozen=True)
class _Asked:
    """What the command line asks for.

    Attributes:
        flags: The flags of the load.
        sink: The options of the sink, by keyword.
        keys: The table's key attributes; empty where they are not told.
        source: What reads the files.
        options: Those of Beam.
    """

    flags: argparse.Namespace
    sink: Mapping[str, object]
    keys: Sequence[str]
    source: ReadRows
    options: PipelineOptions


def _run(argv: Sequence[str]) -> Counts | str:
    flags, sink, options = read_flags(load_parser(_PROGRAM), argv)
    use_files(options, [*flags.input, flags.dead_letters, flags.report])
    check_new(flags.dead_letters)
    source = _source(flags, in_order=is_in_process(options))
    asked = _Asked(flags, sink, keys_of(flags), source, options)
    with quiet():
        if flags.dry_run:
            return _dry_run(asked)
        _sink(asked)  # refuses wrong options before anything is done
        if flags.create_table:
            _create_table(asked)
        return _load(asked)


def _load(asked: _Asked) -> Counts:
    pipeline = beam.Pipeline(options=asked.options)
    this = f"{_NAMESPACE}.{uuid.uuid4()}"
    _build(pipeline, asked, this)
    history = History()
    jobs: list[PipelineResult] = []

    def counts() -> Counts:
        return counts_of(jobs[0], _NAMESPACE) if jobs else counts_here(this)

    try:
        with cancelling(jobs), shown(counts, total=_total(asked.flags), history=history):
            jobs.append(pipeline.run())  # the in-process runner returns when all is done
            jobs[0].wait_until_finish()
    except KeyboardInterrupt:
        raise Stopped(history.samples[-1][1]) from None
    finally:
        _write_report(asked.flags, history)
    return counts_of(jobs[0], _NAMESPACE)


def _total(arguments: argparse.Namespace) -> Total:
    """How much there is to load; `--rows` is told of each file, so of one file it is all."""
    files = matched(arguments.input)
    if arguments.rows:
        return Total(rows=arguments.rows if len(files) == 1 else None)
    return Total(bytes=sum(each.size_in_bytes for each in files))


def _write_report(arguments: argparse.Namespace, history: History) -> None:
    if arguments.report:
        facts = {"Table": arguments.table_name, "Input": ", ".join(arguments.input)}
        page = html_report(f"Load into {arguments.table_name}", history, facts)
        raw = FileSystems.create(arguments.report, compression_type=CompressionTypes.UNCOMPRESSED)
        with raw:
            raw.write(page.encode())


# --- the pipeline --------------------------------------------------------------------------


def _source(arguments: argparse.Namespace, *, in_order: bool) -> ReadRows:
    return ReadRows(arguments.input, rows=arguments.rows, in_order=in_order, **reading(arguments))


def _sink(asked: _Asked) -> WriteToDynamoDB:
    return WriteToDynamoDB.from_options(
        asked.sink,
        partitioned_by=asked.flags.partitioned_by,
        primary_key=asked.keys,
        change_kind=asked.flags.change_kind,
        order_by=asked.flags.order_by,
    )


def _build(pipeline: beam.Pipeline, asked: _Asked, run: str) -> None:
    with contextlib.ExitStack() as stack:
        handler = None
        if asked.flags.dead_letters:
            letters = FailedRows(asked.flags.dead_letters, _NAMESPACE, run)
            handler = stack.enter_context(ErrorHandler(letters))
        rows = _rows(pipeline, asked, run, handler)
        result = rows | "Write" >> _sink(asked).with_error_handler(handler)
        _ = result.written | "CountWritten" >> beam.ParDo(WatchSink(_NAMESPACE, run))


def _rows(pipeline: beam.Pipeline, asked: _Asked, run: str, handler: Any) -> PCollection[Any]:
    read = asked.source.with_error_handler(handler).counting(_NAMESPACE, run)
    rows = pipeline | "Read" >> read
    if asked.flags.delete:
        named = (*asked.flags.partitioned_by, asked.flags.order_by)
        beside = [name for name in named if name and name not in asked.keys]
        return rows | "ToDelete" >> beam.ParDo(ToDelete(asked.keys, beside))
    return rows


class ToDelete(beam.DoFn):
    """Rows to deletes by their key attributes; without any told, all of a row is its key."""

    def __init__(self, keys: Iterable[str], beside: Iterable[str] = ()) -> None:
        self._keys = list(keys)
        self._beside = list(beside)

    def process(self, row: Any) -> Iterator[Delete]:
        """Yields the delete; the sink refuses it where the key lacks."""
        if isinstance(row, Delete):
            yield row
            return
        row = row.row if isinstance(row, Put) else row
        key = {name: row[name] for name in self._keys if name in row} if self._keys else row
        beside = {name: row[name] for name in self._beside if name in row}
        where = getattr(row, "where", None)
        yield Delete(key if where is None else SourceRow(key, where), beside or None)


# --- before a load -------------------------------------------------------------------------


def _create_table(asked: _Asked) -> None:
    options = SinkOptions.parse(asked.sink)
    billing = Billing.parse(asked.flags.create_table)
    if create_table(options, asked.keys, _key_types(asked.flags, asked.keys), billing):
        print(f"Created the table '{options.table_name}' ({asked.flags.create_table}).")


def _key_types(arguments: argparse.Namespace, keys: Sequence[str]) -> dict[str, str]:
    """DynamoDB's types of the key attributes: as told, else those of the first good row."""
    columns = Columns.parse(**reading(arguments)["columns"])
    told = {columns.rename.get(name, name): tag for name, tag in columns.types.items()}
    if all(name in told for name in keys):
        return _checked_types({name: told[name] for name in keys})
    handled = bool(arguments.dead_letters)  # then a bad row ends nothing, nor does it tell types
    rows = first_rows(arguments.input, only_good=handled, **reading(arguments))
    found = (_tags(row, keys) for row in itertools.islice(rows, _MOST_LOOKED_AT))
    types = next(found, None)
    if types is None:
        raise OptionError("The input holds no row that tells the types of the keys.", option="keys")
    if handled and not _is_key(types, keys):
        types = next((each for each in found if _is_key(each, keys)), types)
    missing = [name for name in keys if name not in types]
    if missing:
        raise OptionError(f"The rows have no attribute {', '.join(missing)}.", option="keys")
    return _checked_types(types)


def _tags(row: Any, keys: Sequence[str]) -> dict[str, str]:
    fields = row_mapping(row_of(row))
    return {name: _tag(fields[name]) for name in keys if name in fields}


def _is_key(types: Mapping[str, str], keys: Sequence[str]) -> bool:
    return len(types) == len(keys) and all(tag in _KEY_TYPES for tag in types.values())


def _tag(value: Any) -> str:
    try:
        [tag] = value if isinstance(value, dict) else attribute_value(value)
    except (RowError, ValueError):
        return "?"
    return str(tag)


def _checked_types(types: dict[str, str]) -> dict[str, str]:
    for name, tag in types.items():
        if tag not in _KEY_TYPES:
            raise OptionError(
                f"The key attribute '{name}' has the type {tag}, but a key is S, N or B; "
                f"give it one with '--types'.",
                option="types",
            )
    return types


def _dry_run(asked: _Asked) -> str:
    if not is_in_process(asked.options):
        raise OptionError(
            "'--dry_run' runs in this process; leave '--runner' out.", option="runner"
        )
    settled = SinkOptions.parse(asked.sink)
    _sink(asked)
    table = _described(settled)
    judge = Judge(settled.table_name, _table_key(asked.keys, table), _judging(asked.flags, settled))
    with tempfile.TemporaryDirectory() as folder:
        letters = Path(folder) / "letters.jsonl"
        pipeline = beam.Pipeline(options=asked.options)
        with ErrorHandler(FailedRows(str(letters), _NAMESPACE, "dry_run")) as handler:
            rows = _rows(pipeline, asked, "dry_run", handler)
            handler.add_error_pcollection(rows | "Judge" >> beam.ParDo(judge))
        result = pipeline.run()
        result.wait_until_finish()
        reasons = Reasons.of_files([letters])
        if asked.flags.dead_letters:
            _copy(letters, asked.flags.dead_letters)
    return _told(estimate(result, reasons), asked.flags, table)


def _copy(letters: Path, to: str) -> None:
    content = letters.read_bytes()
    if content or takes_empty(to):  # else none is left, as by a load without failures
        with FileSystems.create(to) as file:
            file.write(content)


def _judging(arguments: argparse.Namespace, settled: SinkOptions) -> dict[str, Any]:
    return {
        "partitioned_by": tuple(arguments.partitioned_by),
        "order_by": arguments.order_by,
        "change_kind": arguments.change_kind,
        "ignore_nulls": settled.sink_ignore_nulls,
    }


def _described(settled: SinkOptions) -> Mapping[str, Any]:
    """The table as it is; a dry run can do without, and without credentials too."""
    try:
        return describe(settled) or {}
    except DynamoDBSinkError:
        return {}


def _table_key(keys: Sequence[str], table: Mapping[str, Any]) -> TableKey | None:
    there = TableKey.of(table) if table else None
    if there is None or not keys:
        return there or (TableKey(tuple(keys)) if keys else None)
    types = dict(zip(there.names, there.types or (), strict=True))
    told = all(name in types for name in keys)
    return TableKey(tuple(keys), tuple(types[name] for name in keys) if told else None)


def _told(found: Estimate, arguments: argparse.Namespace, table: Mapping[str, Any]) -> str:
    capacity = arguments.write_capacity or float(
        table.get("ProvisionedThroughput", {}).get("WriteCapacityUnits", 0)
    )
    return found.text(arguments.price_per_million, capacity or None)


if __name__ == "__main__":
    sys.exit(main())
