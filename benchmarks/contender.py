"""One contender writes rows, in a process of its own: `python -m benchmarks.contender '{…}'`.

Prints a JSON line for each run: how long it took, the CPU time and the memory of this process and
of the workers it started. A short job is run again in the same process: what neighbours on the
machine take from two seconds is another share each time, and from twenty it is not.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["Job", "Run", "Used"]

Run = Callable[[int], None]
"""Writes that many rows; all that can be prepared has been."""

_WARM_UP_ROWS = 1_000
_ENOUGH_SECONDS = 6.0
_MOST_RUNS = 5


@dataclass(frozen=True, slots=True)
class Job:
    """What to write, how and where to. A contender heeds what it has.

    Attributes:
        contender: The function that prepares it, as `module.function` of this package.
        rows: How many rows.
        endpoint: The URL of DynamoDB, or None for AWS's own.
        region: The AWS region.
        table: The table's name; its key is the number `user_id`.
        shape: Which rows, by their name in `benchmarks.rows`.
        keys: Whether only the latest row of each `user_id` in a batch is to be written.
        in_flight: How many requests may be on their way.
        consumed: Whether the pipeline goes on with what was written.
        workers: How many worker processes, or 0 to work in this process.
        pool: Whether they are of a worker pool, as portable runners have it, and not the runner's,
            which ends one after the other before its pipeline has ended.
        slots: How many of Flink's slots.
        warm_up: Whether to write some rows first, so that all has been imported and made that is
            made once per process.
        again: Whether to run again when a run was short.
        profile: Where to leave cProfile's statistics, if they are wanted.
    """

    contender: str
    rows: int
    endpoint: str | None
    region: str
    table: str
    shape: str = "user_behavior"
    keys: bool = False
    in_flight: int = 50
    consumed: bool = False
    workers: int = 0
    pool: bool = False
    slots: int = 1
    warm_up: bool = True
    again: bool = True
    profile: str | None = None

    @property
    def warm_up_rows(self) -> int:
        """How many rows it writes first; their keys come again later."""
        return min(_WARM_UP_ROWS, self.rows) if self.warm_up else 0

    def prepare(self) -> Run:
        """Imports the contender, and makes what is made once."""
        module, _, function = self.contender.partition(".")
        prepared: Run = getattr(importlib.import_module(f"benchmarks.{module}"), function)(self)
        return prepared


@dataclass(frozen=True, slots=True)
class Used:
    """What one run took.

    Attributes:
        seconds: By the clock on the wall.
        cpu_seconds: User and system time of the process and of the workers it started.
        peak_bytes: The greatest size that the process had in memory since it started.
        worker_peak_bytes: That of its largest worker process, or 0.
    """

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    worker_peak_bytes: int = 0


def measured(run: Run, rows: int) -> Used:
    """Runs it; what workers do after it to end counts as CPU time, and not as time."""
    cpu, began = _cpu_seconds(), time.perf_counter()
    run(rows)
    seconds = time.perf_counter() - began
    _wait_for_children()
    cpu = _cpu_seconds() - cpu
    workers = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return Used(seconds, cpu, _peak_bytes(), workers * _MAXRSS_UNIT)


def runs(job: Job, run: Run) -> Iterator[Used]:
    """Runs it once, and again while all runs together were short."""
    seconds = 0.0
    for _ in range(_MOST_RUNS if job.again else 1):
        used = measured(run, job.rows)
        yield used
        seconds += used.seconds
        if seconds >= _ENOUGH_SECONDS:
            return


def _wait_for_children() -> None:
    """What they used is known once they have been waited for."""
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)


def _cpu_seconds() -> float:
    own, children = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def _peak_bytes() -> int:
    """Since this program started; getrusage may know the size of the program that started it."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_UNIT
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024


def main() -> None:
    """Carries out the job that the command line gives."""
    job = Job(**json.loads(sys.argv[1]))
    run = job.prepare()
    if job.warm_up_rows:
        run(job.warm_up_rows)
    if job.profile is None:
        for used in runs(job, run):
            print(json.dumps(asdict(used)))
        return
    import cProfile

    with cProfile.Profile() as profile:
        run(job.rows)
    profile.dump_stats(job.profile)


if __name__ == "__main__":
    main()
