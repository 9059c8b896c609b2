"""What a main tells of a fault, and that Ctrl-C ends it, whatever the runner makes of either."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from pipelines.faults import exit_code, run_to_end, words
from pipelines.load import Stopped
from pipelines.progress import Counts


class Job:
    """A pipeline, and its result, that Ctrl-C reaches while somebody waits for its end."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.fault = fault
        self.cancelled = 0

    def run(self) -> Job:
        return self

    def wait_until_finish(self) -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt as pressed:
            raise RuntimeError("what Beam makes of it") from pressed

    def cancel(self) -> None:
        self.cancelled += 1
        if self.fault is not None:
            raise self.fault


def stopped(job: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_to_end(job)


def test_a_job_that_the_user_stops_is_cancelled() -> None:
    job = Job()
    stopped(job)
    assert job.cancelled == 1


@pytest.mark.parametrize("fault", [NotImplementedError(), OSError("the job service is gone")])
def test_a_job_that_cannot_be_cancelled_is_told_of(
    capsys: pytest.CaptureFixture[str], fault: Exception
) -> None:
    stopped(Job(fault))
    assert "could not be cancelled, and may go on" in capsys.readouterr().err


WORKERS = """Error received from SDK harness for instruction 5: Traceback (most recent call last):
  File "worker.py", line 1, in process
beam_dynamodb.errors.WriteError: The record 7 could not be written [while running 'Write']
"""


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (ValueError("no such file"), "no such file"),
        (ValueError("no such file [while running 'Read/Map(f)']"), "no such file"),
        (RuntimeError(WORKERS), "The record 7 could not be written"),
        (RuntimeError(" [while running 'Read']"), "RuntimeError"),
        (KeyError(3), "3"),
    ],
    ids=["plain", "step", "traceback", "nothing", "no_text"],
)
def test_a_fault_is_told_without_what_beam_adds(fault: Exception, told: str) -> None:
    assert words(fault) == told


def _ends(fault: BaseException) -> Any:
    def run() -> None:
        raise fault

    return run


COUNTS = Counts(read=3, written=2, failed=1)


@pytest.mark.parametrize(
    ("run", "code", "told"),
    [
        (lambda: "The script is right.", 0, "The script is right."),
        (lambda: Counts(read=2, written=2), 0, "2 read = 2 written"),
        (lambda: COUNTS, 3, "3 read = 2 written"),
        (_ends(ValueError("no such file")), 1, "The load failed. no such file"),
        (_ends(KeyboardInterrupt()), 130, "Stopped. What was written stays written."),
        (_ends(Stopped(COUNTS)), 130, "Stopped. 3 read = 2 written"),
    ],
    ids=["text", "all", "some", "none", "interrupted", "interrupted load"],
)
def test_a_main_ends_with_the_code_of_what_came_of_it(
    capsys: pytest.CaptureFixture[str], run: Any, code: int, told: str
) -> None:
    assert exit_code("load", run) == code
    output = capsys.readouterr()
    assert (output.err if code in (1, 130) else output.out).startswith(told)
