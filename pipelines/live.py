"""What a run has done so far: counts of the moment where the runner is in this process.

A runner tells a step's metrics only when it is done. Where it is in this process, the counters
here are read while it works.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
from apache_beam.metrics.execution import MetricsEnvironment
from apache_beam.metrics.metric import Metrics, MetricsFilter
from apache_beam.metrics.metricbase import MetricName
from apache_beam.runners.portability import portable_runner
from apache_beam.runners.runner import PipelineResult
from apache_beam.runners.worker import statesampler

from beam_dynamodb.meters import NAMESPACE
from pipelines.progress import Counts

__all__ = ["Count", "Meter", "WatchSink", "counts_here", "counts_of", "metric", "sink_metric"]

_WATCHED = ("superseded", "ignored", "retried", "throttled", "consumed_capacity_units")
_LATENCY = "batch_latency_ms"
_EVERY = 256
"""Elements between two looks: often enough for a display, and next to no time."""


class Meter:
    """A counter for the job's metrics and for this process; cheap, as it counts in lots."""

    def __init__(self, namespace: str, name: str, run: str) -> None:
        self._counter = Metrics.counter(namespace, name)
        self._here = Metrics.DelegatingCounter(MetricName(run, name), process_wide=True)
        self._waiting = 0

    def inc(self, count: int = 1) -> None:
        """Counts some."""
        self._waiting += count
        if self._waiting >= _EVERY:
            self.flush()

    def flush(self) -> None:
        """Tells what was counted; on the bundle's own thread."""
        if self._waiting:
            self._counter.inc(self._waiting)
            self._here.inc(self._waiting)
            self._waiting = 0


class Count(beam.DoFn):
    """Counts elements, for the job's metrics and for the display of this process."""

    def __init__(self, namespace: str, name: str, run: str) -> None:
        self._names = namespace, name, run

    def setup(self) -> None:
        """Gets the counter of this process, which no pickle carries."""
        self._meter = Meter(*self._names)

    def process(self, element: Any) -> Iterator[Any]:
        """Counts one and passes it on."""
        self._meter.inc()
        yield element

    def finish_bundle(self) -> None:
        """Tells the rest."""
        self._meter.flush()


class WatchSink(Count):
    """Counts what is written, and looks at the sink's own metrics while its bundle lasts.

    The sink counts in the same bundle, on the same thread. Where Beam keeps its counters in
    another way than today, there is nothing to see, and nothing breaks.
    """

    def __init__(self, namespace: str, run: str) -> None:
        super().__init__(namespace, "written", run)
        self._run = run

    def start_bundle(self) -> None:
        """A bundle's metrics begin at nothing."""
        self._seen: dict[str, int] = {}
        self._until = _EVERY

    def process(self, element: Any) -> Iterator[Any]:
        """Counts one and passes it on."""
        yield from super().process(element)
        self._until -= 1
        if not self._until:
            self._look()
            self._until = _EVERY

    def finish_bundle(self) -> None:
        """Tells the rest."""
        super().finish_bundle()
        self._look()

    def _look(self) -> None:
        for name, total in _sink_metrics().items():
            Metrics.DelegatingCounter(MetricName(self._run, name), process_wide=True).inc(
                total - self._seen.get(name, 0)
            )
            self._seen[name] = total


def _sink_metrics() -> dict[str, int]:
    """The sink's metrics in the bundle that this thread processes."""
    tracker = statesampler.get_current_tracker()
    states = getattr(tracker, "_states_by_name", {})
    containers = {id(each.metrics_container): each.metrics_container for each in states.values()}
    found: dict[str, int] = {}
    for container in containers.values():
        for key, cell in list(getattr(container, "metrics", {}).items()):
            name = key.metric_name
            if name.namespace != NAMESPACE:
                continue
            if name.name in _WATCHED:
                found[name.name] = found.get(name.name, 0) + int(cell.get_cumulative())
            elif name.name == _LATENCY:
                data = cell.get_cumulative()
                found["latency_ms"] = found.get("latency_ms", 0) + int(data.sum)
                found["calls"] = found.get("calls", 0) + int(data.count)
    return found


def counts_here(run: str) -> Counts:
    """What this process has counted so far; all there is where the runner is in this process."""
    container = MetricsEnvironment.process_wide_container()

    def count(name: str) -> int:
        return int(container.get_counter(MetricName(run, name)).get_cumulative())

    return Counts(
        read=count("read"),
        bytes=count("bytes"),
        written=count("written"),
        superseded=count("superseded"),
        failed=count("failed"),
        ignored=count("ignored"),
        retried=count("retried"),
        throttled=count("throttled"),
        units=count("consumed_capacity_units"),
        calls=count("calls"),
        latency_ms=count("latency_ms"),
    )


def counts_of(result: PipelineResult, namespace: str) -> Counts:
    """What the runner has counted.

    Args:
        result: The run.
        namespace: That of the counters `read` and `failed`.
    """
    if isinstance(result, portable_runner.PipelineResult):
        result._metrics = None  # noqa: SLF001 - else it keeps the first answer for good
    latencies = result.metrics().query(
        MetricsFilter().with_namespace(NAMESPACE).with_name(_LATENCY)
    )["distributions"]
    return Counts(
        read=metric(result, namespace, "read"),
        written=sink_metric(result, "written"),
        superseded=sink_metric(result, "superseded"),
        failed=metric(result, namespace, "failed"),
        ignored=sink_metric(result, "ignored"),
        retried=sink_metric(result, "retried"),
        throttled=sink_metric(result, "throttled"),
        units=sink_metric(result, "consumed_capacity_units"),
        calls=sum(each.result.count for each in latencies if each.result),
        latency_ms=sum(each.result.sum for each in latencies if each.result),
    )


def metric(result: PipelineResult, namespace: str, name: str) -> int:
    """A counter of a run, over all its steps."""
    wanted = MetricsFilter().with_namespace(namespace).with_name(name)
    return sum(each.result or 0 for each in result.metrics().query(wanted)["counters"])


def sink_metric(result: PipelineResult, name: str) -> int:
    """A counter of the sink, over all its steps."""
    return metric(result, NAMESPACE, name)
