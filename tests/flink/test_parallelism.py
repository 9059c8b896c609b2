"""Shards are spread, a key is in one hand, limits hold for each process, and memory is bounded."""

from __future__ import annotations

import json
import os
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from beam_dynamodb.testing import FakeDynamoDB, FakeServer, Write
from pipelines import changes
from pipelines.flink_local import Cluster, worker_pool
from tests.beam.helpers import REGION, TABLE
from tests.flink.changes import BEGIN, versions
from tests.flink.jobs import (
    ENDS_WITH_ITS_JOB,
    STREAMING,
    cancel_all,
    sink_flags,
    started,
    streaming,
    subtasks,
    wait_until,
)

pytestmark = ENDS_WITH_ITS_JOB


def serving(latency: float) -> FakeServer:
    db = FakeDynamoDB(region=REGION)
    db.create_table(TABLE, {"id": "N"})
    return FakeServer(db, latency=latency)


def rows(path: Path, numbers: range, keys: int) -> None:
    """Appends rows of so many keys, each of them again and again."""
    with path.open("a") as file:
        for each in numbers:
            row = {"kind": "+U", "at": BEGIN + each / 1000, "id": each % keys, "v": each}
            file.write(json.dumps(row) + "\n")


def received(flink: Cluster) -> list[int]:
    """How many records each subtask of the writing step has received."""
    return [each["metrics"]["read-records"] for each in subtasks(flink)]


def test_shards_are_spread_and_each_worker_process_keeps_its_limit(
    flink: Cluster, tmp_path: Path
) -> None:
    latency, keys, count = 0.1, 1_000, 3_000
    rates = {}
    with worker_pool(tmp_path) as pool:
        for parallelism in (2, 4):  # each on a TaskManager of its own, with a worker process
            path = tmp_path / f"changes-{parallelism}.jsonl"
            rows(path, range(200), keys)
            with serving(latency) as server:
                flags = [
                    *flink.flags, *pool.flags, *STREAMING, "--max_bundle_time_mills=500",
                    f"--parallelism={parallelism}", f"--changes={path}", *sink_flags(server),
                    "--sink_requests_max_inflight=1",
                ]  # fmt: skip
                with started(*flags):
                    wait_until(lambda: len(versions(server)) == 200, "the first")
                    wait_until(lambda: all(received(flink)), "records in all subtasks")
                    warm = len(server.db.writes)
                    rows(path, range(200, count), keys)
                    newest = {each % keys: each for each in range(count - keys, count)}
                    wait_until(lambda: versions(server) == newest, "the table")  # noqa: B023
                    spread = received(flink)
                    cancel_all(flink)
                assert len(spread) == parallelism
                assert server.stats().max_in_flight <= parallelism
            writes = list(server.db.writes)
            assert shortest_gap(writes) > latency * 0.9
            rates[parallelism] = (len(writes) - warm) / (writes[-1].time - writes[warm].time)
            print(
                f"\nparallelism {parallelism}: {rates[parallelism]:,.0f} writes/s, at most "
                f"{server.stats().max_in_flight} calls in flight, packs by subtask {spread}"
            )
    print(f"twice the workers, {rates[4] / rates[2]:.1f} times the throughput")


def shortest_gap(writes: list[Write]) -> float:
    """The least time between two writes of a key; where calls overlap it is below the latency."""
    times: dict[Any, list[float]] = defaultdict(list)
    for each in writes:
        times[each.key].append(each.time)
    gaps = [b - a for each in times.values() for a, b in zip(each, each[1:], strict=False)]
    return min(gaps)


def resident_mb() -> float:
    """The memory of this process, in which the workers are threads."""
    listed = subprocess.run(
        ["ps", "-o", "rss=", "-p", str(os.getpid())], capture_output=True, text=True, check=True
    )
    return int(listed.stdout) / 1024


def test_a_slow_endpoint_slows_the_source_and_memory_stays_flat(
    runner: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, count, buffered = tmp_path / "changes.jsonl", 60_000, 500
    rows(path, range(count), keys=count)  # so that no row makes another one needless
    read = 0
    original = changes._lines

    def counted(*where: Any) -> Any:
        nonlocal read
        for each in original(*where):
            read += 1
            yield each

    monkeypatch.setattr(changes, "_lines", counted)
    with serving(latency=0.25) as server:
        flags = [
            *streaming(runner), "--parallelism=1", "--max_bundle_size=50",
            f"--changes={path}", *sink_flags(server), "--sink_requests_max_inflight=2",
            f"--sink_requests_max_buffered={buffered}",
        ]  # fmt: skip

        def written(at_least: int) -> None:
            wait_until(lambda: server.db.accepted >= at_least, f"{at_least} writes")

        with started(*flags):
            written(500)
            early = resident_mb()
            written(2_000)
            ahead, grown = read - server.db.accepted, resident_mb() - early
            assert server.stats().max_in_flight <= 2
            print(
                f"\n{server.db.accepted:,} of {count:,} rows written, {ahead:,} read ahead; "
                f"the process grew by {grown:.0f} MB meanwhile"
            )
            # Prism has nothing that holds a source back: it keeps what is read in its own process.
            on_flink = "--runner=PrismRunner" not in runner
            assert not on_flink or ahead < count / 2, "the source does not feel the endpoint"
            assert grown < 100
