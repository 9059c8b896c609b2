"""How far a load is: counts, a display of them while it runs, and their history."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol, TextIO

__all__ = ["Counts", "History", "Total", "shown", "time_text"]

_LINE_EVERY_SECONDS = 5.0
_BAR_EVERY_SECONDS = 0.2
_MOST_SAMPLES = 600


@dataclass(frozen=True, slots=True)
class Counts:
    """Rows by what became of them, and what it took.

    Attributes:
        read: Rows read from the input.
        written: Rows that DynamoDB acknowledged.
        superseded: Rows that a later row of the same key made needless.
        failed: Rows that went to the dead letters.
        ignored: Rows that nobody writes, such as an UPDATE_BEFORE.
        retried: Writes sent again.
        throttled: Writes that DynamoDB gave back.
        units: Write units that DynamoDB says it used.
        calls: Batches that got an answer.
        latency_ms: How long all those answers took together.
        bytes: Bytes of files that are read.
    """

    read: int = 0
    written: int = 0
    superseded: int = 0
    failed: int = 0
    ignored: int = 0
    retried: int = 0
    throttled: int = 0
    units: int = 0
    calls: int = 0
    latency_ms: int = 0
    bytes: int = 0

    @property
    def settled(self) -> int:
        """Rows of which it is known what became of them."""
        return self.written + self.superseded + self.failed + self.ignored

    def __str__(self) -> str:
        rest = self.read - self.settled
        return (
            f"{self.read:,} read = {self.written:,} written + {self.superseded:,} superseded "
            f"+ {self.failed:,} failed"
            + (f" + {self.ignored:,} ignored" if self.ignored else "")
            + (f" + {rest:,} unaccounted for" if rest else "")
        )


@dataclass(slots=True)
class History:
    """The counts of a run over time, thinned out as it gets long.

    Attributes:
        samples: Seconds since the start, and the counts then.
    """

    samples: list[tuple[float, Counts]] = field(default_factory=list)

    def add(self, seconds: float, counts: Counts) -> None:
        """Adds the counts of a moment."""
        self.samples.append((seconds, counts))
        if len(self.samples) > _MOST_SAMPLES:
            self.samples[1:-1] = self.samples[2:-1:2]


def time_text(seconds: float) -> str:
    """A length of time as in `2:05` or `1:02:05`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class _Display(Protocol):
    every_seconds: float

    def update(self, counts: Counts, seconds: float) -> None: ...

    def close(self) -> None: ...


def _details(counts: Counts, seconds: float) -> str:
    """Rate, write units and what went wrong, in words."""
    rate = counts.settled / max(seconds, 1e-3)
    return (
        f"{rate:,.0f} items/s, {counts.units:,} write units, {counts.retried:,} retried, "
        f"{counts.failed:,} failed"
    )


@dataclass(frozen=True, slots=True)
class Total:
    """How much there is to load, as far as anybody knows.

    Attributes:
        rows: The rows; None where nobody told.
        bytes: The size of all files; 0 where nobody told.
    """

    rows: int | None = None
    bytes: int = 0

    def rows_of(self, counts: Counts) -> int:
        """The rows in all: told, else reckoned from the share of the files that is read."""
        if self.rows:
            return self.rows
        if 0 < counts.bytes < self.bytes:
            return max(counts.read, round(counts.read * self.bytes / counts.bytes))
        return counts.read


def _time_left(counts: Counts, total: int, seconds: float) -> str:
    if not counts.settled or total <= counts.settled:
        return ""
    return f"{time_text((total - counts.settled) * seconds / counts.settled)} left"


class _Bar:
    """A bar with rate and failures, for a terminal."""

    every_seconds = _BAR_EVERY_SECONDS

    def __init__(self, total: Total, stream: TextIO) -> None:
        from rich import progress
        from rich.console import Console

        self._progress = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(bar_width=20),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[details]}"),
            progress.TimeElapsedColumn(),
            progress.TextColumn("{task.fields[left]}"),
            console=Console(file=stream),
        )
        self._task = self._progress.add_task("reading", total=None, details="", left="")
        self._total = total
        self._progress.start()

    def update(self, counts: Counts, seconds: float) -> None:
        total = self._total.rows_of(counts)
        self._progress.update(
            self._task,
            description="writing" if counts.settled else "reading",
            total=total or None,
            completed=counts.settled,
            details=_details(counts, seconds),
            left=_time_left(counts, total, seconds),
        )

    def close(self) -> None:
        self._progress.stop()


class _Lines:
    """A line now and then, for a log."""

    every_seconds = _LINE_EVERY_SECONDS

    def __init__(self, total: Total, stream: TextIO) -> None:
        self._total = total
        self._stream = stream

    def update(self, counts: Counts, seconds: float) -> None:
        left = _time_left(counts, self._total.rows_of(counts), seconds)
        print(
            f"{counts.read:,} read, {counts.settled:,} settled, {_details(counts, seconds)}"
            + (f", {left}" if left else ""),
            file=self._stream,
            flush=True,
        )

    def close(self) -> None:
        pass


@contextlib.contextmanager
def shown(
    counts: Callable[[], Counts],
    *,
    total: Total = Total(),
    stream: TextIO | None = None,
    history: History | None = None,
) -> Iterator[None]:
    """Shows the counts until the block ends: a bar on a terminal that rich can use, else lines.

    Args:
        counts: Gives the counts of the moment; called from another thread.
        total: How much there will be, as far as it is known.
        stream: Where to; standard error when it is not given.
        history: Keeps the counts of each moment, for a report.
    """
    stream = stream or sys.stderr
    fancy = stream.isatty() and importlib.util.find_spec("rich") is not None
    display: _Display = _Bar(total, stream) if fancy else _Lines(total, stream)
    history = history or History()
    ended = threading.Event()
    started = time.monotonic()
    shown_at = [0.0]

    def sample(*, last: bool = False) -> None:
        seconds, now = time.monotonic() - started, counts()
        history.add(seconds, now)
        if last or seconds - shown_at[0] >= display.every_seconds:
            shown_at[0] = seconds
            display.update(now, seconds)

    def refresh() -> None:
        while not ended.wait(_BAR_EVERY_SECONDS):
            sample()

    history.add(0.0, Counts())
    thread = threading.Thread(target=refresh, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        sample(last=True)
        display.close()
