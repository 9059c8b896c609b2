"""What the sink must reach: ratios between two cases of the same run."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.results import Results, Spread, ratios, spread

__all__ = ["FLOORS", "Floor", "Reached"]


@dataclass(frozen=True, slots=True)
class Floor:
    """A ratio and its bound.

    Attributes:
        figure: What is compared.
        measure: The property of `Measurement` that is compared.
        of: The case whose measure is divided; of several, the one that costs the least CPU.
        by: The case whose measure it is divided by.
        least: What the ratio must reach, or None.
        most: What it may reach, or None.
        possible: How many items a second the first case allows at all, where that may keep the
            ratio down however good a sink is.
    """

    figure: str
    measure: str
    of: tuple[str, ...]
    by: str
    least: float | None = None
    most: float | None = None
    possible: float | None = None

    @property
    def bound(self) -> str:
        """The bound in words."""
        return f"at least {self.least:g}" if self.least is not None else f"at most {self.most:g}"

    def reached(self, results: Results) -> Reached | None:
        """The ratio in each round, where both cases have been measured."""
        rivals = [runs for runs in map(results.of, self.of) if runs]
        if not rivals:
            return None
        rival = min(rivals, key=lambda runs: spread(r.cpu_per_million for r in runs).median)
        found = ratios(rival, results.of(self.by), self.measure)
        if not found:
            return None
        share = self.possible and spread(r.per_second for r in rival).median / self.possible
        return Reached(self, spread(found), share)


@dataclass(frozen=True, slots=True)
class Reached:
    """A floor and what was measured.

    Attributes:
        floor: The floor.
        ratio: The ratio.
        share: Which share of all that is possible was reached, where the floor tells what that is.
    """

    floor: Floor
    ratio: Spread
    share: float | None = None

    @property
    def ok(self) -> bool:
        """Whether the median keeps the bound."""
        floor, ratio = self.floor, self.ratio.median
        return (floor.least is None or ratio >= floor.least) and (
            floor.most is None or ratio <= floor.most
        )

    @property
    def at_limit(self) -> bool:
        """Whether a bound that is not kept is out of reach: no sink could do much more."""
        return not self.ok and self.share is not None and self.share >= _NEARLY_ALL


_NEARLY_ALL = 0.8
"""Of what is possible. A pipeline's start and end take a tenth of so short a job, too."""

_CPU, _SPEED = "cpu_per_million", "per_second"
_LATE_POSSIBLE = 50 * 25 / 0.010
"""`sink.requests.max-inflight` calls of `BatchWriteItem`, each answered after 10 ms."""


def _against_boto3(what: str, ours: str, boto3: str) -> Floor:
    return Floor(f"CPU per item of boto3 in a DoFn / ours, {what}", _CPU, (boto3,), ours, least=4)


FLOORS = (
    Floor("CPU per item of boto3 `batch_writer` in a DoFn / ours, dedup keys",
          _CPU, ("beam-boto3",), "ours-keys", least=12),
    Floor("CPU per item of Beam Java, warm / ours, dedup keys",
          _CPU, ("beam-java",), "ours-keys", least=2.7),
    Floor("CPU per item of Flink, warm / ours, dedup keys",
          _CPU, ("flink-1", "flink-2"), "ours-keys", least=3.4),
    Floor("items/s of ours, dedup keys, one process / Beam Java, warm",
          _SPEED, ("ours-keys",), "beam-java", least=1.3),
    Floor("items/s of ours, dedup keys, a worker process per core, of a pool / Beam Java, warm",
          _SPEED, ("ours-pool",), "beam-java", least=2),
    Floor("items/s of ours, no keys, a worker process per core, of a pool / Beam Java, warm",
          _SPEED, ("ours-nokeys-pool",), "beam-java", least=2),
    Floor("items/s, dedup keys, with every answer 10 ms late / with none",
          _SPEED, ("ours-keys-10ms",), "ours-keys", least=0.6, possible=_LATE_POSSIBLE),
    Floor("items/s, no keys, with every answer 10 ms late / with none",
          _SPEED, ("ours-nokeys-10ms",), "ours-nokeys", least=0.6, possible=_LATE_POSSIBLE),
    Floor("CPU per item with dedup keys / without", _CPU, ("ours-keys",), "ours-nokeys", most=1.6),
    Floor("CPU per item, dedup keys, max-inflight 50 / 1",
          _CPU, ("ours-keys",), "ours-keys-one", most=1.15),
    Floor("CPU per item, no keys, max-inflight 50 / 1",
          _CPU, ("ours-nokeys",), "ours-nokeys-one", most=1.15),
    Floor("CPU per item, dedup keys, ten times the rows",
          _CPU, ("ours-keys-large",), "ours-keys-third", most=1.1),
    Floor("CPU per item, no keys, ten times the rows",
          _CPU, ("ours-nokeys-large",), "ours-nokeys-third", most=1.1),
    Floor("peak memory of the worker process, dedup keys, ten times the rows",
          "worker_peak_bytes", ("ours-worker-large",), "ours-worker-third", most=1.2),
    Floor("peak memory of runner and sink, no keys, ten times the rows",
          "peak_bytes", ("ours-nokeys-large",), "ours-nokeys-third", most=1.2),
    Floor("peak memory of runner and sink, dedup keys, ten times the rows",
          "peak_bytes", ("ours-keys-large",), "ours-keys-third", most=1.2),
    _against_boto3("`written` consumed", "ours-written", "beam-boto3"),
    _against_boto3("TLS", "ours-tls", "beam-boto3-tls"),
    _against_boto3("rows of 1 KB", "ours-1kb", "beam-boto3-1kb"),
    _against_boto3("rows of 10 KB", "ours-10kb", "beam-boto3-10kb"),
    _against_boto3("rows of 100 KB", "ours-100kb", "beam-boto3-100kb"),
    _against_boto3("rows of 50 attributes", "ours-wide", "beam-boto3-wide"),
    _against_boto3("nested rows", "ours-nested", "beam-boto3-nested"),
)  # fmt: skip
