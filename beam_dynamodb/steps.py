"""The steps of a write: the DoFns, the state and timers they keep, and their metrics."""

from __future__ import annotations

import logging
import os
import traceback
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from itertools import chain
from typing import Any

import apache_beam as beam
from apache_beam.coders import BytesCoder, Coder
from apache_beam.coders.typecoders import registry
from apache_beam.metrics.metric import Lineage, Metrics
from apache_beam.options.value_provider import ValueProvider
from apache_beam.pvalue import Row, TaggedOutput
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import (
    BagStateSpec,
    TimerSpec,
    on_timer,
)
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MAX_TIMESTAMP, Duration, Timestamp
from apache_beam.utils.windowed_value import create as windowed_value

from beam_dynamodb.batches import keep_latest
from beam_dynamodb.errors import DeadLetterError, DynamoDBSinkError, RowError, WriteError
from beam_dynamodb.holding import Holding
from beam_dynamodb.identity import places_by_shard
from beam_dynamodb.packs import Order, Pack, Sender, elements_of, origin_of
from beam_dynamodb.parameters import ELEMENT, WINDOWED_VALUE
from beam_dynamodb.requests import Converted, RequestFactory
from beam_dynamodb.results import FailedRecord
from beam_dynamodb.sink import ErrorHandling, Settings
from beam_dynamodb.table import BATCH_MAX_REQUESTS
from beam_dynamodb.values import attribute_value, register_row, register_value
from beam_dynamodb.write_requests import Column, Request, Requests, Same, column_of
from beam_dynamodb.writer import Failure, Tally, Writer

__all__ = [
    "FAILED",
    "NAMESPACE",
    "Failing",
    "ToRequest",
    "WriteBundle",
    "WriteLatest",
    "WriteLatestOfShard",
    "WriteLatestUntilTimeout",
]

_logger = logging.getLogger(__name__)

NAMESPACE = "beam_dynamodb"
"""The namespace of all metrics."""

FAILED = "failed"
"""The tag of dead letters."""

_BLOCK_ROWS = 100
_BLOCK_BYTES = 1024 * 1024
"""So many rows become requests together, or fewer if these hold so much."""

_HELD_BYTES = 16 * 1024 * 1024
"""Rows are packed, and packs travel on, so that all together hold no more than this, nor more than
`sink.requests.max-buffered`."""

_PACK_ROWS = 500
_PACK_BYTES = 512 * 1024
"""What is held for each shard where few rows are superseded: enough to share what a pack costs,
little enough to stay in the processor's cache where there is one shard, and no more than the
`pack_share` of the sink."""

_STAYING_BYTES = 256 * 1024
"""What waits in a shard goes without a complete batch when it holds so much."""

_MOST_UNMERGED = 4 * BATCH_MAX_REQUESTS
"""Requests that a shard's state may hold while fewer are the latest of their record."""

register_row(Row, Row.as_dict)
register_value(Timestamp, lambda value: attribute_value(value.to_utc_datetime(has_tz=True)))
register_value(Duration, lambda value: attribute_value(timedelta(microseconds=value.micros)))


# --- metrics -------------------------------------------------------------------------------


class _Meters:
    """The metrics; touched on the bundle's own thread only, else Beam drops them."""

    received = Metrics.counter(NAMESPACE, "received")
    ignored = Metrics.counter(NAMESPACE, "ignored")
    written = Metrics.counter(NAMESPACE, "written")
    superseded = Metrics.counter(NAMESPACE, "superseded")
    failed = Metrics.counter(NAMESPACE, "failed")
    retried = Metrics.counter(NAMESPACE, "retried")
    throttled = Metrics.counter(NAMESPACE, "throttled")
    batches = Metrics.counter(NAMESPACE, "batches")
    wire_bytes = Metrics.counter(NAMESPACE, "wire_bytes")
    consumed = Metrics.counter(NAMESPACE, "consumed_capacity_units")
    throttled_seconds = Metrics.counter(NAMESPACE, "cumulativeThrottlingSeconds")
    batch_size = Metrics.distribution(NAMESPACE, "batch_size")
    latency = Metrics.distribution(NAMESPACE, "batch_latency_ms")


