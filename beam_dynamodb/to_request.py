"""The step before the shuffle: rows to requests, and requests to the packs that they travel in."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from apache_beam.coders import Coder
from apache_beam.coders.typecoders import registry
from apache_beam.options.value_provider import ValueProvider
from apache_beam.pvalue import Row, TaggedOutput
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import Duration, Timestamp
from apache_beam.utils.windowed_value import create as windowed_value

from beam_dynamodb.batches import keep_latest
from beam_dynamodb.errors import DeadLetterError, DynamoDBSinkError, RowError
from beam_dynamodb.failing import FAILED, Failing, can_be_pickled
from beam_dynamodb.holding import Holding
from beam_dynamodb.identity import places_by_shard
from beam_dynamodb.meters import Meters
from beam_dynamodb.packs import Pack, Sender, origin_of
from beam_dynamodb.parameters import ELEMENT, WINDOWED_VALUE
from beam_dynamodb.requests import Converted, RequestFactory
from beam_dynamodb.sink import ErrorHandling, Settings
from beam_dynamodb.values import attribute_value, register_row, register_value
from beam_dynamodb.write_requests import Column, Request, Requests, Same, column_of

__all__ = ["PackCoder", "ToRequest"]

_BLOCK_ROWS = 100
_BLOCK_BYTES = 2560 * 1024
"""So many rows become requests together, or fewer if these hold so much."""

_HELD_BYTES = 16 * 1024 * 1024
"""Rows are packed, and packs travel on, so that all together hold no more than this, nor more than
`sink.requests.max-buffered`."""

_PACK_ROWS = 400
_PACK_BYTES = 512 * 1024
"""What is held for each shard where few rows are superseded: enough to share what a pack costs,
little enough to stay in the processor's cache where there is one shard, and for answers not to wait
long while a pack is made, and no more than the `pack_share` of the sink."""

register_row(Row, Row.as_dict)
register_value(Timestamp, lambda value: attribute_value(value.to_utc_datetime(has_tz=True)))
register_value(Duration, lambda value: attribute_value(timedelta(microseconds=value.micros)))


class _OwnWindows(tuple[Any, ...]):
    """The windows of a value that `process` emits while its input is another one.

    Beam multiplies the windows of such a value by the number of windows of the input, although
    the value brings its own. These can't be multiplied.
    """

    __slots__ = ()

    def __imul__(self, _: object) -> _OwnWindows:
        return self


_GLOBAL = _OwnWindows([GlobalWindow()])
"""Where packs travel: their elements may be of many windows, and carry them along."""


class ToRequest(Failing):
    """Rows to packs of requests; with keys, the latest of each key in a pack, by shard.

    Rows are taken in blocks, since rows of one shape cost a fraction together. A pack leaves the
    windows of its rows: it is in the global window, and each request carries its element's
    windows and timestamp. So no runner drops what is late, sessions need no merging state, and a
    row in many windows is written once.
    """

    _block_rows = 1

    def __init__(
        self, settings: Settings, handling: ErrorHandling | None, shards: int, *, travel: bool
    ) -> None:
        """Makes the step.

        Args:
            settings: What the user gave.
            handling: What becomes of rows that fail.
            shards: Into how many shards the identities fall, where there are keys: as many
                workers can deduplicate at once.
            travel: Whether packs go to other processes, or into a state.
        """
        super().__init__(settings, handling)
        self._shards = shards
        self._travel = travel

    def setup(self) -> None:
        super().setup()
        self._limit = self._sink.options.sink_requests_max_buffered
        self._holding = Holding(self._limit, _HELD_BYTES)

    def start_bundle(self) -> None:
        self._taken: list[Any] = []
        self._held = Requests()
        self._held_bytes = 0
        self._held_is_plain = True
        self._going: deque[tuple[Any, int, int]] = deque()
        self._going_rows = self._going_bytes = 0
        self._sender = Sender(os.urandom(8))
        table = self._settings.table
        table = table.get() if isinstance(table, ValueProvider) else table
        self._factory = None if callable(table) else self._sink.factory(str(table))
        self._keyed = bool(self._settings.partitioned_by)
        self._holding.start_bundle()

    def process(
        self, element: Any = ELEMENT, windowed: Any = WINDOWED_VALUE
    ) -> Iterable[Any] | None:
        self._taken.append(windowed)
        return self._convert() if len(self._taken) >= self._block_rows else None

    def finish_bundle(self) -> Iterable[Any]:
        outputs = self._convert()
        self._close(outputs)
        return [*outputs, *self._go_on(0, 0)]

    def _convert(self) -> list[Any]:
        """Turns what was taken into requests; gives what is ready to go on."""
        taken, self._taken = self._taken, []
        if not taken:
            return []
        Meters.received.inc(len(taken))
        elements = [each.value for each in taken]
        micros = column_of([each.timestamp_micros for each in taken])
        columns = [elements, micros, _windows_of(taken)]
        requests = Requests()
        outputs: list[Any] = []
        for factory, part in self._by_factory(columns, outputs):
            converted = factory.requests(part[0], part[1], *part, travel=self._travel)
            for place, error in converted.refused:
                outputs.append(self._refused(error, _row(part, place), factory))
            if converted.ignored:
                Meters.ignored.inc(converted.ignored)
            self._held_is_plain &= converted.is_plain
            requests += converted.requests if factory is self._factory else _told_apart(converted)
        size = sum(map(len, requests.bodies))
        self._block_rows = min(
            _BLOCK_ROWS, self._limit, 1 + _BLOCK_BYTES * len(taken) // (size + 1)
        )
        self._pack(requests, size, outputs)
        return outputs

    def _by_factory(
        self, columns: list[Any], outputs: list[Any]
    ) -> Iterable[tuple[RequestFactory, list[Any]]]:
        """The rows for each table; those without one are refused."""
        if self._factory is not None:
            return [(self._factory, columns)]
        places: dict[str, tuple[RequestFactory, list[int]]] = {}
        for place, element in enumerate(columns[0]):
            try:
                factory = self._factory_of(element)
                places.setdefault(factory.table, (factory, []))[1].append(place)
            except Exception as error:
                outputs.append(self._refused(error, _row(columns, place), None))
        return [
            (factory, [[column[place] for place in several] for column in columns])
            for factory, several in places.values()
        ]

    def _factory_of(self, element: Any) -> RequestFactory:
        try:
            table = self._settings.table(element)  # type: ignore[operator]
        except DeadLetterError as fault:  # of `table_of`, whose words hold nothing of a row
            raise RowError(fault.message, code="InvalidTable") from fault
        except Exception as cause:
            raise RowError(
                f"the callable that gives the table raised {type(cause).__name__}.",
                code="InvalidTable",
            ) from cause
        if not isinstance(table, str):
            raise RowError(
                f"the callable that gives the table must give its name, not "
                f"{type(table).__name__}.",
                code="InvalidTable",
            )
        return self._sink.factory(str.__str__(table))  # an Enum's text is told in two ways

    def _refused(
        self,
        cause: Exception,
        row: _Row,
        factory: RequestFactory | None,
        body: bytes | None = None,
        beside: Mapping[str, Any] | None = None,
    ) -> TaggedOutput[str, Any]:
        """The dead letter of a row that can't become a request, or travel, told by its key."""
        if isinstance(cause, DynamoDBSinkError) and not isinstance(cause, RowError):
            raise cause
        element, micros, windows = row
        error = self._row_error(cause, element, factory)
        change = None
        if body is None:  # else it tells by itself
            judge = factory or RequestFactory("", change_kind=self._settings.change_kind)
            change = judge.change_of(element)
        record = self._dead_letter(error, element, body, beside, change)
        return TaggedOutput(FAILED, windowed_value(record, micros, _OwnWindows(windows)))

    def _pack(self, requests: Requests, size: int, outputs: list[Any]) -> None:
        """Puts requests into their packs; adds the packs that go on to the outputs."""
        if not requests:
            return
        self._held += requests
        self._held_bytes += size
        most_rows, most_bytes = self._most_held()
        most_rows -= self._block_rows  # that are taken next
        if len(self._held) > most_rows or self._held_bytes >= most_bytes:
            held, held_bytes = self._held, self._held_bytes
            self._learn(held, held_bytes, self._close(outputs))
        outputs += self._go_on(most_rows - len(self._held), most_bytes - self._held_bytes)

    def _most_held(self) -> tuple[int, int]:
        """How many rows, and bytes of them, may be held."""
        if self._keyed and self._holding.pays:
            return self._limit, _HELD_BYTES
        rows = self._shards * min(_PACK_ROWS, self._sink.pack_share)
        return min(rows, self._limit), min(self._shards * _PACK_BYTES, _HELD_BYTES)

    def _learn(self, held: Requests, size: int, superseded: int) -> None:
        """Learns from rows that were held whether to hold many pays."""
        if not self._keyed:
            return
        if held.are_in_order:
            self._holding.packed(held.identities, size, superseded)
        else:  # an older one may still come
            self._holding.pays = True

    def _go_on(self, most_rows: int, most_bytes: int) -> Iterator[Any]:
        """Lets packs go until those that stay hold no more than this.

        One now and then, not all at once: so the writer, which only works when it gets one, has
        requests on their way all the time.
        """
        going = self._going
        while going and (self._going_rows > most_rows or self._going_bytes > most_bytes):
            pack, rows, size = going.popleft()
            self._going_rows -= rows
            self._going_bytes -= size
            yield pack

    def _close(self, outputs: list[Any]) -> int:
        """Packs all that is held, by shard; adds what can't be packed to the outputs.

        Returns:
            How many rows were superseded.
        """
        held, self._held, self._held_bytes = self._held, Requests(), 0
        if not held:
            return 0
        if not self._keyed:
            self._send(None, held)
            return 0
        superseded = 0
        for shard, requests in self._by_shard(held):
            latest = keep_latest(requests)
            superseded += len(requests) - len(latest)
            for start in range(0, len(latest), _PACK_ROWS):
                self._send_fit(shard, latest.part(start, start + _PACK_ROWS), outputs)
        if superseded:
            Meters.superseded.inc(superseded)
        self._held_is_plain = True
        return superseded

    def _by_shard(self, held: Requests) -> Iterable[tuple[int, Requests]]:
        if self._shards == 1:
            return [(0, held)]
        places_of = places_by_shard(held.identities, self._shards)
        return ((shard, held.select(places)) for shard, places in places_of.items())

    def _send_fit(self, shard: int, requests: Requests, outputs: list[Any]) -> None:
        try:
            self._send(shard, requests)
        except Exception:
            rest = self._without_unpicklable(requests, outputs)
            if rest:
                self._send(shard, rest)

    def _without_unpicklable(self, requests: Requests, outputs: list[Any]) -> Requests:
        """Those that can be pickled; the others are refused."""
        fit = []
        for place in range(len(requests)):
            pack = Pack(requests.select([place]))
            try:
                pack.to_bytes()
                fit.append(place)
            except Exception as cause:
                outputs.append(self._unpicklable(cause, pack.requests[0]))
        return requests.select(fit)

    def _send(self, shard: int | None, requests: Requests) -> None:
        """Gives a pack its turn to go on; None for those that go to any worker."""
        pack = Pack(requests)
        size = len(pack)
        value: Any = pack
        if shard is not None:
            # To close it tells whether it can be; and all is in the processor's cache still.
            self._sender.stamp(shard, pack, close=self._travel or not self._held_is_plain)
            value = shard, pack
        self._going.append((_global(value, requests), len(requests), size))
        self._going_rows += len(requests)
        self._going_bytes += size

    def _unpicklable(self, cause: Exception, request: Request) -> TaggedOutput[str, Any]:
        element, micros, windows = origin_of(request)
        factory = self._sink.factory(request.table)
        beside = factory.untold(element, request.body)
        is_fit = can_be_pickled(element)
        culprit = "the window of this one" if is_fit else f"this one, a {type(element).__name__},"
        fault = RowError(
            f"partitioned_by sends elements to another worker, and {culprit} can't be pickled.",
            code="NotPicklable",
            key=factory.key_text(request.body),
            table=request.table,
        )
        fault.__cause__ = cause
        return self._refused(fault, (element, micros, windows), None, request.body, beside)


