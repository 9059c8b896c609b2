"""The pipeline of a soak, and how each row ended in it."""

from __future__ import annotations

import resource
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
from apache_beam.metrics.metric import MetricsFilter
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

from beam_dynamodb import WriteToDynamoDB
from beam_dynamodb.meters import NAMESPACE
from benchmarks.soak.load import TABLE, Load

__all__ = ["Outcomes", "run"]

_WARM_AFTER = 1 / 3
"""The share of the rows after which memory should have stopped to grow."""

_BUFFERED = 2_000
"""Few, so that fewer rows are superseded before they are sent and more meet the faults."""

_outcomes: Outcomes


class Outcomes:
    """How the rows of one pipeline ended, told by its outputs and by its counters.

    Attributes:
        written: How often each row came out as written.
        failed: The versions that came out as dead letters, with the code.
        counters: The package's metrics.
        warm_bytes: The process's greatest size after a third of the rows.
        peak_bytes: The same in the end.
    """

    def __init__(self, load: Load) -> None:
        self.written = bytearray(load.rows)
        self.failed: list[tuple[int, str]] = []
        self.counters: Counter[str] = Counter()
        self.warm_bytes = 0
        self.peak_bytes = 0


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class _Changes(beam.DoFn):
    def __init__(self, load: Load) -> None:
        self._load = load

    def process(self, chunk: int) -> Iterator[dict[str, Any]]:
        if chunk <= self._load.rows * _WARM_AFTER:
            _outcomes.warm_bytes = _peak_bytes()
        return self._load.changes(chunk)


class _Written(beam.DoFn):
    def process(self, row: dict[str, Any]) -> None:
        _outcomes.written[row["version"]] += 1


class _Failed(beam.DoFn):
    def process(self, record: Any) -> None:
        _outcomes.failed.append((record.element["version"], record.code))


def run(load: Load, endpoint: str, *, keyed: bool, in_flight: int) -> Outcomes:
    """Writes a load.

    Args:
        load: What to write.
        endpoint: Where to.
        keyed: Whether with `partitioned_by`, that is through a shuffle and the stateful step.
        in_flight: `sink.requests.max-inflight`.
    """
    global _outcomes  # noqa: PLW0603 - the runner's worker is a thread of this process
    _outcomes = outcomes = Outcomes(load)
    begin = beam.Pipeline(runner=FnApiRunner())
    result = (
        begin
        | beam.Create(load.chunks, reshuffle=False)
        | beam.ParDo(_Changes(load))
        | WriteToDynamoDB(
            TABLE,
            aws_region="us-east-2",
            aws_endpoint=endpoint,
            aws_credentials_basic_accesskeyid="soak",
            aws_credentials_basic_secretkey="soak",
            partitioned_by=["id"] if keyed else [],
            change_kind="kind",
            sink_requests_max_inflight=in_flight,
            sink_requests_max_buffered=_BUFFERED,
        ).with_exception_handling()
    )
    _ = result.written | "Written" >> beam.ParDo(_Written())
    _ = result.failed | "Failed" >> beam.ParDo(_Failed())
    ran = begin.run()
    ran.wait_until_finish()
    for each in ran.metrics().query(MetricsFilter().with_namespace(NAMESPACE))["counters"]:
        outcomes.counters[each.key.metric.name] += each.committed
    outcomes.peak_bytes = _peak_bytes()
    return outcomes
