"""The metrics of a write, by the names that runners show."""

from __future__ import annotations

from typing import Any

from apache_beam.metrics.metric import Metrics

__all__ = ["NAMESPACE", "Fractions", "Meters"]

NAMESPACE = "beam_dynamodb"
"""The namespace of all metrics."""


class Meters:
    """The metrics; touched on the bundle's own thread only, else Beam drops them."""

    received = Metrics.counter(NAMESPACE, "received")
    ignored = Metrics.counter(NAMESPACE, "ignored")
    written = Metrics.counter(NAMESPACE, "written")
    superseded = Metrics.counter(NAMESPACE, "superseded")
    failed = Metrics.counter(NAMESPACE, "failed")
    retried = Metrics.counter(NAMESPACE, "retried")
    throttled = Metrics.counter(NAMESPACE, "throttled")
    batches = Metrics.counter(NAMESPACE, "batches")
    wire_bytes = Metrics.counter(NAMESPACE, "wire_bytes")
    consumed = Metrics.counter(NAMESPACE, "consumed_capacity_units")
    throttled_seconds = Metrics.counter(NAMESPACE, "cumulativeThrottlingSeconds")
    batch_size = Metrics.distribution(NAMESPACE, "batch_size")
    latency = Metrics.distribution(NAMESPACE, "batch_latency_ms")


class Fractions:
    """Counts fractions in a counter of integers: what is below one waits for the next time."""

    def __init__(self, counter: Any) -> None:
        """Nothing is counted yet."""
        self._counter = counter
        self._rest = 0.0

    def add(self, amount: float) -> None:
        """Counts so much more."""
        whole, self._rest = divmod(self._rest + amount, 1.0)
        if whole:
            self._counter.inc(int(whole))