class PackCoder(Coder):
    """How packs travel, where a runner has them travel."""

    def encode(self, value: Pack) -> bytes:
        """The pack with its stamp."""
        return value.to_stamped()

    def decode(self, encoded: bytes) -> Pack:
        """The pack, not opened yet."""
        return Pack.from_stamped(encoded)

    def estimate_size(self, value: Pack) -> int:
        """What Beam's counters of bytes are told."""
        return len(value)

    def is_deterministic(self) -> bool:
        """Not, but nobody groups by packs."""
        return False

    def to_type_hint(self) -> type[Pack]:
        """The type of what it encodes."""
        return Pack


registry.register_coder(Pack, PackCoder)

_Row = tuple[Any, int, tuple[Any, ...]]
"""An element, its timestamp in microseconds, its windows: all that `written` needs of it."""


def _row(columns: Sequence[Sequence[Any]], place: int) -> _Row:
    element, micros, windows = (column[place] for column in columns)
    return element, micros, windows


def _windows_of(taken: Sequence[Any]) -> Column:
    """The windows of each element; those of the same windows share one tuple."""
    windows = column_of([each.windows for each in taken])
    if isinstance(windows, Same):
        return Same(tuple(windows.value))
    known: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    return [known.setdefault(each, each) for each in map(tuple, windows)]


def _told_apart(converted: Converted) -> Requests:
    """The requests, records of one identity in two tables being two records."""
    requests = converted.requests
    tables, identities, fences = requests.tables, requests.identities, requests.fences
    if identities and identities[0] is not None:
        identities = [f"{table} {each}" for table, each in zip(tables, identities, strict=True)]
    return Requests(tables, identities, fences, *requests.columns[3:])


def _global(value: Any, requests: Requests) -> Any:
    """A value of the global window, as early as the earliest of its requests."""
    micros = requests.origin(1)
    earliest = micros.value if isinstance(micros, Same) else min(micros)
    return windowed_value(value, earliest, _GLOBAL)
