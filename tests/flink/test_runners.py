"""The same pipelines on Flink and on Prism: batch, streaming, the end of a stream."""

from __future__ import annotations

import json
import time
from itertools import islice
from pathlib import Path
from typing import Any

from beam_dynamodb.testing import FakeServer
from pipelines import load
from tests.beam.helpers import REGION, TABLE, stored
from tests.flink.changes import BEGIN, ChangeLog, Judged, judged, versions
from tests.flink.jobs import ENDS_WITH_ITS_JOB, on_prism, sink_flags, started, streaming, wait_until

pytestmark = ENDS_WITH_ITS_JOB

HOUR_MS = 3_600_000


def test_a_batch_is_loaded(runner: list[str], endpoint: FakeServer, tmp_path: Path) -> None:
    rows, keys = 5_000, 700
    lines = [f"{each % keys},{each}" for each in range(rows)]
    (tmp_path / "rows.csv").write_text("\n".join(["id,v", *lines]) + "\n")
    counts = load.run(
        [
            f"--input={tmp_path / 'rows.csv'}",
            "--numbers=id,v",
            f"--table_name={TABLE}",
            f"--aws_region={REGION}",
            f"--aws_endpoint={endpoint.endpoint}",
            "--partitioned_by=id",
            "--sink_requests_max_buffered=400",  # many packs, which the runner may put in any order
            *runner,
        ]
    )
    assert counts.read == counts.settled == rows
    assert counts.failed == 0
    assert versions(endpoint) == {each % keys: each for each in range(rows)}, "something is stale"
    print(f"\n{counts}; {endpoint.stats().calls['BatchWriteItem']} requests")


def test_a_stream_of_changes_keeps_the_latest_and_is_flushed_in_time(
    runner: list[str], endpoint: FakeServer, tmp_path: Path
) -> None:
    log, timeout = ChangeLog(tmp_path), 2.0
    log.add(3_000)
    flags = [*streaming(runner), log.flag, *sink_flags(endpoint, timeout_ms=int(timeout * 1000))]
    with started(*flags) as job:
        wait_until(lambda: versions(endpoint) == log.table, "the changes so far")
        bulk = len(endpoint.db.writes)
        appended: dict[int, float] = {}
        for _ in range(15):  # three rows a second
            log.add()
            appended[log.rows - 1] = time.time()
            time.sleep(1 / 3)
        wait_until(lambda: versions(endpoint) == log.table, "the trickle")
        log.end()
        wait_until(lambda: job.state == "DONE", "the end")
    assert judged(endpoint.db.writes, log).rewinds == 0
    late = [
        write.time - appended[int(write.item["v"]["N"])]
        for write in islice(endpoint.db.writes, bulk, None)
        if write.item is not None
    ]
    print(f"\na trickle is written {max(late):.2f} s after its row came, timeout {timeout} s")
    assert len(late) > 5
    assert max(late) < timeout + 20, "the flush timeout does not work"


def test_an_endpoint_that_was_away_on_prism_gets_all_in_order(
    prism: str, endpoint: FakeServer, tmp_path: Path
) -> None:
    log = ChangeLog(tmp_path)
    log.add(500)
    flags = [*streaming(on_prism(prism)), log.flag, *sink_flags(endpoint)]
    with started(*flags) as job:
        wait_until(lambda: versions(endpoint) == log.table, "the changes so far")
        endpoint.close()
        log.add(500)
        time.sleep(5)
        endpoint.start()
        log.add(500)
        took = wait_until(lambda: versions(endpoint) == log.table, "the rest")
        log.end()
        wait_until(lambda: job.state == "DONE", "the end")
    print(f"\ncaught up {took:.1f} s after the endpoint was back")
    assert judged(endpoint.db.writes, log) == Judged(rewinds=0, twice=0)


def test_the_end_of_a_window_and_of_the_input_write_what_waits_and_late_rows_are_written(
    runner: list[str], endpoint: FakeServer, tmp_path: Path
) -> None:
    path = tmp_path / "changes.jsonl"
    path.touch()

    def append(*rows: dict[str, Any]) -> None:
        with path.open("a") as file:
            file.writelines(json.dumps({"kind": "+I", **row}) + "\n" for row in rows)

    append(*({"id": each, "v": 1, "at": BEGIN + each} for each in range(10)))
    append({"id": 100, "v": 1, "at": BEGIN + 100})
    flags = [*streaming(runner), f"--changes={path}", *sink_flags(endpoint, timeout_ms=HOUR_MS)]
    with started(*flags, "--window=60") as job:
        wait_until(lambda: set(range(10)) <= set(versions(endpoint)), "the end of the window")
        append({"id": 5, "v": 2, "at": BEGIN + 5})  # its window ended long ago
        wait_until(lambda: versions(endpoint)[5] == 2, "the late row")
        append({"id": 101, "v": 1, "at": BEGIN + 101})
        with path.open("a") as file:
            file.write("null\n")
        wait_until(lambda: job.state == "DONE", "the end")
    assert stored(endpoint) == dict.fromkeys([*range(10), 100, 101], "1") | {5: "2"}
