"""What a load would do: items, sizes, write units, cost, time, and the rows that would fail."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.metrics.metric import Metrics, MetricsFilter
from apache_beam.runners.runner import PipelineResult

from beam_dynamodb.dead_letters import DeadLetter
from beam_dynamodb.errors import RowError
from beam_dynamodb.requests import RequestFactory, is_delete
from beam_dynamodb.results import FailedRecord
from beam_dynamodb.sizes import stored_size
from beam_dynamodb.table import TableKey
from beam_dynamodb.write_requests import item_of
from pipelines.progress import time_text

__all__ = ["Estimate", "Judge", "Reasons", "estimate"]

_NAMESPACE = "beam_dynamodb.dry_run"
_UNIT_BYTES = 1024
"""A write unit writes an item of up to so many bytes (DynamoDB Developer Guide, *Capacity*)."""

_PLACE = re.compile(r"^(?P<where>.*?, (?:line|record) \d+)(?:: |, )")
_SHOWN = 10


class Judge(beam.DoFn):
    """Makes of each row the request that the sink would send, and measures it."""

    _items = Metrics.counter(_NAMESPACE, "items")
    _deletes = Metrics.counter(_NAMESPACE, "deletes")
    _units = Metrics.counter(_NAMESPACE, "units")
    _sizes = Metrics.distribution(_NAMESPACE, "item_bytes")

    def __init__(self, table: str, key: TableKey | None, settings: dict[str, Any]) -> None:
        """Nothing is read yet.

        Args:
            table: The table's name.
            key: Its key, where it is known.
            settings: The other settings of a `RequestFactory`.
        """
        self._table = table
        self._key = key
        self._settings = settings

    def setup(self) -> None:
        """Makes the factory of requests, the sink's own."""
        self._factory = RequestFactory(self._table, self._key, **self._settings)

    def process(self, row: Any) -> Iterator[FailedRecord]:
        """Yields the failed record that the row would become, if it would."""
        try:
            request = self._factory.request(row, 0)
        except RowError as fault:
            yield self._refused(row, fault)
            return
        if request is None:
            return
        size = stored_size(item_of(request.body))
        self._items.inc()
        self._units.inc(-(-size // _UNIT_BYTES) or 1)
        self._sizes.update(size)
        if is_delete(request.body):
            self._deletes.inc()

    def _refused(self, row: Any, fault: RowError) -> FailedRecord:
        key = fault.key or self._factory.key_text_of(row)
        return FailedRecord(
            element=row,
            error=(RowError, repr(fault), []),
            code=fault.code,
            message=fault.message,
            table=self._table,
            key=key,
            attempts=0,
            retriable=False,
            change=self._factory.change_of(row),
        )


@dataclass(slots=True)
class Reasons:
    """Why rows would fail, the most frequent first.

    Attributes:
        counts: How many rows by reason.
        first: The place of the first one.
    """

    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of_files(cls, paths: Sequence[Path]) -> Reasons:
        """Reads files of dead letters."""
        found = cls()
        for path in paths:
            with path.open(encoding="utf-8", newline="\n") as lines:
                for line in lines:
                    found.add(DeadLetter.from_line(line).message)
        return found

    def add(self, message: str) -> None:
        """Adds the message of a dead letter."""
        place = _PLACE.match(message)
        reason = message[place.end() :] if place else message
        self.counts[reason] += 1
        self.first.setdefault(reason, place["where"] if place else "")

    def __str__(self) -> str:
        lines = []
        for reason, count in self.counts.most_common(_SHOWN):
            first = f" First: {self.first[reason]}." if self.first[reason] else ""
            lines.append(f"  {count:,} times: {reason}{first}")
        rest = len(self.counts) - _SHOWN
        text = "\n".join([*lines, *([f"  and {rest:,} other reasons"] if rest > 0 else [])])
        # The name of a file need not be text, which a terminal would refuse to show.
        return text.encode(errors="backslashreplace").decode()


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a load would do, at most: rows of one key that come together are written once.

    Attributes:
        items: Items that would be put or deleted.
        deletes: Those of them that would be deleted.
        failed: Rows that would fail.
        units: Write units that it takes, without secondary indexes.
        sizes: The least, mean and greatest item size in bytes; None where there is none.
        total_bytes: Of all items together.
        reasons: Why rows would fail.
    """

    items: int
    deletes: int
    failed: int
    units: int
    sizes: tuple[int, float, int] | None
    total_bytes: int
    reasons: Reasons

    def text(self, price_per_million: float | None, units_per_second: float | None) -> str:
        """The estimate in words.

        Args:
            price_per_million: What a million write units cost, in the user's currency.
            units_per_second: The table's write capacity; None where it is not known.
        """
        puts = self.items - self.deletes
        lines = [
            "Nothing was written. What a load would do:",
            f"{puts:,} items written, {self.deletes:,} deleted, {self.failed:,} rows failed.",
        ]
        if self.sizes:
            least, mean, most = self.sizes
            lines.append(
                f"Item size: {least:,} to {most:,} bytes, {mean:,.0f} on average, "
                f"{self.total_bytes:,} together."
            )
        lines.append(f"Write units: {self.units:,}, each secondary index aside.")
        if price_per_million is not None:
            cost = self.units * price_per_million / 1e6
            lines.append(f"Cost at {price_per_million:g} a million units: {cost:,.4f}.")
        if units_per_second:
            seconds = time_text(self.units / units_per_second)
            lines.append(f"Time at {units_per_second:,g} units a second: {seconds}.")
        if self.failed:
            lines.append(f"Rows that would fail:\n{self.reasons}")
        return "\n".join(lines)


def estimate(result: PipelineResult, failed: Reasons) -> Estimate:
    """The estimate of a run of `Judge`.

    Args:
        result: The run.
        failed: Why rows would fail.
    """
    found = result.metrics().query(MetricsFilter().with_namespace(_NAMESPACE))
    counts = {each.key.metric.name: each.result or 0 for each in found["counters"]}
    sizes = next((each.result for each in found["distributions"] if each.result), None)
    return Estimate(
        items=counts.get("items", 0),
        deletes=counts.get("deletes", 0),
        failed=failed.counts.total(),
        units=counts.get("units", 0),
        sizes=(sizes.min, sizes.mean, sizes.max) if sizes else None,
        total_bytes=sizes.sum if sizes else 0,
        reasons=failed,
    )
