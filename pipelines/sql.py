r"""Runs a SQL job that writes to DynamoDB, in the words of Flink's SQL client.

    python -m pipelines.sql job.sql --set aws.endpoint=http://localhost:8000

The script creates tables (connectors `dynamodb`, `filesystem`, `datagen`, `print`) and inserts
into them; a page of documentation (`.md`, `.txt`) is read for the statements in it. The whole
script is checked before any row is read, then all INSERTs run as one pipeline, on any of Beam's
runners; without `--runner` it is the in-process one.

Exit codes: 0 all rows are written or superseded, 1 the job failed or was refused, 3 some rows
failed and are in `--dead_letters`, 130 it was stopped with Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.pvalue import PCollection, TaggedOutput
from apache_beam.runners.runner import PipelineResult
from apache_beam.transforms.error_handling import ErrorHandler
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MIN_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from beam_dynamodb import OptionError, RowError, SqlError, WriteToDynamoDB
from beam_dynamodb.ddl import Table
from beam_dynamodb.dead_letters import DeadLetter
from beam_dynamodb.replay import beam_path
from pipelines.faults import exit_code, run_to_end
from pipelines.flags import (
    in_process_unless_named,
    refuse_misspelt,
    refuse_secrets,
    use_files,
)
from pipelines.letters import FailedRows, check_new
from pipelines.live import metric, sink_metric
from pipelines.sql_query import Engine, NotEvaluated, Plan, plan
from pipelines.sql_script import Insert, Script, parse_script, sql_of_page
from pipelines.sql_settings import beam_flags
from pipelines.sql_tables import CONNECTORS, check_table

__all__ = ["Summary", "main", "run"]

_PROGRAM = "python -m pipelines.sql" if __name__ == "__main__" else "beam-dynamodb sql"
_NAMESPACE = "beam_dynamodb.sql"
_BATCH_ROWS = 1_000
_REFUSED = "refused"
_PAGES = (".md", ".txt", ".rst", ".html")


@dataclass(frozen=True, slots=True)
class Summary:
    """What became of the rows.

    Attributes:
        written: Rows that DynamoDB acknowledged.
        superseded: Rows that a later row of the same key made needless.
        ignored: Rows that nobody writes, such as an UPDATE_BEFORE.
        failed: Rows that went to the dead letters.
    """

    written: int = 0
    superseded: int = 0
    ignored: int = 0
    failed: int = 0

    def __str__(self) -> str:
        return (
            f"{self.written:,} written, {self.superseded:,} superseded, {self.ignored:,} ignored, "
            f"{self.failed:,} failed"
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the job; prints a summary.

    Returns:
        The exit code, as this module says.
    """
    return exit_code("SQL job", lambda: _run(sys.argv[1:] if argv is None else argv))


def run(argv: Sequence[str]) -> Summary:
    """Runs the job.

    Args:
        argv: The script's path, flags of the job and of Beam.

    Returns:
        What became of the rows; of none where the script is only checked.

    Raises:
        SqlError: The script is wrong; nothing was read or written.
        SourceNotSupportedError: The script queries a DynamoDB table; nothing was read or written.
        DynamoDBSinkError: A row, or a table, cannot be written.
    """
    done = _run(argv)
    return done if isinstance(done, Summary) else Summary()


def _run(argv: Sequence[str]) -> Summary | str:
    parser = _parser()
    arguments, rest = parser.parse_known_args(list(argv))
    refuse_secrets([*arguments.set, *rest])
    refuse_misspelt(parser, rest)
    script = _read_script(arguments.script)
    overrides = dict(_override(each) for each in arguments.set)
    plans = _checked(script, overrides)
    options = in_process_unless_named(PipelineOptions([*beam_flags(script.settings), *rest]))
    if arguments.check or not plans:
        return f"The script is right: {len(script.tables)} tables, {len(plans)} INSERTs."
    paths = [table.options.get("path") for table in script.tables.values()]
    use_files(options, [*paths, arguments.dead_letters])
    check_new(arguments.dead_letters)
    options.view_as(StandardOptions).streaming |= _is_streaming(plans)
    pipeline = beam.Pipeline(options=options)
    _build(pipeline, plans, overrides, arguments.dead_letters)
    return _summary(run_to_end(pipeline))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=_PROGRAM,
        description="Runs a SQL job that writes to DynamoDB. Flags of Beam follow the others.",
        allow_abbrev=False,
    )
    parser.add_argument("script", help="The file with the statements; - is standard input.")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="An option that stands in for that of the WITH clause in every table of connector "
        "dynamodb, such as aws.endpoint=http://localhost:8000. Repeatable.",
    )
    parser.add_argument(
        "--dead_letters",
        type=beam_path,
        metavar="PATH",
        help="Put rows that cannot be read or written into this new file, as JSON lines, and go "
        "on. Without it the first such row ends the job.",
    )
    parser.add_argument(
        "--check", action="store_true", help="Only check the script; read and write nothing."
    )
    return parser


def _override(setting: str) -> tuple[str, str]:
    key, separator, value = setting.partition("=")
    if not (key and separator):
        raise OptionError(f"'--set' must have the form KEY=VALUE, not '{setting}'.", option="set")
    return key, value


# --- the script ----------------------------------------------------------------------------


def _read_script(path: str) -> Script:
    text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8-sig")
    is_page = path.lower().endswith(_PAGES)
    script = parse_script(sql_of_page(text) if is_page else text, of_page=is_page)
    if not script.tables:
        raise SqlError(f"{path} holds no CREATE TABLE.", line=1, column=1)
    return script