class _Fractions:
    """Counts fractions in a counter of integers: what is below one waits for the next time."""

    def __init__(self, counter: Any) -> None:
        self._counter = counter
        self._rest = 0.0

    def add(self, amount: float) -> None:
        whole, self._rest = divmod(self._rest + amount, 1.0)
        if whole:
            self._counter.inc(int(whole))


# --- the steps -----------------------------------------------------------------------------


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


class Failing(beam.DoFn):
    """A step whose records may fail: into the dead letters if asked for, else the pipeline."""

    def __init__(self, settings: Settings, handling: ErrorHandling | None) -> None:
        self._settings = settings
        self._handling = handling

    def setup(self) -> None:
        self._sink = self._settings.sink()

    def _row_error(
        self, cause: Exception, element: Any, factory: RequestFactory | None
    ) -> RowError:
        """What is wrong with a row, told by its key and its table as far as they are known."""
        if not isinstance(cause, RowError):  # whose text may quote the row
            fault = RowError(f"it raised {type(cause).__name__} on its way to a request.")
        else:
            fault = cause
        key = fault.key or (factory.key_text_of(element) if factory else None)
        table = fault.table or (factory.table if factory else None)
        where = f" to table '{table}'" if table else ""
        error = RowError(
            f"The record {key or '(of unknown key)'} can't be written{where}: {fault.message}",
            code=fault.code,
            path=fault.path,
            key=key,
            table=table,
        )
        error.__cause__ = cause
        return error

    def _dead_letter(
        self, error: RowError | WriteError, element: Any, body: bytes | None = None
    ) -> FailedRecord:
        """The dead letter of an element, or the error itself where none is wanted."""
        handling = self._handling
        if handling is None or not isinstance(error, handling.exc_class):
            raise error
        if handling.on_failure_callback is not None:
            _call_back(handling.on_failure_callback, error, element)
        _Meters.failed.inc()
        return FailedRecord(
            element=element,
            error=(type(error), repr(error), traceback.format_exception(error)),
            code=error.code,
            message=error.message,
            table=error.table,
            key=error.key,
            attempts=getattr(error, "attempts", 0),
            retriable=getattr(error, "retriable", False),
            request=body,
        )


def _call_back(callback: Callable[[Exception, Any], None], error: Exception, element: Any) -> None:
    # As ParDo.with_exception_handling has it: a callback that fails is nobody's failure.
    try:
        callback(error, element)
    except Exception as fault:
        _logger.warning("on_failure_callback failed: %r", fault, exc_info=True)


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
        _Meters.received.inc(len(taken))
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
                _Meters.ignored.inc(converted.ignored)
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
        return self._sink.factory(table)

    def _refused(
        self,
        cause: Exception,
        row: _Row,
        factory: RequestFactory | None,
        body: bytes | None = None,
    ) -> TaggedOutput[str, Any]:
        """The dead letter of a row that can't become a request, told by its key."""
        if isinstance(cause, DynamoDBSinkError) and not isinstance(cause, RowError):
            raise cause
        element, micros, windows = row
        record = self._dead_letter(self._row_error(cause, element, factory), element, body)
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
            latest = _latest(requests)
            superseded += len(requests) - len(latest)
            for start in range(0, len(latest), _PACK_ROWS):
                self._send_fit(shard, latest.part(start, start + _PACK_ROWS), outputs)
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
        for place, request in enumerate(requests):
            try:
                Pack(requests.select([place])).to_bytes()
                fit.append(place)
            except Exception as cause:
                outputs.append(self._unpicklable(cause, request))
        return requests.select(fit)

    def _send(self, shard: int | None, requests: Requests) -> None:
        """Gives a pack its turn to go on; None for those that go to any worker."""
        pack = Pack(requests)
        size = len(pack)
        value: Any = pack
        if shard is not None:
            if not self._held_is_plain:
                pack.close()  # which tells whether it can be
            self._sender.stamp(shard, pack)
            value = shard, pack
        self._going.append((_global(value, requests), len(requests), size))
        self._going_rows += len(requests)
        self._going_bytes += size

    def _unpicklable(self, cause: Exception, request: Request) -> TaggedOutput[str, Any]:
        element, micros, windows = origin_of(request)
        fault = RowError(
            f"partitioned_by sends elements to another worker, and this one, a "
            f"{type(element).__name__}, can't be pickled.",
            code="NotPicklable",
            key=self._sink.factory(request.table).key_text(request.body),
            table=request.table,
        )
        fault.__cause__ = cause
        return self._refused(fault, (repr(element), micros, windows), None, request.body)


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


