"""Whatever is cut off in the middle: after the rerun the table is the replay of the input."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from beam_dynamodb import WriteToDynamoDB
from beam_dynamodb.packs import Pack
from beam_dynamodb.testing import (
    AccessDenied,
    Delayed,
    FakeServer,
    Fault,
    Faults,
    Hang,
    Reset,
    Slow,
    Throttle,
)
from beam_dynamodb.write_requests import Requests
from beam_dynamodb.write_steps import WriteBundle
from tests.beam.helpers import LEGACY, REGION, TABLE, Rows, replay, run_rows, serving, stored
from tests.faults.judging import number, wait_until

ROOT = Path(__file__).parents[2]


def job(server: FakeServer, **options: Any) -> subprocess.Popen[str]:
    """A pipeline in a process of its own."""
    words = [sys.executable, "-m", "tests.faults.jobs", server.endpoint]
    for name, value in options.items():
        option = f"--{name.replace('_', '-')}"
        if value is not False:
            words.append(option if value is True else f"{option}={value}")
    return subprocess.Popen(
        words,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> str:
    """What a process printed before it ended well."""
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err[-2000:]
    return out


# --- the worker dies -------------------------------------------------------------------------


@pytest.mark.parametrize(("keyed", "calm"), [(False, 15), (True, 2)], ids=["no keys", "keys"])
def test_a_worker_killed_mid_request_leaves_nothing_that_a_rerun_does_not_mend(
    keyed: bool, calm: int
) -> None:
    rows, keys = 3_000, 120
    killed = threading.Event()

    def choose(call: int, _rng: Any) -> Fault | None:
        if killed.is_set():
            return None
        return (Slow(0.1), None, Throttle())[call % 3] if call < calm else Delayed(1.0, Hang())

    with serving(Faults(choose)) as server:
        first = job(server, rows=rows, keys=keys, attempt=1, keyed=keyed)
        wait_until(lambda: server.stats().delayed > 0)
        first.kill()
        first.communicate()
        assert first.returncode == -signal.SIGKILL
        killed.set()
        assert server.stats().delayed > 0, "something must still be on its way"
        ended(job(server, rows=rows, keys=keys, attempt=2, keyed=keyed))
    assert stored(server) == {key: str(rows - keys + key) for key in range(keys)}
    assert stored(server, "attempt") == dict.fromkeys(range(keys), "2")
    written_again = set()
    for write in server.db.writes:
        if number(write, "attempt") == 2:
            written_again.add(write.key)
        else:
            assert write.key not in written_again, "a write of the first attempt came later"


def test_a_process_may_end_while_requests_are_in_flight() -> None:
    # Without a word to the steps, as a worker does whose main thread returns.
    script = (
        "import sys; from tests.faults.test_crash import begun;"
        "step = begun(sys.argv[1]); print(step._writer._places.held)"
    )
    with serving(Faults.always(Slow(60.0))) as server:
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-c", script, server.endpoint],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert int(ended(process)) > 0
        assert time.monotonic() - began < 50.0, "it waited for the answers"


# --- the bundle fails ------------------------------------------------------------------------

ROWS: Rows = [({"id": each % 40, "v": each}, 0.0) for each in range(200)]


@pytest.mark.parametrize(
    ("keyed", "before"), [(False, Delayed(2.0, Reset("after"))), (True, Slow(1.0))]
)
def test_a_bundle_that_fails_and_is_retried_ends_with_the_replay_of_the_input(
    keyed: bool, before: Fault
) -> None:
    delayed_at_call: list[int] = []

    def choose(call: int, _rng: Any) -> Fault | None:
        if call < 2:
            return (before, AccessDenied())[call]
        delayed_at_call.append(server.stats().delayed)
        return Throttle() if call == 4 else None

    with serving(Faults(choose)) as server:
        run_rows(
            server,
            ROWS,
            runner=LEGACY,
            partitioned_by=["id"] if keyed else [],
            sink_batch_max_size=10,
            sink_requests_max_inflight=2,
        )
    assert server.faults.counts["AccessDenied"] == 1
    assert stored(server) == replay(ROWS)
    assert delayed_at_call[-1] == 0
    assert not any(delayed_at_call[1:]), "a retry began before the first attempt was settled"


def begun(endpoint: str) -> WriteBundle:
    """A step in the middle of a bundle: batches are on their way, and rows wait."""
    write = WriteToDynamoDB(
        TABLE,
        aws_region=REGION,
        aws_endpoint=endpoint,
        aws_credentials_basic_accesskeyid="testing",
        aws_credentials_basic_secretkey="testing",
        sink_batch_max_size=10,
    )
    step = WriteBundle(write._settings, None)
    step.setup()
    step.start_bundle()
    factory = write._settings.sink().factory(TABLE)
    requests = [factory.request(row, 0, (row, 0, ())) for row, _ in ROWS[:35]]
    list(step.process(Pack(Requests.of(each for each in requests if each is not None))))
    return step


@pytest.mark.parametrize(
    ("ending", "second"), [("teardown", Delayed(2.0, Reset("after"))), ("start_bundle", Slow(0.6))]
)
def test_after_a_bundle_without_an_end_none_of_its_writes_lands_any_more(
    ending: str, second: Fault
) -> None:
    with serving(Faults.script([Slow(0.3), second, Slow(0.5)])) as server:
        step = begun(server.endpoint)
        getattr(step, ending)()
        landed = len(server.db.writes)
        assert server.stats().in_flight == 0
        assert server.stats().delayed == 0
        time.sleep(0.5)
        assert len(server.db.writes) == landed == 30, "the rows that waited are not written"
        step.teardown()


# --- memory ----------------------------------------------------------------------------------


def test_large_items_stay_within_what_may_be_buffered() -> None:
    # Without keys: with them the runner's own shuffle holds the whole input.
    size, rows, buffered = 390_000, 500, 30
    with serving() as server:
        process = job(server, rows=rows, keys=50, size=size, in_flight=2, buffered=buffered)
        grown = int(ended(process))
        assert len(server.db.items(TABLE)) == 50
    assert grown < size * rows / 2, f"the input has {size * rows >> 20} MB"
    assert grown < size * buffered * 6, f"it grew by {grown >> 20} MB"