def _checked(script: Script, overrides: Mapping[str, str]) -> list[Plan]:
    """Plans of all INSERTs, once all of the script is known to be right."""
    for table in script.tables.values():
        if table.options.get("connector") == "dynamodb":
            table.with_options(overrides).check_sink()
        else:
            check_table(table)
    plans = [plan(script, each) for each in script.inserts]
    for each in plans:
        _check_ends(each.insert, each)
    return plans


def _check_ends(insert: Insert, made: Plan) -> None:
    sink = insert.table.options["connector"]
    if sink not in ("dynamodb", "print"):
        insert.place.fail(f"Connector '{sink}' can only be used as a source here")
    if made.source is not None and made.source.options["connector"] == "print":
        insert.place.fail("Connector 'print' can only be used as a sink")


def _is_streaming(plans: Iterable[Plan]) -> bool:
    sources = [each.source for each in plans if each.source is not None]
    return any(not getattr(_reader(each), "is_bounded", True) for each in sources)


def _reader(table: Any) -> Any:
    return CONNECTORS[table.options["connector"]](table)


# --- the pipeline --------------------------------------------------------------------------


def _build(
    pipeline: beam.Pipeline,
    plans: Sequence[Plan],
    overrides: Mapping[str, str],
    dead_letters: str | None,
) -> None:
    with contextlib.ExitStack() as stack:
        handler = None
        if dead_letters:
            handler = stack.enter_context(ErrorHandler(FailedRows(dead_letters, _NAMESPACE, "sql")))
        sources: dict[str, PCollection[Any]] = {}
        made: dict[str, list[PCollection[Any]]] = {}
        tables: dict[str, Table] = {}
        for number, each in enumerate(plans, start=1):
            rows = _rows(pipeline, each, sources, handler)
            table = each.insert.table
            tables[table.name.text] = table
            made.setdefault(table.name.text, []).append(
                rows | f"Query{number}" >> QueryRows(each, handler)
            )
        # One step writes a table, whatever INSERTs it has: so two writes of a key never cross.
        for name, parts in made.items():
            together = parts | f"All of {name}" >> beam.Flatten()
            _ = together | f"Insert into {name}" >> _sink(tables[name], overrides, handler)


def _rows(
    pipeline: beam.Pipeline, made: Plan, sources: dict[str, PCollection[Any]], handler: Any
) -> PCollection[Any]:
    """What the query reads: each source is read once, however many queries there are."""
    name = made.source.name.text if made.source else ""
    if name in sources:
        return sources[name]
    if made.source is None:
        sources[name] = pipeline | "Nothing" >> beam.Create([{}])
    else:
        read = _reader(made.source).with_error_handler(handler)
        sources[name] = pipeline | f"Read {name}" >> read
    return sources[name]


class QueryRows(beam.PTransform[Any, Any]):
    """Rows of the source to rows of the sink."""

    def __init__(self, made: Plan, handler: Any) -> None:
        super().__init__()
        self._plan = made
        self._handler = handler

    def expand(self, rows: PCollection[Any]) -> PCollection[Any]:
        """Evaluates the query."""
        step = beam.ParDo(Evaluate(self._plan, self._handler is not None))
        made, refused = rows | "Evaluate" >> step.with_outputs(_REFUSED, main="rows")
        refused.element_type = DeadLetter
        if self._handler is not None:
            self._handler.add_error_pcollection(refused)
        return made


class Evaluate(beam.DoFn):
    """Evaluates a query on batches of rows, in their order."""

    def __init__(self, made: Plan, handled: bool) -> None:
        self._plan = made
        self._handled = handled

    def setup(self) -> None:
        """Starts the engine of this thread."""
        self._engine = Engine(self._plan)

    def teardown(self) -> None:
        """Ends it."""
        self._engine.close()

    def start_bundle(self) -> None:
        """Begins a batch."""
        self._batch: list[Any] = []
        self._timestamp = MIN_TIMESTAMP

    def process(
        self, row: Mapping[str, Any], timestamp: Any = beam.DoFn.TimestampParam
    ) -> Iterable[Any]:
        """Adds a row to the batch; gives the rows of a batch that is full."""
        self._batch.append(row)
        self._timestamp = timestamp
        return self._evaluated() if len(self._batch) >= _BATCH_ROWS else ()

    def finish_bundle(self) -> Iterator[Any]:
        """Gives the rows of the last batch."""
        for each in self._evaluated():
            tag = each.tag if isinstance(each, TaggedOutput) else None
            value = WindowedValue(each.value if tag else each, self._timestamp, (GlobalWindow(),))
            yield TaggedOutput(tag, value) if tag else value

    def _evaluated(self) -> list[Any]:
        batch, self._batch = self._batch, []
        if not batch:
            return []
        return [
            self._refusal(each) if isinstance(each, NotEvaluated) else each
            for each in self._engine.rows(batch)
        ]

    def _refusal(self, failed: NotEvaluated) -> TaggedOutput[str, DeadLetter]:
        where = getattr(failed.row, "where", None)
        message = f"{where}: {failed.reason}" if where else failed.reason
        if not self._handled:
            raise RowError(message)
        return TaggedOutput(
            _REFUSED, DeadLetter(dict(failed.row), code="InvalidRow", message=message)
        )


def _sink(table: Table, overrides: Mapping[str, str], handler: Any) -> beam.PTransform[Any, Any]:
    if table.options["connector"] == "print":
        transform: beam.PTransform[Any, Any] = CONNECTORS["print"](table)
        return transform
    return WriteToDynamoDB.from_ddl(table, options=overrides).with_error_handler(handler)


def _summary(result: PipelineResult) -> Summary:
    return Summary(
        written=sink_metric(result, "written"),
        superseded=sink_metric(result, "superseded"),
        ignored=sink_metric(result, "ignored"),
        failed=metric(result, _NAMESPACE, "failed"),
    )


if __name__ == "__main__":
    sys.exit(main())
