"""Whatever is killed on a cluster: the table is the replay of the input, and keys keep their order.

The file's name puts it last, for at its end the cluster is no longer the one of the beginning.
One job goes through all of it, since a Python worker takes seconds to start. Each test finds a
running job and leaves one. Workers are processes of a pool, TaskManagers and the JobManager JVMs.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from beam_dynamodb.testing import FakeServer
from pipelines import stream
from pipelines.flink_local import Cluster, WorkerPool, worker_pool
from tests.beam.helpers import serving
from tests.flink.changes import ChangeLog, judged, versions
from tests.flink.commands import documented
from tests.flink.jobs import SLOTS, STREAMING, cancel_all, jobs, sink_flags, subtasks, wait_until

pytestmark = pytest.mark.flink

OUTAGE_SECONDS = float(os.environ.get("OUTAGE_SECONDS", "30"))


class Job:
    """A streaming job on two TaskManagers, its input, and what it writes to."""

    def __init__(self, flink: Cluster, pool: WorkerPool, server: FakeServer, folder: Path) -> None:
        self.flink = flink
        self.pool = pool
        self.server = server
        self.log = ChangeLog(folder, files=2, keys=200)
        self._began = time.monotonic()
        self._judged = 0

    def start(self, *flags: str) -> None:
        stream.start(
            [
                *self.flink.flags, *self.pool.flags, *STREAMING, "--parallelism=2",
                "--externalized_checkpoints_enabled",
                "--retain_externalized_checkpoints_on_cancellation",
                self.log.flag, *sink_flags(self.server), *flags,
            ]
        )  # fmt: skip

    def id(self) -> str:
        [running] = jobs(self.flink)
        return running

    def feed(self) -> None:
        """More changes, some of which are under way when the next thing happens."""
        for _ in range(5):
            self.log.add(200)
            time.sleep(0.1)

    def catch_up(self) -> float:
        return wait_until(lambda: versions(self.server) == self.log.table, "the replay")

    def judge(self, what: str, at: float, restarts: int = 1) -> None:
        """After a failure: the replay, in order but for one step back of a key each restart."""
        self.catch_up()
        took = time.monotonic() - self._began - at
        writes = list(islice(self.server.db.writes, self._judged, None))
        self._judged = len(self.server.db.writes)
        seen = judged(writes, self.log)
        print(
            f"\n{what} after {at:.1f} s; caught up {took:.1f} s later; {len(writes)} writes since "
            f"the last failure, {seen.twice} of them came twice"
        )
        assert seen.rewinds <= restarts, "order per key"

    def now(self) -> float:
        return time.monotonic() - self._began

    def workers(self) -> list[int]:
        """The processes in which Python steps run."""
        listed = subprocess.run(
            ["ps", "-ww", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True
        ).stdout
        rows = [line.split(None, 2) for line in listed.splitlines()]
        pools = {int(pid) for pid, parent, *_ in rows if int(parent) == self.pool.program.pid}
        return [
            int(pid)
            for pid, parent, *args in rows
            if int(parent) in pools and args and "SdkHarness" in args[0]
        ]

    def latest_checkpoint(self, job: str) -> str:
        """The newest whole one of a job that is gone: older ones are deleted while it runs."""
        found = (self.flink.folder / "checkpoints" / job).glob("chk-*/_metadata")
        newest = max(found, key=lambda each: int(each.parent.name.removeprefix("chk-")))
        return newest.parent.as_uri()

    def checkpointed(self) -> None:
        """Waits for a checkpoint that begins from now on."""
        path = f"/jobs/{self.id()}/checkpoints"
        done = self.flink.ask(path)["counts"]["completed"]
        wait_until(lambda: self.flink.ask(path)["counts"]["completed"] > done + 1, "a checkpoint")

    def no_worker_is_left(self) -> None:
        """Waits until nothing of an older job writes any more."""
        wait_until(lambda: self.flink.slots() == SLOTS, "free slots")
        wait_until(lambda: self.server.stats().in_flight == 0, "the last answer")


@pytest.fixture(scope="module")
def job(flink: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    folder = tmp_path_factory.mktemp("failures")
    with serving() as server, worker_pool(folder) as pool:
        job = Job(flink, pool, server, folder)
        job.log.add(2_000)
        job.start()
        try:
            job.catch_up()
            yield job
        finally:
            cancel_all(flink)


def test_a_python_worker_is_killed(job: Job) -> None:
    job.feed()
    job.checkpointed()
    job.feed()
    [victim, *_] = job.workers()
    os.kill(victim, signal.SIGKILL)
    at = job.now()
    job.feed()
    job.judge(f"a Python worker (process {victim}) was killed", at)


def test_a_task_manager_is_killed(job: Job) -> None:
    job.feed()
    job.checkpointed()
    job.feed()
    victim = subtasks(job.flink)[0]["taskmanager-id"]
    job.flink.task_managers[victim].kill()
    at = job.now()
    job.feed()
    job.judge(f"a TaskManager ({victim}) was killed", at)
    job.flink.add_task_manager()
    wait_until(lambda: job.flink.slots() == SLOTS - 2, "the new TaskManager")


def test_the_endpoint_is_away_for_a_while(job: Job) -> None:
    job.feed()
    job.server.close()
    at = job.now()
    job.feed()
    time.sleep(OUTAGE_SECONDS)
    job.server.start()
    job.judge(f"the endpoint was away for {OUTAGE_SECONDS:.0f} s,", at, restarts=0)


def test_the_job_manager_is_killed_and_the_job_restored_from_a_checkpoint(job: Job) -> None:
    job.feed()
    job.checkpointed()
    job.feed()
    lost, at = job.id(), job.now()
    job.flink.job_manager.kill()
    wait_until(lambda: job.flink.slots() == -1, "the end of the JobManager")
    job.flink.new_job_manager()
    job.no_worker_is_left()
    job.feed()
    job.start(f"--savepoint_path={job.latest_checkpoint(lost)}")
    job.judge("the JobManager was killed", at)


def test_a_changed_job_goes_on_from_a_savepoint(job: Job) -> None:
    job.feed()
    old, at = job.id(), job.now()
    folder = job.flink.folder / "savepoints"
    documented("stop", CONSOLE=job.flink.url, JOB=old, SAVEPOINTS=folder.as_uri())
    job.no_worker_is_left()
    [savepoint] = folder.iterdir()
    written = len(job.server.db.writes)
    job.feed()
    job.start(f"--savepoint_path={savepoint.as_uri()}", "--omit=note")
    job.judge("the job was stopped with a savepoint", at, restarts=0)
    since = [each.item for each in islice(job.server.db.writes, written, None) if each.item]
    assert since
    read_after = job.log.rows - 1_000
    assert all("note" not in item for item in since if int(item["v"]["N"]) >= read_after)
