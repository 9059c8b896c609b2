"""A source of changes that never ends: files of JSON lines that are followed while they grow.

It stands for the logs that real jobs follow, such as Kafka topics or Kinesis shards: each file is
one ordered partition, a key is always in the same one, and the place up to which a file was read
is part of the runner's checkpoints, so that a restored job goes on from there.

A line is an object, such as `{"kind": "+U", "at": 1767225600.5, "id": 7, "name": "Ada"}`. The line
`null` ends its file: when all have ended, so does the job, with all that it holds written.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import apache_beam as beam
from apache_beam.io.restriction_trackers import OffsetRange, OffsetRestrictionTracker
from apache_beam.io.watermark_estimators import ManualWatermarkEstimator
from apache_beam.pvalue import PBegin, PCollection
from apache_beam.transforms.core import RestrictionProvider
from apache_beam.transforms.window import GlobalWindow, TimestampedValue
from apache_beam.utils.timestamp import MIN_TIMESTAMP, Duration, Timestamp
from typing_extensions import override

__all__ = ["FollowChanges"]

_ROWS_A_TURN = 2000
_SECONDS_A_TURN = 0.5
"""How much is read, and how long waited, before the runner gets its turn: it ends bundles and takes
checkpoints between turns. Flink keeps some bytes of each turn for good up to Beam 2.7x (Beam issue
27648), so that shorter turns would fill its memory."""

_POLL_SECONDS = 0.05
"""How often a file is looked at for news."""


class FollowChanges(beam.PTransform[Any, Any]):
    """Follows files from their first line on; gives the lines as dicts, in order in each file.

    Each line's event time is its field `time_field`, in seconds since 1970. The watermark follows
    the greatest one at a distance of `lateness` seconds: a line further behind is late.
    """

    def __init__(
        self, paths: Sequence[str], *, time_field: str = "at", lateness: float = 0.0
    ) -> None:
        """Reads nothing yet.

        Args:
            paths: The files; one that is missing is awaited.
            time_field: The field with the event time. It stays in the row.
            lateness: Seconds.
        """
        super().__init__()
        self._paths = list(paths)
        self._time_field = time_field
        self._lateness = lateness

    def expand(self, begin: PBegin) -> PCollection[dict[str, Any]]:
        """Builds the steps."""
        paths = begin | "Paths" >> beam.Create(self._paths, reshuffle=False)
        return paths | "Follow" >> beam.ParDo(_Follow(self._time_field, self._lateness))


class _OneReader(OffsetRestrictionTracker):
    """Splits only where reading stops, so that a file is read in order, and to its end."""

    @override
    def try_split(self, fraction_of_remainder: float) -> Any:
        return super().try_split(0) if fraction_of_remainder == 0 else None


class _WholeFile(RestrictionProvider):
    """From the file's first byte on; a position is that of a line's first byte."""

    def initial_restriction(self, element: str) -> OffsetRange:
        return OffsetRange(0, sys.maxsize)

    def create_tracker(self, restriction: OffsetRange) -> OffsetRestrictionTracker:
        return _OneReader(restriction)

    def restriction_size(self, element: str, restriction: OffsetRange) -> float:
        path = Path(element)
        length = path.stat().st_size if path.exists() else 0
        return float(max(0, min(length, restriction.stop) - restriction.start))


_PLACE = beam.DoFn.RestrictionParam(_WholeFile())
_WATERMARK = beam.DoFn.WatermarkEstimatorParam(ManualWatermarkEstimator.default_provider())


class _Follow(beam.DoFn):
    def __init__(self, time_field: str, lateness: float) -> None:
        self._time_field = time_field
        self._lateness = Duration(lateness)

    @beam.DoFn.unbounded_per_element()  # type: ignore[untyped-decorator]
    def process(self, path: str, place: Any = _PLACE, watermark: Any = _WATERMARK) -> Iterator[Any]:
        """Yields the lines that come in one turn, then lets the runner call again.

        Raises:
            ValueError: A line is no JSON object with an event time.
        """
        lines = _lines(path, place.current_restriction().start, _SECONDS_A_TURN)
        for position, line in islice(lines, _ROWS_A_TURN):
            if not place.try_claim(position):
                return
            row, at = self._parsed(path, position, line)
            if row is None:
                place.try_claim(sys.maxsize)
                return
            yield TimestampedValue(row, at)
            reached = max(MIN_TIMESTAMP, at - self._lateness)
            if watermark.current_watermark() is None or reached > watermark.current_watermark():
                watermark.set_watermark(reached)
        place.defer_remainder()

    def _parsed(
        self, path: str, position: int, line: bytes
    ) -> tuple[dict[str, Any] | None, Timestamp]:
        try:
            row = json.loads(line, parse_float=Decimal)
            if row is None:
                return None, MIN_TIMESTAMP
            return row, _event_time(row[self._time_field])
        except (ValueError, TypeError, LookupError, OverflowError, RecursionError) as cause:
            raise ValueError(
                f"{path} has at byte {position} no JSON object with a time in seconds in its "
                f"field '{self._time_field}'. Mend the line; the job goes on from there."
            ) from cause


def _event_time(seconds: Any) -> Timestamp:
    at = Timestamp.of(float(seconds))
    # Beam writes down a later one only when the row is on its way, too late to name its line.
    if not MIN_TIMESTAMP <= at <= GlobalWindow().max_timestamp():
        raise ValueError("the time is out of the range of Beam's timestamps")
    return at


def _lines(path: str, start: int, seconds: float) -> Iterator[tuple[int, bytes]]:
    """The whole lines from `start` on that are there within so many seconds, with their places."""
    end = time.monotonic() + seconds
    while not Path(path).exists():
        if time.monotonic() >= end:
            return
        time.sleep(_POLL_SECONDS)
    with Path(path).open("rb") as file:
        _to_first_line(file, start)
        while time.monotonic() < end:
            line = file.readline()
            if line.endswith(b"\n"):
                yield file.tell() - len(line), line
            else:
                file.seek(-len(line), os.SEEK_CUR)
                time.sleep(_POLL_SECONDS)


def _to_first_line(file: BinaryIO, start: int) -> None:
    # What was claimed last is the byte before `start`: the rest of its line is over.
    if start:
        file.seek(start - 1)
        file.readline()
