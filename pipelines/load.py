r"""Loads CSV files into a DynamoDB table.

    python -m pipelines.load --input=flights.csv --numbers=year,month,day \
        --table_name=flights --aws_region=us-east-2 --partitioned_by=flight,time_hour

The files may be plain, gzip, bzip2 or zip, on any file system that Beam knows, and the runner any
that Beam has; without `--runner` it is the in-process one.

Exit codes: 0 all rows are written or superseded, 1 the load failed, 3 some rows failed and are in
`--dead_letters`.
"""

from __future__ import annotations

import argparse
import bz2
import contextlib
import csv
import gzip
import io
import itertools
import re
import string
import sys
import uuid
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import apache_beam as beam
from apache_beam.io import fileio
from apache_beam.io.filesystem import CompressionTypes, FileMetadata
from apache_beam.io.filesystems import FileSystems
from apache_beam.metrics.execution import MetricsEnvironment
from apache_beam.metrics.metric import Metrics, MetricsFilter
from apache_beam.metrics.metricbase import MetricName
from apache_beam.pvalue import PCollection
from apache_beam.runners.runner import PipelineResult
from apache_beam.transforms.error_handling import ErrorHandler

from beam_dynamodb import DynamoDBSinkError, WriteToDynamoDB
from beam_dynamodb.replay import WriteDeadLetters as DeadLettersToFile
from pipelines.flags import add_sink_flags, names, read_flags
from pipelines.progress import Counts, shown

__all__ = ["main", "run"]

_NAMESPACE = "beam_dynamodb.load"
_SOME_FAILED = 3
_INTEGER = re.compile(r"[+-]?\d{1,38}")

Row = dict[str, Any]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the load; prints a summary.

    Returns:
        The exit code, as this module says.
    """
    try:
        counts = run(sys.argv[1:] if argv is None else argv)
    except (DynamoDBSinkError, ValueError, OSError, RuntimeError) as fault:
        print(f"The load failed. {fault}", file=sys.stderr)
        return 1
    print(counts)
    return _SOME_FAILED if counts.failed else 0


def run(argv: Sequence[str]) -> Counts:
    """Runs the load, showing how far it is.

    Args:
        argv: Flags of the load, of the sink and of Beam.

    Returns:
        What became of the rows.

    Raises:
        OptionError: An option of the sink is not allowed; nothing was read.
        DynamoDBSinkError: A row, or the table, cannot be written.
    """
    arguments, sink, options = read_flags(_parser(), argv)
    pipeline = beam.Pipeline(options=options)
    this = f"{_NAMESPACE}.{uuid.uuid4()}"
    _build(pipeline, arguments, sink, this)
    result: PipelineResult | None = None
    with shown(
        lambda: _counts_here(this) if result is None else _counts_of(result),
        total=arguments.rows,
    ):
        result = pipeline.run()  # the in-process runner returns when all is done, others at once
        result.wait_until_finish()
    return _counts_of(result)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.load",
        description="Loads CSV files into a DynamoDB table. Flags of Beam follow the others.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--input", required=True, help="CSV files with a header line: a path or a pattern."
    )
    parser.add_argument("--rows", type=_count, help="Load only so many rows of each file.")
    parser.add_argument(
        "--numbers", type=names, default=[], help="Columns that hold numbers: a,b. Others: text."
    )
    parser.add_argument("--null", default="", help="The text of a cell that has no value.")
    parser.add_argument(
        "--derive",
        action="append",
        default=[],
        metavar="NAME=TEMPLATE",
        help="An attribute made of columns, such as flight_id={carrier}{flight}. Repeatable.",
    )
    parser.add_argument(
        "--dead_letters",
        metavar="PATH",
        help="Put rows that cannot be written into this file, as JSON lines, and go on. "
        "Without it the first such row ends the load.",
    )
    add_sink_flags(parser)
    return parser


# --- the pipeline --------------------------------------------------------------------------


def _build(
    pipeline: beam.Pipeline, arguments: argparse.Namespace, sink: Mapping[str, object], run: str
) -> None:
    derived = dict(_derived(each) for each in arguments.derive)
    needed = {*arguments.numbers, *(field for each in derived.values() for field in _fields(each))}
    with contextlib.ExitStack() as stack:
        handler = None
        if arguments.dead_letters:
            handler = stack.enter_context(
                ErrorHandler(WriteDeadLetters(arguments.dead_letters, run))
            )
        rows = (
            pipeline
            | "Find" >> fileio.MatchFiles(arguments.input, fileio.EmptyMatchTreatment.DISALLOW)
            | "Read" >> beam.ParDo(ReadCsv(arguments.rows, frozenset(needed)))
            | "CountRead" >> beam.ParDo(Count("read", run))
            | "Convert" >> _guarded(ToRow(arguments.numbers, arguments.null, derived), handler)
        )
        write = WriteToDynamoDB.from_options(
            sink, partitioned_by=arguments.partitioned_by, primary_key=arguments.primary_key
        )
        result = rows | "Write" >> write.with_error_handler(handler)
        _ = result.written | "CountWritten" >> beam.ParDo(Count("written", run))


def _guarded(convert: beam.DoFn, handler: ErrorHandler | None) -> beam.PTransform[Any, Any]:
    step = beam.ParDo(convert)
    return step.with_exception_handling(error_handler=handler) if handler else step


class ReadCsv(beam.DoFn):
    """Reads a file's rows, each a mapping from the header's names to the cells' text."""

    def __init__(self, rows: int | None, needed: frozenset[str]) -> None:
        self._rows = rows
        self._needed = needed

    def process(self, file: FileMetadata) -> Iterator[dict[str | None, Any]]:
        """Yields the rows.

        Raises:
            ValueError: The file is no CSV file in UTF-8, or its header is not as the load needs it.
        """
        raw = FileSystems.open(file.path, compression_type=CompressionTypes.UNCOMPRESSED)
        with raw, _uncompressed(file.path, raw) as binary:
            text = io.TextIOWrapper(binary, encoding="utf-8-sig", newline="")
            cells = csv.DictReader(text, strict=True)
            try:
                self._check_header(file.path, cells.fieldnames or ())
                yield from itertools.islice(cells, self._rows)
            except (csv.Error, UnicodeDecodeError) as cause:
                raise ValueError(
                    f"{file.path} is no CSV file in UTF-8 after line {cells.line_num}: {cause}"
                ) from cause

    def _check_header(self, path: str, header: Sequence[str]) -> None:
        missing = self._needed - set(header)
        if missing:
            raise ValueError(f"{path} has no column {', '.join(sorted(missing))}")
        twice = sorted({name for name in header if header.count(name) > 1})
        if twice:
            raise ValueError(f"{path} has more than one column {', '.join(twice)}")


