"""The failing DynamoDB of a soak, in a process of its own, and what it saw."""

from __future__ import annotations

import gc
import multiprocessing
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from random import Random

import orjson

from beam_dynamodb.testing import (
    Delayed,
    FakeDynamoDB,
    FakeServer,
    Fault,
    Faults,
    Rejected,
    Reset,
    ServerError,
    Unprocessed,
    Write,
)
from benchmarks.soak.load import TABLE, Load, is_poison

__all__ = ["Endpoint", "Seen", "failing_endpoint"]

_LATENCY = 0.005
"""Seconds; so that many calls are in flight."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What an endpoint saw.

    Attributes:
        writes: Writes that it accepted.
        stale: Writes that it accepted after a newer one of their key.
        items: Items in the table.
        wrong: Keys whose item is not that of the replay.
        calls: Calls with a batch.
        in_flight: The most calls at one time.
        faults: How many calls, or items, met each fault.
    """

    writes: int
    stale: int
    items: int
    wrong: int
    calls: int
    in_flight: int
    faults: dict[str, int]


class _Referee(deque[Write]):
    """Stands in for the log of writes: judges each one and keeps none.

    The put of a key must not be older than what was seen of the key before. A delete tells no
    version: it is the first one that the input has after what was seen, or a repeat.
    """

    def __init__(self, load: Load) -> None:
        super().__init__(maxlen=1)
        self.stale = 0
        self._at: dict[int, int] = {}
        self._deletes: dict[int, list[int]] = {}
        for row in load.all_changes():
            if row["kind"] == "-D":
                self._deletes.setdefault(row["id"], []).append(row["version"])

    def append(self, write: Write) -> None:
        key = int(write.key[0])
        before = self._at.get(key, -1)
        if write.data is not None:
            after = int(orjson.loads(write.data)["version"]["N"])
        else:
            deletes = self._deletes.get(key, [])
            repeat = before in deletes
            after = before if repeat else min((d for d in deletes if d > before), default=-1)
        self.stale += after < before or after < 0
        self._at[key] = max(before, after)


_CALLS: dict[Fault, float] = {
    ServerError(written=False): 0.01,
    ServerError(written=True): 0.01,
    Reset("before"): 0.0025,
    Reset("within"): 0.0025,
    Reset("after"): 0.0025,
    Delayed(3.0, Reset("after")): 0.0025,
}
"""How often a call fails: 2 % with 500, 1 % with a reset, some of these carried out later."""


_STORM = Unprocessed(share=0.7)


def _faults_of(load: Load) -> Faults:
    """In storms 70 % of the items come back, and so 10 % and more of all.

    Not evenly: else the pace would stay at one request in flight for ever.
    """
    period = min(1000, max(100, load.rows // 200))

    def choose(number: int, rng: Random) -> Fault | None:
        point = rng.random()
        for fault, chance in _CALLS.items():
            if point < chance:
                return fault
            point -= chance
        return _STORM if 0.35 <= number % period / period < 0.65 else None

    faults = Faults(choose, seed=load.seed)
    return faults.on_keys(lambda _table, key: is_poison(int(key["id"]["N"])), Rejected())


def _serve(load: Load, pipe: Connection) -> None:
    db = FakeDynamoDB()
    db.create_table(TABLE, {"id": "N"})
    db.writes = referee = _Referee(load)
    faults = _faults_of(load)
    gc.freeze()
    gc.set_threshold(100_000, 50, 1000)
    with FakeServer(db, faults=faults, latency=_LATENCY) as server:
        pipe.send(server.endpoint)
        pipe.recv()
        stats = server.stats()
    found = {int(item["id"]["N"]): int(item["version"]["N"]) for item in db.items(TABLE)}
    pipe.send(
        Seen(
            writes=db.accepted,
            stale=referee.stale,
            items=len(found),
            wrong=len(found.items() ^ load.replayed().items()),
            calls=stats.calls["BatchWriteItem"],
            in_flight=stats.max_in_flight,
            faults=dict(faults.counts),
        )
    )


class Endpoint:
    """A running endpoint, seen from the process that writes to it.

    Attributes:
        url: Where it is.
    """

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self.url: str = pipe.recv()

    def judged(self) -> Seen:
        """Ends it; what it saw, compared with what its load should have done."""
        self._pipe.send("end")
        seen: Seen = self._pipe.recv()
        return seen


@contextmanager
def failing_endpoint(load: Load) -> Iterator[Endpoint]:
    """Runs an endpoint that knows what will be written to it."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(load, there), daemon=True)
    process.start()
    there.close()
    try:
        yield Endpoint(here)
    finally:
        here.close()
        process.join(10)
        process.kill()
