"""How far a load is: counts, and a display of them while it runs."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, TextIO

__all__ = ["Counts", "shown"]

_LINE_EVERY_SECONDS = 5.0
_BAR_EVERY_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Counts:
    """Rows by what became of them.

    Attributes:
        read: Rows read from the input.
        written: Rows that DynamoDB acknowledged.
        superseded: Rows that a later row of the same key made needless.
        failed: Rows that went to the dead letters.
    """

    read: int = 0
    written: int = 0
    superseded: int = 0
    failed: int = 0

    @property
    def settled(self) -> int:
        """Rows of which it is known what became of them."""
        return self.written + self.superseded + self.failed

    def __str__(self) -> str:
        rest = self.read - self.settled
        return (
            f"{self.read:,} read = {self.written:,} written + {self.superseded:,} superseded "
            f"+ {self.failed:,} failed" + (f" + {rest:,} unaccounted for" if rest else "")
        )


class _Display(Protocol):
    every_seconds: float

    def update(self, counts: Counts) -> None: ...

    def close(self) -> None: ...


class _Bar:
    """A bar with rate and failures, for a terminal."""

    every_seconds = _BAR_EVERY_SECONDS

    def __init__(self, total: int | None) -> None:
        from rich import progress
        from rich.console import Console

        self._progress = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[rate]:,.0f} items/s, {task.fields[failed]} failed"),
            progress.TimeElapsedColumn(),
            console=Console(stderr=True),
        )
        self._task = self._progress.add_task("reading", total=None, rate=0.0, failed=0)
        self._total = total
        self._rate = _Rate()
        self._progress.start()

    def update(self, counts: Counts) -> None:
        self._progress.update(
            self._task,
            description="writing" if counts.settled else "reading",
            total=self._total or counts.read or None,
            completed=counts.settled,
            rate=self._rate.of(counts),
            failed=counts.failed,
        )

    def close(self) -> None:
        self._progress.stop()


class _Lines:
    """A line now and then, for a log."""

    every_seconds = _LINE_EVERY_SECONDS

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._rate = _Rate()

    def update(self, counts: Counts) -> None:
        print(
            f"{counts.read:,} read, {counts.settled:,} settled, {counts.failed:,} failed, "
            f"{self._rate.of(counts):,.0f} items/s",
            file=self._stream,
            flush=True,
        )

    def close(self) -> None:
        pass


class _Rate:
    """Items a second since the display began."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def of(self, counts: Counts) -> float:
        return counts.settled / max(time.monotonic() - self._started, 1e-3)


@contextlib.contextmanager
def shown(
    counts: Callable[[], Counts], *, total: int | None = None, stream: TextIO | None = None
) -> Iterator[None]:
    """Shows the counts until the block ends: a bar on a terminal that rich can use, else lines.

    Args:
        counts: Gives the counts of the moment; called from another thread.
        total: How many rows there will be; those read so far when it is not known.
        stream: Where to; standard error when it is not given.
    """
    stream = stream or sys.stderr
    fancy = stream.isatty() and importlib.util.find_spec("rich") is not None
    display: _Display = _Bar(total) if fancy else _Lines(stream)
    ended = threading.Event()

    def refresh() -> None:
        while not ended.wait(display.every_seconds):
            display.update(counts())

    thread = threading.Thread(target=refresh, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        display.update(counts())
        display.close()
