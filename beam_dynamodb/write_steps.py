"""The steps that write: packs of requests to DynamoDB, with keys the latest of each record."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

import apache_beam as beam
from apache_beam.coders import BytesCoder
from apache_beam.metrics.metric import Lineage
from apache_beam.pvalue import TaggedOutput
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import BagStateSpec, TimerSpec, on_timer
from apache_beam.utils.timestamp import MAX_TIMESTAMP, Timestamp
from apache_beam.utils.windowed_value import create as windowed_value

from beam_dynamodb.batches import keep_latest
from beam_dynamodb.errors import ServiceError, WriteError
from beam_dynamodb.failing import FAILED, Failing
from beam_dynamodb.meters import Fractions, Meters
from beam_dynamodb.packs import Order, Pack, elements_of, origin_of
from beam_dynamodb.table import BATCH_MAX_REQUESTS
from beam_dynamodb.write_requests import Requests
from beam_dynamodb.writer import Failure, Tally, Writer

__all__ = ["WriteBundle", "WriteLatest", "WriteLatestOfShard", "WriteLatestUntilTimeout"]

_STAYING_BYTES = 256 * 1024
"""What waits in a shard goes without a complete batch when it holds so much."""

_MOST_UNMERGED = 4 * BATCH_MAX_REQUESTS
"""Requests that a shard's state may hold while fewer are the latest of their record."""


def _values_of(requests: Requests) -> Iterable[Any]:
    """The elements of requests, in their windows."""
    # Made one by one as the runner takes them: to hold many wakes the garbage collector.
    return map(windowed_value, elements_of(requests), *requests.origins[1:])


class _Writing(Failing):
    """A step that writes: full batches at once, the rest and what is left in finish_bundle."""

    _writer: Writer | None = None

    def setup(self) -> None:
        super().setup()
        self._throttled = Fractions(Meters.throttled_seconds)
        self._consumed = Fractions(Meters.consumed)
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
        except BaseException as fault:
            self._end_writer()
            if isinstance(fault, ServiceError) and fault.code == "ResourceNotFoundException":
                self._sink.forget_tables()
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
        factory = self._sink.factory(request.table)
        key = factory.key_text(request.body)
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
        beside = factory.untold(element, request.body)
        record = self._dead_letter(error, element, request.body, beside)
        return TaggedOutput(FAILED, windowed_value(record, micros, windows))

    def _report(self, tally: Tally) -> None:
        for counter, amount in (
            (Meters.written, len(tally.written)),
            (Meters.superseded, tally.superseded),
            (Meters.retried, tally.retried),
            (Meters.throttled, tally.throttled),
            (Meters.batches, len(tally.batch_sizes)),
            (Meters.wire_bytes, tally.wire_bytes),
        ):
            if amount:
                counter.inc(amount)
        for size in tally.batch_sizes:
            Meters.batch_size.update(size)
        for seconds in tally.latencies:
            Meters.latency.update(round(seconds * 1000))
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
    """The same for shards that are grouped already, and so are given to one worker each.

    A group has all packs of its shard, so where one is missing it was lost.
    """

    def process(self, element: tuple[int, Iterable[Pack]]) -> Iterable[Any]:
        shard, packs = element
        return chain.from_iterable(self._add(shard, pack) for pack in packs)

    def finish_bundle(self) -> Iterable[Any]:
        return chain(self._run(self._check_gaps), super().finish_bundle())

    def _check_gaps(self, _: Writer) -> None:
        if any(order.has_gap for order in self._orders.values()):
            raise WriteError(_LOST, code="LostRows")


# `TimeBasedBufferingClosableOutputStream` of Beam 2.77 empties its buffer beside the thread that
# fills it, each second; of the local workers only threads use it.
_LOST = (
    "Beam lost rows on their way between two steps, and can't tell which: with "
    "'--direct_running_mode=multi_threading' its workers may throw away what they are sending. "
    "Write all rows again, with '--direct_running_mode=multi_processing' or "
    "'--direct_num_workers=1'."
)


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
        Meters.superseded.inc(len(requests) - len(latest))
    return latest
