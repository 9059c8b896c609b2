"""How the tests start streaming jobs, watch them, and end them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from beam_dynamodb.testing import FakeServer
from pipelines import stream
from pipelines.flink_local import Cluster
from tests.beam.helpers import REGION, TABLE
from tests.flink.commands import documented

WAIT_SECONDS = 150.0
"""How long anything may take on a busy machine; on an idle one all comes within a few seconds."""

SLOTS = 4
"""Of the cluster of the tests: one for each TaskManager."""

LOOPBACK = "--environment_type=LOOPBACK"

ENDS_WITH_ITS_JOB = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnhandledThreadExceptionWarning"
)
"""A worker in a thread of this process may end with an exception when its job is cancelled."""

STREAMING = (
    "--streaming",
    "--checkpointing_interval=500",
    "--finish_bundle_before_checkpointing",
    "--max_bundle_time_mills=100",
    "--max_parallelism=16",
)
"""Flink's flags: checkpoints twice a second, bundles of at most 100 ms, little memory a state."""


def on_prism(location: str) -> list[str]:
    """The flags that send a pipeline to Prism."""
    return ["--runner=PrismRunner", f"--prism_location={location}", LOOPBACK]


def streaming(runner: list[str]) -> list[str]:
    """The flags of a streaming job that is over when its files end."""
    if "--runner=PrismRunner" in runner:
        return [*runner, "--streaming"]
    # Flink keeps its sources open unless it is told otherwise, since it takes no checkpoint of a
    # splittable step whose input has ended.
    return [*runner, *STREAMING, "--shutdown_sources_after_idle_ms=1"]


def wait_until(condition: Callable[[], bool], what: str, seconds: float = WAIT_SECONDS) -> float:
    """Waits for what other processes bring about; returns the seconds that it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, f"{what}: it never came"
        time.sleep(0.05)
    return time.monotonic() - began


def sink_flags(server: FakeServer, *, timeout_ms: int = 1000) -> list[str]:
    return [
        f"--table_name={TABLE}",
        f"--aws_region={REGION}",
        f"--aws_endpoint={server.endpoint}",
        "--partitioned_by=id",
        "--primary_key=id",
        f"--sink_flush_buffer_timeout={timeout_ms}",
    ]


@contextlib.contextmanager
def started(*flags: str) -> Iterator[Any]:
    """A streaming job until the block ends; it is cancelled then if it is not over."""
    job = stream.start(flags)
    try:
        yield job
    finally:
        with contextlib.suppress(Exception):
            job.cancel()


def jobs(flink: Cluster) -> list[str]:
    """The ids of the jobs of the cluster that are not over."""
    over = ("CANCELED", "FAILED", "FINISHED")
    return [each["id"] for each in flink.ask("/jobs")["jobs"] if each["status"] not in over]


def subtasks(flink: Cluster) -> list[dict[str, Any]]:
    """What Flink tells of the subtasks of the writing step, of the one job that runs."""
    [job] = jobs(flink)
    [vertex] = [
        each["id"]
        for each in flink.ask(f"/jobs/{job}")["vertices"]
        if "WriteLatest" in each["name"]
    ]
    told: list[dict[str, Any]] = flink.ask(f"/jobs/{job}/vertices/{vertex}")["subtasks"]
    return told


def cancel_all(flink: Cluster) -> None:
    """Cancels what runs, and waits until nothing of it is left.

    The job server does not: where it is told to cancel a job, it only stops to wait for it.
    """
    for each in jobs(flink):
        documented("cancel", CONSOLE=flink.url, JOB=each)
    wait_until(lambda: flink.slots() == SLOTS, "free slots")
