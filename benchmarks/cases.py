"""The cases: who writes what, in the order in which they are reported."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from types import MappingProxyType
from typing import Any

from benchmarks.environments import OWN

__all__ = ["CASES", "ROWS", "Case", "in_pairs", "named"]

ROWS = 300_000
"""How many rows a full run writes; a case may have a share of them."""

_HALF = Fraction(1, 2)
_THIRD = Fraction(1, 3)
_TEN_THIRDS = Fraction(10, 3)


@dataclass(frozen=True, slots=True)
class Case:
    """One contender in one setting.

    Attributes:
        name: What `--only` calls it.
        title: What the report calls it.
        contender: `pipelines.…` or `peers.…`, a function that makes it, or `java.…`, a program.
        settings: The fields of `Job` that differ from their defaults.
        share: Which share of the rows it writes. Slow ones write fewer: what an item costs them
            does not depend on it.
        late_ms: How late the stub answers.
        tls: Whether the stub speaks TLS.
        environment: The package in whose environment it runs, if it is Python.
        runs: How often a JVM runs it; the first time is cold, from the third on it is warm.
        versus: The case of ours whose cost its own is compared with.
    """

    name: str
    title: str
    contender: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    share: Fraction = Fraction(1)
    late_ms: float = 0
    tls: bool = False
    environment: str = OWN
    runs: int = 1
    versus: str = "ours-keys"

    @property
    def is_ours(self) -> bool:
        """Whether it is this package."""
        return self.contender == "pipelines.ours"

    @property
    def is_java(self) -> bool:
        """Whether it is a program in Java."""
        return self.contender.startswith("java.")

    def rows_of(self, rows: int) -> int:
        """How many it writes where a whole case writes `rows`."""
        return max(1, int(rows * self.share))


_KEYS = MappingProxyType({"keys": True})
_ALL_CORES = MappingProxyType({"workers": os.cpu_count() or 1, "warm_up": False})


def _ours(name: str, title: str, *, settings: Mapping[str, Any] = _KEYS, **other: Any) -> Case:
    return Case(name, f"ours, {title}", "pipelines.ours", settings, **other)


def _boto3(name: str, title: str, *, settings: Mapping[str, Any] = _KEYS, **other: Any) -> Case:
    title = f"boto3 `batch_writer` in a DoFn{title}"
    return Case(name, title, "pipelines.boto3_in_dofn", settings, **other)


def _shape(name: str, shape: str, share: Fraction) -> list[Case]:
    """Rows of another shape, written by us and by boto3."""
    settings = {"keys": True, "shape": shape}
    title = f"rows of {shape}" if shape.endswith("KB") else f"{shape} rows"
    title = "rows of 50 attributes" if name == "wide" else title
    return [
        _ours(f"ours-{name}", title, settings=settings, share=share, versus=f"ours-{name}"),
        _boto3(f"beam-boto3-{name}", f", {title}", settings=settings, share=share,
               versus=f"ours-{name}"),
    ]  # fmt: skip


def _java(name: str, title: str, program: str, **settings: Any) -> Case:
    return Case(name, title, f"java.{program}", {"keys": True, **settings}, runs=4)


_OURS = [
    _ours("ours-keys", "dedup keys"),
    _ours("ours-keys-10ms", "dedup keys, answers 10 ms late", late_ms=10),
    _ours("ours-nokeys", "no keys", settings={}),
    _ours("ours-nokeys-10ms", "no keys, answers 10 ms late", settings={}, late_ms=10),
    _ours("ours-keys-one", "dedup keys, max-inflight 1", settings={"keys": True, "in_flight": 1}),
    _ours("ours-nokeys-one", "no keys, max-inflight 1", settings={"in_flight": 1}),
    _ours("ours-written", "dedup keys, `written` consumed",
          settings={"keys": True, "consumed": True}),
    _ours("ours-cold", "dedup keys, first run in its process",
          settings={"keys": True, "warm_up": False, "again": False}),
    _ours("ours-keys-third", "dedup keys, a third of the rows", share=_THIRD),
    _ours("ours-keys-large", "dedup keys, 10/3 of the rows", share=_TEN_THIRDS),
    _ours("ours-nokeys-third", "no keys, a third of the rows", settings={}, share=_THIRD),
    _ours("ours-nokeys-large", "no keys, 10/3 of the rows", settings={}, share=_TEN_THIRDS),
    _ours("ours-worker-third", "dedup keys, one worker process, a third of the rows",
          settings={"keys": True, "workers": 1, "warm_up": False}, share=_THIRD),
    _ours("ours-worker-large", "dedup keys, one worker process, 10/3 of the rows",
          settings={"keys": True, "workers": 1, "warm_up": False}, share=_TEN_THIRDS),
    _ours("ours-workers", "dedup keys, a worker process per core, 10/3 of the rows",
          settings={"keys": True, **_ALL_CORES}, share=_TEN_THIRDS),
    _ours("ours-nokeys-workers", "no keys, a worker process per core, 10/3 of the rows",
          settings=_ALL_CORES, share=_TEN_THIRDS),
    _ours("ours-pool", "dedup keys, a worker process per core, of a pool, 10/3 of the rows",
          settings={"keys": True, "pool": True, **_ALL_CORES}, share=_TEN_THIRDS),
    _ours("ours-nokeys-pool", "no keys, a worker process per core, of a pool, 10/3 of the rows",
          settings={"pool": True, **_ALL_CORES}, share=_TEN_THIRDS),
]  # fmt: skip

_JAVA = [
    _java("beam-java", "Beam Java DynamoDBIO, direct runner", "beam"),
    _java("flink-1", "Flink DynamoDbSink, 1 slot", "flink", slots=1),
    _java("flink-2", "Flink DynamoDbSink, 2 slots", "flink", slots=2),
]

_PYTHON = [
    _boto3("beam-boto3", ""),
    Case("boto3-batch-writer", "boto3 `batch_writer`", "peers.boto3_batch_writer", _KEYS,
         share=_THIRD),
    Case("boto3-threads", "boto3 client, 16 threads, no keys", "peers.boto3_threads", share=_THIRD),
    Case("awswrangler", "awswrangler `put_items`, no keys", "peers.awswrangler", share=_THIRD,
         environment="awswrangler"),
    Case("aiobotocore", "aiobotocore, 50 in flight, no keys", "peers.aiobotocore", share=_THIRD,
         environment="aiobotocore"),
]  # fmt: skip

_SHAPES = [
    _ours("ours-tls", "dedup keys, TLS", share=_HALF, tls=True, versus="ours-tls"),
    _boto3("beam-boto3-tls", ", TLS", share=_HALF, tls=True, versus="ours-tls"),
    *_shape("1kb", "1 KB", Fraction(1, 5)),
    *_shape("10kb", "10 KB", Fraction(1, 10)),
    *_shape("100kb", "100 KB", Fraction(1, 15)),
    *_shape("wide", "50 attributes", Fraction(1, 15)),
    *_shape("nested", "nested", Fraction(1, 15)),
]

CASES: tuple[Case, ...] = (*_OURS, *_JAVA, *_PYTHON, *_SHAPES)


def named(names: str | None) -> list[Case]:
    """The cases with these names.

    Args:
        names: Names with commas between them, or None for all.

    Raises:
        ValueError: There is no case of a name; the text says which there are.
    """
    if names is None:
        return list(CASES)
    known = {case.name: case for case in CASES}
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise ValueError(f"no case is called {', '.join(unknown)}; there are {', '.join(known)}")
    return [known[name] for name in wanted]


def in_pairs(cases: Sequence[Case]) -> Iterator[Case]:
    """The cases of a round in the order in which they run.

    Just before each peer runs the one of ours that it is compared with, once more if another one
    came between: within minutes a machine's neighbours change.
    """
    by_name = {case.name: case for case in cases}
    last = None
    for case in cases:
        ours = by_name.get(case.versus)
        if ours is not None and ours is not last and not case.is_ours:
            yield ours
        yield case
        last = case
