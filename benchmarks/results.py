"""What was measured, and how it goes to and comes from JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from itertools import product
from statistics import median
from typing import Any

__all__ = ["COLD", "Measurement", "Results", "Spread", "ratios", "spread"]

COLD = "-cold"
"""What stands behind a case's name for the first run in a JVM."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One run of one case.

    Attributes:
        case: The name of the case, with `-cold` for the first run in a JVM.
        round: The number of the round in which it ran.
        rows: How many rows it was to write.
        began: When it began, in seconds since some moment before the first one.
        seconds: How long it took.
        cpu_seconds: The CPU time of its process and of its worker processes.
        peak_bytes: The greatest size of its process.
        worker_peak_bytes: That of its largest worker process, or 0.
        requests: How many requests the stub saw from its process; None without the stub.
        items: How many items were in them.
        expected_items: How many items its process had to write, warm-up and all runs.
        keys: How many distinct keys they had.
        stub_busy: The CPU time of the stub as a share of the time that the process wrote.
        runs: Of how many runs in one process times are the mean; memory is that of the first.
    """

    case: str
    round: int
    rows: int
    began: float
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    worker_peak_bytes: int = 0
    requests: int | None = None
    items: int | None = None
    expected_items: int | None = None
    keys: int | None = None
    stub_busy: float | None = None
    runs: int = 1

    @property
    def cpu_per_million(self) -> float:
        """CPU seconds for a million items, that is microseconds an item."""
        return self.cpu_seconds / self.rows * 1e6

    @property
    def per_second(self) -> float:
        """Items a second."""
        return self.rows / self.seconds

    @property
    def complete(self) -> bool:
        """Whether the stub saw each row, and none twice; true without a stub."""
        return self.items == self.expected_items and self.keys in (None, self.rows)


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of the rounds, the least and the greatest."""

    median: float
    least: float
    greatest: float


def ratios(ones: Iterable[Measurement], others: Iterable[Measurement], measure: str) -> list[float]:
    """A property of one case's run, divided by that of another's, for each round of both.

    Where a case ran several times in a round, the two runs count that were nearest in time: what
    else a machine does changes within minutes.
    """
    nearest: dict[int, tuple[Measurement, Measurement]] = {}
    for one, other in sorted(product(ones, others), key=_distance):
        if one.round == other.round:
            nearest.setdefault(one.round, (one, other))
    return [
        getattr(one, measure) / getattr(other, measure)
        for _, (one, other) in sorted(nearest.items())
    ]


def _distance(pair: tuple[Measurement, Measurement]) -> float:
    one, other = pair
    return abs(one.began - other.began)


def spread(values: Iterable[float]) -> Spread:
    """Of at least one value."""
    ordered = sorted(values)
    return Spread(median(ordered), ordered[0], ordered[-1])


@dataclass(slots=True)
class Results:
    """All runs, and what they ran on.

    Attributes:
        rows: How many rows a whole case wrote.
        date: The day, in ISO 8601.
        machine: What the machine is.
        versions: What was installed.
        left_out: Why cases were left out, a sentence each.
        failed: The names of the cases that ended with an error.
        measurements: The runs, in order.
    """

    rows: int
    date: str
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    left_out: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    measurements: list[Measurement] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether every contender wrote every row once."""
        return not self.failed and all(each.complete for each in self.measurements)

    def of(self, case: str) -> list[Measurement]:
        """The runs of a case, at least one for each round."""
        return [each for each in self.measurements if each.case == case]

    def to_json(self) -> dict[str, Any]:
        """As what `json` can write."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Results:
        """Back from `to_json`."""
        measured = [Measurement(**each) for each in content["measurements"]]
        return cls(**{**content, "measurements": measured})