class ToRow(beam.DoFn):
    """Makes a row of cells: numbers of the columns that hold numbers, None of empty cells."""

    def __init__(self, numbers: Iterable[str], null: str, derived: Mapping[str, str]) -> None:
        self._numbers = list(numbers)
        self._null = null
        self._derived = derived

    def process(self, cells: Mapping[str | None, Any]) -> Iterator[Row]:
        """Yields the row.

        Raises:
            ValueError: A cell is missing, or holds something else than a number.
        """
        if None in cells or None in cells.values():
            raise ValueError("the row has not as many cells as the header")
        row: Row = {str(name): None if cell == self._null else cell for name, cell in cells.items()}
        for name in self._numbers:
            text = row[name]
            row[name] = None if text is None else _number(name, text)
        for name, template in self._derived.items():
            row[name] = template.format_map(cells)
        yield row


class Count(beam.DoFn):
    """Counts elements, for the job's metrics and for the display of this process."""

    def __init__(self, name: str, run: str) -> None:
        self._name = MetricName(run, name)
        self._counter = Metrics.counter(_NAMESPACE, name)

    def setup(self) -> None:
        """Gets the counter of this process, which no pickle carries."""
        self._shown = Metrics.DelegatingCounter(self._name, process_wide=True)

    def process(self, element: Any) -> Iterator[Any]:
        """Counts one and passes it on."""
        self._counter.inc()
        self._shown.inc()
        yield element


class WriteDeadLetters(beam.PTransform[Any, Any]):
    """Counts failed rows and writes them into a file, which `pipelines.replay` reads."""

    def __init__(self, path: str, run: str) -> None:
        super().__init__()
        self._path = path
        self._run = run

    def expand(self, failed: PCollection[Any]) -> Any:
        """Writes them."""
        counted = failed | "Count" >> beam.ParDo(Count("failed", self._run))
        return counted | "ToFile" >> DeadLettersToFile(self._path)


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return count


# --- cells ---------------------------------------------------------------------------------


def _uncompressed(path: str, raw: Any) -> Any:
    """The contents of a file as a binary file: of a zip archive the first file in it."""
    if path.endswith(".zip"):
        archive = zipfile.ZipFile(raw)
        return archive.open(archive.namelist()[0])
    if path.endswith(".gz"):
        return gzip.open(raw)
    return bz2.open(raw) if path.endswith(".bz2") else raw


def _number(name: str, text: str) -> int | Decimal:
    try:
        return int(text) if _INTEGER.fullmatch(text) else Decimal(text)
    except InvalidOperation:
        raise ValueError(f"column '{name}' holds something else than a number") from None


def _derived(setting: str) -> tuple[str, str]:
    name, separator, template = setting.partition("=")
    if not (name and separator):
        raise ValueError(f"--derive must have the form NAME=TEMPLATE, not '{setting}'")
    try:
        _fields(template)
    except ValueError as cause:
        raise ValueError(f"--derive cannot be '{setting}': {cause}") from cause
    return name, template


def _fields(template: str) -> list[str]:
    """The columns that a template names."""
    fields = [field for _, field, _, _ in string.Formatter().parse(template) if field is not None]
    if any(not field or field.isdigit() or set(field) & set(".[") for field in fields):
        raise ValueError("a column stands in braces by its name, such as {carrier}")
    return fields


# --- counts --------------------------------------------------------------------------------


def _counts_here(run: str) -> Counts:
    """What this process has counted so far; all there is where the runner is in this process."""
    container = MetricsEnvironment.process_wide_container()

    def count(name: str) -> int:
        return int(container.get_counter(MetricName(run, name)).get_cumulative())

    return Counts(read=count("read"), written=count("written"), failed=count("failed"))


def _counts_of(result: PipelineResult) -> Counts:
    def count(namespace: str, name: str) -> int:
        wanted = MetricsFilter().with_namespace(namespace).with_name(name)
        return sum(each.result or 0 for each in result.metrics().query(wanted)["counters"])

    return Counts(
        read=count(_NAMESPACE, "read"),
        written=count("beam_dynamodb", "written"),
        superseded=count("beam_dynamodb", "superseded"),
        failed=count(_NAMESPACE, "failed"),
    )


if __name__ == "__main__":
    sys.exit(main())
