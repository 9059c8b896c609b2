"""How a run ends for who started it: its exit code, and a fault without Beam's additions."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.runners.runner import PipelineResult

from beam_dynamodb.errors import without_step

__all__ = ["Interrupt", "cancelling", "exit_code", "interruptible", "quiet", "run_to_end", "words"]

_LAST_ERROR = re.compile(r"^(?:[\w.]+\.)?\w+(?:Error|Exception): (.+)", re.MULTILINE)
_MOST = 2_000
_FAILED = 1
_SOME_FAILED = 3
_STOPPED = 130


def exit_code(
    what: str, run: Callable[[], Any], advice: Callable[[str], str] = lambda _: ""
) -> int:
    """Runs what a command is for, and prints what came of it, or why nothing did.

    Args:
        what: What runs, in words: `load`.
        run: Runs it. Where what it gives has an attribute `failed`, that counts rows. Where Ctrl-C
            ends it, the text of its KeyboardInterrupt is told.
        advice: What to say behind a fault, from what is told of it.

    Returns:
        0; 1 where it failed, 3 where some rows did, 130 where the user pressed Ctrl-C.
    """
    try:
        done = run()
    except KeyboardInterrupt as stop:
        print(f"Stopped. {str(stop) or 'What was written stays written.'}", file=sys.stderr)
        return _STOPPED
    except Exception as fault:  # file systems and runners have errors of their own
        told = words(fault)
        print(f"The {what} failed. {told}{advice(told)}", file=sys.stderr)
        return _FAILED
    print(done)
    return _SOME_FAILED if getattr(done, "failed", 0) else 0


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps Beam from logging the traceback of a fault that the command is about to tell.

    With `BEAM_DYNAMODB_DEBUG=1` in the environment nothing is kept back.
    """
    logger = logging.getLogger("apache_beam.runners")
    level = logger.level
    if os.environ.get("BEAM_DYNAMODB_DEBUG") != "1":
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


class Interrupt:
    """Whether the user has pressed Ctrl-C.

    Attributes:
        pressed: True from then on.
    """

    def __init__(self) -> None:
        self.pressed = False


@contextlib.contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Remembers Ctrl-C while the block lasts: Beam makes another error of KeyboardInterrupt."""
    interrupt = Interrupt()

    def press(*_: object) -> None:
        interrupt.pressed = True
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield interrupt  # only the main thread gets signals
        return
    before = signal.signal(signal.SIGINT, press)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, before)


def run_to_end(pipeline: beam.Pipeline) -> PipelineResult:
    """Runs a pipeline, with Beam's own log of faults kept back.

    Raises:
        KeyboardInterrupt: The user pressed Ctrl-C, whatever the runner made of it.
    """
    jobs: list[PipelineResult] = []
    with quiet(), cancelling(jobs):
        jobs.append(pipeline.run())  # the in-process runner returns when all is done
        jobs[0].wait_until_finish()
    return jobs[0]


@contextlib.contextmanager
def cancelling(jobs: Sequence[PipelineResult]) -> Iterator[None]:
    """Cancels the jobs that have begun by then where the user ends the block with Ctrl-C.

    Raises:
        KeyboardInterrupt: The user pressed Ctrl-C, whatever the runner made of it.
    """
    with interruptible() as interrupt:
        try:
            yield
        except BaseException:
            if not interrupt.pressed:
                raise
            for each in jobs:
                _cancel(each)
            raise KeyboardInterrupt from None


def _cancel(result: PipelineResult) -> None:
    try:
        result.cancel()
    except Exception as fault:
        print(f"The job could not be cancelled, and may go on: {words(fault)}", file=sys.stderr)


def words(fault: BaseException) -> str:
    """The fault in words.

    Beam appends the step's name, and a runner in another process gives the worker's whole
    traceback as text, of which the last error is what happened.
    """
    text = str(fault.args[0]) if fault.args and isinstance(fault.args[0], str) else str(fault)
    if "Traceback (most recent call last)" in text:
        found = _LAST_ERROR.findall(text)
        text = found[-1] if found else text
    text = without_step(text.rstrip()).strip()
    return (text or type(fault).__name__)[:_MOST]
