"""What the tests of whole pipelines share: a table on a fake server, runners, collected outputs."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import apache_beam as beam
from apache_beam.metrics.metric import MetricsFilter
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.transforms.window import (
    BoundedWindow,
    GlobalWindow,
    TimestampedValue,
    WindowFn,
)
from apache_beam.utils.windowed_value import create as windowed_value

from beam_dynamodb import WriteToDynamoDB
from beam_dynamodb.testing import FakeDynamoDB, FakeServer, Faults
from beam_dynamodb.to_request import ToRequest

TABLE = "events"
REGION = "us-east-2"

Rows = Sequence[tuple[Any, float]]
"""Rows with their timestamps in seconds."""


@contextmanager
def serving(
    faults: Faults | None = None,
    key: dict[str, Any] | None = None,
    tables: Sequence[str] = (TABLE,),
) -> Iterator[FakeServer]:
    db = FakeDynamoDB(region=REGION)
    for table in tables:
        db.create_table(table, key or {"id": "N"})
    with FakeServer(db, faults=faults) as server:
        yield server


def sink(server: FakeServer, table: Any = TABLE, **options: Any) -> WriteToDynamoDB:
    return WriteToDynamoDB(
        table, **{"aws_region": REGION, "aws_endpoint": server.endpoint, **options}
    )


def stored(server: FakeServer, field: str = "v", table: str = TABLE) -> dict[int, Any]:
    """The table: a field's value by the number that is the key."""
    return {
        int(item["id"]["N"]): next(iter(item[field].values())) for item in server.db.items(table)
    }


def replay(rows: Rows) -> dict[int, str]:
    return {row["id"]: str(row["v"]) for row, _ in rows}


# --- runners -------------------------------------------------------------------------------

GLOBAL = GlobalWindow()

FN_API = "FnApiRunner"
TWO_WORKERS = ["--direct_num_workers=2", "--direct_running_mode=multi_threading"]
LEGACY = "BundleBasedDirectRunner"


def pipeline(runner: str = FN_API, *flags: str) -> beam.Pipeline:
    """A pipeline on a runner: `FN_API`, `LEGACY`, or the path of Prism's program."""
    if runner == FN_API:
        return beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions(list(flags)))
    if runner == LEGACY:
        return beam.Pipeline(runner=LEGACY, options=PipelineOptions(list(flags)))
    prism = ["--runner=PrismRunner", f"--prism_location={runner}", "--environment_type=LOOPBACK"]
    return beam.Pipeline(options=PipelineOptions([*prism, *flags]))


def counters(result: Any) -> dict[str, int]:
    """The package's counters by name.

    The legacy runner counts only the first bundle of each step: don't ask there.
    """
    found = result.metrics().query(MetricsFilter().with_namespace("beam_dynamodb"))["counters"]
    totals: dict[str, int] = {}
    for each in found:
        name = each.key.metric.name
        totals[name] = totals.get(name, 0) + each.committed
    return totals


def ends(totals: dict[str, int]) -> int:
    """How many elements have come to an end of one kind or another."""
    return sum(totals.get(name, 0) for name in ("written", "superseded", "failed", "ignored"))


# --- inputs and outputs --------------------------------------------------------------------


def input_of(
    begin: beam.Pipeline, rows: Rows, windowing: WindowFn | None = None, *, label: str = "Rows"
) -> beam.PCollection[Any]:
    """The rows, in order, in one bundle where the runner lets them."""
    timed = (
        begin
        | f"{label}/Create" >> beam.Create([list(rows)], reshuffle=False)
        | f"{label}/Each" >> beam.ParDo(_Timed())
    )
    return timed | f"{label}/Window" >> beam.WindowInto(windowing) if windowing else timed


def given(step: ToRequest, row: Any, window: BoundedWindow = GLOBAL) -> Iterable[Any]:
    """What the first step of a write sends when it is given a row."""
    return step.process(row, windowed_value(row, 0, (window,))) or ()


class _Timed(beam.DoFn):
    def process(self, rows: Rows) -> Iterator[TimestampedValue]:
        for row, seconds in rows:
            yield TimestampedValue(row, seconds)


class Collected:
    """A list that a pipeline in this process fills."""

    _all: ClassVar[dict[str, list[Any]]] = {}

    def __init__(self) -> None:
        self._name = uuid.uuid4().hex
        self._all[self._name] = []

    def __or__(self, label: str) -> beam.PTransform[Any, Any]:
        return label >> beam.ParDo(_Collect(self))

    @property
    def elements(self) -> list[Any]:
        return [element for element, _, _ in self._all[self._name]]

    @property
    def all(self) -> list[tuple[Any, float, Any]]:
        """(element, seconds, window), one for each window of an element."""
        return self._all[self._name]

    def add(self, *what: Any) -> None:
        self._all[self._name].append(what)


class _Collect(beam.DoFn):
    def __init__(self, into: Collected) -> None:
        self._into = into

    def process(
        self, element: Any, at: Any = beam.DoFn.TimestampParam, window: Any = beam.DoFn.WindowParam
    ) -> None:
        self._into.add(element, at.micros / 1e6, window)


def run_rows(
    server: FakeServer,
    rows: Rows,
    *,
    runner: str = FN_API,
    windowing: WindowFn | None = None,
    handling: Callable[[WriteToDynamoDB], WriteToDynamoDB] = lambda write: write,
    flags: Sequence[str] = (),
    table: Any = TABLE,
    **options: Any,
) -> Run:
    """Writes rows, and gives all that came of it."""
    written, failed = Collected(), Collected()
    begin = pipeline(runner, *flags)
    result = input_of(begin, rows, windowing) | handling(sink(server, table, **options))
    _ = result.written | (written | "Collect written")
    if result.failed is not None:
        _ = result.failed | (failed | "Collect failed")
    ran = begin.run()
    ran.wait_until_finish()
    return Run(written, failed, counters(ran), ran)


class Run:
    """What came of a pipeline."""

    def __init__(
        self, written: Collected, failed: Collected, totals: dict[str, int], result: Any
    ) -> None:
        self.written = written
        self.failed = failed
        self.counters = totals
        self.result = result


def stateful_payloads(begin: beam.Pipeline) -> dict[str, Any]:
    """The stateful steps of a pipeline by name, as its runner sees them."""
    proto = begin.to_runner_api()
    payloads = {}
    for each in proto.components.transforms.values():
        if each.spec.urn == "beam:transform:pardo:v1":
            payload = beam_runner_api_pb2.ParDoPayload.FromString(each.spec.payload)
            if payload.state_specs:
                payloads[each.unique_name] = payload
    return payloads