def _values_of(requests: Requests) -> Iterable[Any]:
    """The elements of requests, in their windows."""
    # Made one by one as the runner takes them: to hold many wakes the garbage collector.
    return map(windowed_value, elements_of(requests), *requests.origins[1:])


class _Writing(Failing):
    """A step that writes: full batches at once, the rest and what is left in finish_bundle."""

    _writer: Writer | None = None

    def setup(self) -> None:
        super().setup()
        self._throttled = _Fractions(_Meters.throttled_seconds)
        self._consumed = _Fractions(_Meters.consumed)
        self._tables: set[str] = set()

    def start_bundle(self) -> None:
        if self._writer is not None and self._writer.held:
            self._end_writer()  # the bundle before was abandoned without a word
        if self._writer is None:
            self._writer = self._sink.writer()

    def finish_bundle(self) -> Iterable[Any]:
        outputs = self._run(lambda writer: writer.finish())
        for table in self._tables:
            Lineage.sinks().add(
                "dynamodb", self._sink.options.aws_region, Lineage.wrap_segment(table)
            )
        self._tables.clear()
        return outputs

    def teardown(self) -> None:
        self._end_writer()

    def _write(self, requests: Requests) -> Iterable[Any]:
        return self._run(lambda writer: writer.write(requests)) if requests else ()

    def _run(self, work: Callable[[Writer], None]) -> Iterable[Any]:
        """Lets the writer work; what it raises leaves nothing on its way to DynamoDB."""
        writer = self._writer  # a runner that cancels may tear it down meanwhile
        assert writer is not None  # noqa: S101 - start_bundle made it
        try:
            work(writer)
            return self._outputs(writer.take_tally())
        except BaseException:
            self._end_writer()
            raise

    def _end_writer(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            try:
                writer.abandon()
            finally:
                writer.close()

    def _outputs(self, tally: Tally) -> Iterable[Any]:
        failures = [self._failure(failure, len(tally.failures)) for failure in tally.failures]
        outputs = chain(_values_of(tally.written), failures)
        self._tables.update(tally.tables)
        self._report(tally)
        return outputs

    def _failure(self, failure: Failure, together: int) -> TaggedOutput[str, Any]:
        request, cause = failure.request, failure.error
        fail_on_error = self._sink.options.sink_fail_on_error
        key = self._sink.factory(request.table).key_text(request.body)
        others = (
            f" It is the first of {together} records that failed together: with "
            "'sink.fail-on-error' a request is not taken apart to find the one to blame."
            if fail_on_error and together > 1 and not failure.retriable
            else ""
        )
        error = WriteError(
            f"The record {key or '(of unknown key)'} could not be written to table "
            f"'{request.table}' in {failure.attempts} attempt(s): {cause.message}{others}",
            code=cause.code,
            table=request.table,
            key=key,
            attempts=failure.attempts,
            retriable=failure.retriable,
        )
        error.__cause__ = cause
        if fail_on_error:
            raise error
        element, micros, windows = origin_of(request)
        record = self._dead_letter(error, element, request.body)
        untold = self._sink.factory(request.table).untold(element, request.body)
        record = record._replace(beside=untold or None)
        return TaggedOutput(FAILED, windowed_value(record, micros, windows))

    def _report(self, tally: Tally) -> None:
        for counter, amount in (
            (_Meters.written, len(tally.written)),
            (_Meters.superseded, tally.superseded),
            (_Meters.retried, tally.retried),
            (_Meters.throttled, tally.throttled),
            (_Meters.batches, len(tally.batch_sizes)),
            (_Meters.wire_bytes, tally.wire_bytes),
        ):
            if amount:
                counter.inc(amount)
        for size in tally.batch_sizes:
            _Meters.batch_size.update(size)
        for seconds in tally.latencies:
            _Meters.latency.update(round(seconds * 1000))
        self._throttled.add(tally.throttled_seconds)
        self._consumed.add(tally.consumed)


class WriteBundle(_Writing):
    """Packs to DynamoDB as they come."""

    def process(self, pack: Pack) -> Iterable[Any]:
        return self._write(pack.requests)


class _Waiting:
    """What waits in a shard for more: the latest request of each record."""

    __slots__ = ("latest",)

    def __init__(self, latest: Requests) -> None:
        self.latest = latest

    def add(self, requests: Requests) -> None:
        """Adds newcomers, no two of one record; counts what is superseded."""
        known = set(self.latest.identities)
        has_newer = not known.isdisjoint(requests.identities)
        self.latest += requests
        if has_newer:
            self.latest = _latest(self.latest)

    def take(self, batch_size: int) -> Requests:
        """Takes the complete batches away, and large records whatever their number."""
        count = len(self.latest) // batch_size * batch_size
        if sum(map(len, self.latest.bodies[count:])) > _STAYING_BYTES:
            count = len(self.latest)
        if not count:
            return Requests()
        taken, self.latest = self.latest.part(0, count), self.latest.part(count)
        return taken


class _WritingLatest(_Writing):
    """Of the records of a key that wait in a shard, only the latest is written.

    What waits is written when a batch of distinct keys is complete, and at the end of the bundle.
    A runner that groups bounded input may give a shard's packs in any order, as Flink does: they
    are put back into the order in which they were sent. Latest and writer are in one step, so that
    whatever a runner does between steps, two writes of a key never overtake each other.
    """

    def start_bundle(self) -> None:
        super().start_bundle()
        self._shards: defaultdict[int, _Waiting] = defaultdict(lambda: _Waiting(Requests()))
        self._orders: defaultdict[int, Order] = defaultdict(Order)

    def finish_bundle(self) -> Iterable[Any]:
        rest = Requests()
        for shard, order in self._orders.items():
            for pack in order.rest():
                rest += self._complete(shard, pack)
            rest += self._shards[shard].latest
        return chain(self._write(rest), super().finish_bundle())

    def _add(self, shard: int, pack: Pack) -> Iterable[Any]:
        # A chain, since each row would pass through a generator's frame.
        return chain.from_iterable(
            self._write(self._complete(shard, each)) for each in self._orders[shard].arrived(pack)
        )

    def _complete(self, shard: int, pack: Pack) -> Requests:
        """Adds a pack to what waits in a shard; takes the batches that are complete then."""
        waiting = self._shards[shard]
        waiting.add(pack.requests)
        return waiting.take(self._sink.options.sink_batch_max_size)


class WriteLatest(_WritingLatest):
    """The stateful step for bounded input.

    The state is never used: it is there so that a runner gives each shard to one worker at a time.
    """

    HELD = BagStateSpec("held", BytesCoder())

    def process(
        self, element: tuple[int, Pack], held: Any = beam.DoFn.StateParam(HELD)
    ) -> Iterable[Any]:
        return self._add(*element)


class WriteLatestOfShard(_WritingLatest):
    """The same for shards that are grouped already, and so are given to one worker each."""

    def process(self, element: tuple[int, Iterable[Pack]]) -> Iterable[Any]:
        shard, packs = element
        return chain.from_iterable(self._add(shard, pack) for pack in packs)


class _Held(_Waiting):
    """What waits in a shard and in its state.

    Attributes:
        pieces: How many pieces the state holds it in.
        size: How many requests those are, not merged.
        wakes: When a timer is set for, in microseconds, or earlier.
    """

    __slots__ = ("pieces", "size", "wakes")

    def __init__(self, held: Any) -> None:
        pieces = sorted(held.read())  # a bag has no order of its own
        requests = Pack.joined(memoryview(piece)[_PLACE_BYTES:] for piece in pieces)
        super().__init__(keep_latest(requests))  # what it supersedes is counted already
        self.pieces = len(pieces)
        self.size = len(requests)
        self.wakes = _window_end(self.latest)  # what is superseded has set no timer

    def add_to(self, held: Any, data: bytes, size: int) -> None:
        """Makes the state hold one more piece."""
        held.add(self.pieces.to_bytes(_PLACE_BYTES, "big") + data)
        self.pieces += 1
        self.size += size

    def replace(self, held: Any) -> None:
        """Makes the state hold the latest and nothing else."""
        if self.pieces:
            held.clear()
        self.pieces = self.size = 0
        if self.latest:
            self.add_to(held, Pack(self.latest).to_bytes(), len(self.latest))

    def take_all(self, held: Any) -> Requests:
        """Takes everything away, out of the state too."""
        requests, self.latest = self.latest, Requests()
        self.replace(held)
        self.wakes = MAX_TIMESTAMP.micros
        return requests


_PLACE_BYTES = 4


class WriteLatestUntilTimeout(_Writing):
    """The same for unbounded input, where bundles are small: what waits stays for later bundles.

    It is written when a batch of distinct keys is complete, after `sink.flush-buffer.timeout`, and
    at the end of the first window of any of it. It is kept in memory too while a bundle lasts, so
    that its state is read only once.

    A class of its own since the mere presence of a processing-time timer moves a pipeline with
    bounded input to a slower runner, which never fires it.
    """

    HELD = BagStateSpec("held", BytesCoder())
    WINDOW_END = TimerSpec("window_end", TimeDomain.WATERMARK)
    TIMEOUT = TimerSpec("flush_timeout", TimeDomain.REAL_TIME)

    def start_bundle(self) -> None:
        super().start_bundle()
        self._shards: dict[int, _Held] = {}

    def process(
        self,
        element: tuple[int, Pack],
        held: Any = beam.DoFn.StateParam(HELD),
        window_end: Any = beam.DoFn.TimerParam(WINDOW_END),
        timeout: Any = beam.DoFn.TimerParam(TIMEOUT),
    ) -> Iterable[Any]:
        shard, pack = element
        waiting = self._waiting(shard, held)
        was_empty = not waiting.latest
        data, arrived = pack.to_bytes(), pack.requests  # a stream keeps the order
        waiting.add(arrived)
        going = waiting.take(self._sink.options.sink_batch_max_size)
        if going or waiting.size + len(arrived) > _MOST_UNMERGED:
            waiting.replace(held)
        else:
            waiting.add_to(held, data, len(arrived))
        end = _window_end(waiting.latest)
        if end < waiting.wakes:
            window_end.set(Timestamp(micros=end))
            waiting.wakes = end
        # Those that waited before are the first of the latest, so if any go, these all go.
        if waiting.latest and (was_empty or going):
            timeout.set(_moment_after(self._sink.options.sink_flush_buffer_timeout))
        return self._write(going)

    @on_timer(WINDOW_END)
    def at_window_end(
        self,
        shard: Any = beam.DoFn.KeyParam,
        held: Any = beam.DoFn.StateParam(HELD),
        timeout: Any = beam.DoFn.TimerParam(TIMEOUT),
    ) -> Iterable[Any]:
        # A timer that is left over holds the watermark back, and Flink waits for it forever when
        # the input ends, since it fires none of them by then.
        timeout.clear()
        return self._write(self._waiting(shard, held).take_all(held))

    @on_timer(TIMEOUT)
    def at_timeout(
        self, shard: Any = beam.DoFn.KeyParam, held: Any = beam.DoFn.StateParam(HELD)
    ) -> Iterable[Any]:
        return self._write(self._waiting(shard, held).take_all(held))

    def _waiting(self, shard: int, held: Any) -> _Held:
        waiting = self._shards.get(shard)
        if waiting is None:
            waiting = self._shards[shard] = _Held(held)
        return waiting


def _moment_after(milliseconds: int) -> Timestamp:
    """So long from now, or the end of time."""
    micros = Timestamp.now().micros + milliseconds * 1000
    return Timestamp(micros=min(micros, MAX_TIMESTAMP.micros))


def _window_end(requests: Requests) -> int:
    """When the first window of any of the requests ends, in microseconds."""
    if not requests:
        return MAX_TIMESTAMP.micros
    # Few windows, many requests: look at each tuple of windows once.
    several = {id(windows): windows for windows in requests.origins[2]}.values()
    return min(window.max_timestamp().micros for windows in several for window in windows)


def _latest(requests: Requests) -> Requests:
    """The latest request of each identity; counts the others."""
    latest = keep_latest(requests)
    if len(latest) < len(requests):
        _Meters.superseded.inc(len(requests) - len(latest))
    return latest
