"""The steps of a write: the DoFns, the state and timers they keep, and their metrics."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.coders import BytesCoder
from apache_beam.metrics.metric import Lineage, Metrics
from apache_beam.options.value_provider import ValueProvider
from apache_beam.pvalue import Row, TaggedOutput
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import (
    BagStateSpec,
    ReadModifyWriteStateSpec,
    TimerSpec,
    on_timer,
)
from apache_beam.utils.timestamp import Duration, Timestamp
from apache_beam.utils.windowed_value import WindowedValue
from apache_beam.utils.windowed_value import create as windowed_value

from beam_dynamodb.batches import keep_latest
from beam_dynamodb.errors import RowError, WriteError
from beam_dynamodb.packs import Pack
from beam_dynamodb.requests import Request, RequestFactory, shard_of
from beam_dynamodb.results import FailedRecord
from beam_dynamodb.sink import ErrorHandling, Settings
from beam_dynamodb.table import BATCH_MAX_REQUESTS
from beam_dynamodb.values import attribute_value, register_row, register_value
from beam_dynamodb.writer import Failure, Tally, Writer

__all__ = [
    "FAILED",
    "NAMESPACE",
    "KeepLatest",
    "KeepLatestUntilTimeout",
    "ToRequest",
    "WriteBundle",
]

NAMESPACE = "beam_dynamodb"
"""The namespace of all metrics."""

FAILED = "failed"
"""The tag of dead letters."""

_SHARDS = 64
"""Into how many shards the identities fall: the most workers that can deduplicate at once."""

_PACK_REQUESTS = 4 * BATCH_MAX_REQUESTS
_PACK_BYTES = 256 * 1024
"""A pack travels on when it holds this much: enough to make Beam's cost for it small."""

register_row(Row, Row.as_dict)
register_value(Timestamp, lambda value: attribute_value(value.to_utc_datetime(has_tz=True)))
register_value(Duration, lambda value: {"N": f"{value.micros / 1_000_000:f}"})


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
    """The windows of a value that a DoFn emits while it processes another one.

    Beam multiplies the windows of a WindowedValue that `process` emits by the number of windows
    of the current input, although the value brings its own. These can't be multiplied.
    """

    __slots__ = ()

    def __imul__(self, _: object) -> _OwnWindows:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _OwnWindows, (tuple(self),)


def _emitted(request: Request) -> WindowedValue:
    """A request's element, with the timestamp and the windows it had."""
    element, micros, windows = request.origin
    return windowed_value(element, micros, windows)


class _Failing(beam.DoFn):
    """A step whose records may fail: into the dead letters if asked for, else the pipeline."""

    def __init__(self, settings: Settings, handling: ErrorHandling | None) -> None:
        self._settings = settings
        self._handling = handling

    def setup(self) -> None:
        self._sink = self._settings.sink()

    def _dead_letter(
        self, error: RowError | WriteError, element: Any, micros: int, windows: Any
    ) -> TaggedOutput:
        """The dead letter of an element, or the error itself where none is wanted."""
        handling = self._handling
        if handling is None or not isinstance(error, handling.exc_class):
            raise error
        if handling.on_failure_callback is not None:
            handling.on_failure_callback(error, element)
        _Meters.failed.inc()
        record = FailedRecord(
            element=element,
            error=(type(error), repr(error), traceback.format_exception(error)),
            code=error.code,
            message=error.message,
            table=error.table,
            key=error.key,
            attempts=getattr(error, "attempts", 0),
            retriable=getattr(error, "retriable", False),
        )
        return TaggedOutput(FAILED, windowed_value(record, micros, windows))


class ToRequest(_Failing):
    """Rows to packs of requests; with keys, the latest of each key in a pack, by shard."""

    def start_bundle(self) -> None:
        self._open: dict[tuple[Any, ...], _OpenPack] = {}
        self._held = 0
        self._received = 0
        self._ignored = 0
        self._windows: Any = None
        table = self._settings.table
        self._table = table.get() if isinstance(table, ValueProvider) else table
        self._factory = None if callable(table) else self._sink.factory(str(self._table))
        self._keyed = bool(self._settings.partitioned_by)
        self._most_held = self._sink.options.sink_requests_max_buffered

    def process(
        self, element: Any, windowed: Any = beam.DoFn.WindowedValueParam
    ) -> Iterable[Any]:
        self._received += 1
        if windowed.windows is not self._windows:
            self._windows = windowed.windows
            self._own_windows = _OwnWindows(self._windows)
            # A row in several windows is written once, in the one that ends last.
            self._home = (max(self._windows, key=_end_of),) if self._keyed else ()
        micros = windowed.timestamp_micros
        try:
            factory = self._factory or self._factory_of(element)
            request = factory.request(element, micros, (element, micros, self._own_windows))
        except RowError as error:
            return [self._dead_letter(error, element, micros, self._own_windows)]
        if request is None:
            self._ignored += 1
            return ()
        return self._collect(request, micros)

    def finish_bundle(self) -> Iterator[WindowedValue]:
        _Meters.received.inc(self._received)
        if self._ignored:
            _Meters.ignored.inc(self._ignored)
        return iter(self._close_all())

    def _factory_of(self, element: Any) -> RequestFactory:
        try:
            table = self._settings.table(element)  # type: ignore[operator]
        except Exception as cause:
            raise RowError(
                f"the callable that gives the table raised {type(cause).__name__}.",
                code="InvalidTable",
            ) from cause
        return self._sink.factory(table if isinstance(table, str) else repr(table))

    def _collect(self, request: Request, micros: int) -> Iterable[WindowedValue]:
        """Puts a request into its pack; gives the packs that are ready to go on."""
        identity = request.identity
        shard = shard_of(identity, _SHARDS) if identity is not None else 0
        where = (shard, self._home)
        pack = self._open.get(where)
        if pack is None:
            pack = self._open[where] = _OpenPack(micros)
        self._held += pack.add(request, micros)
        if len(pack.requests) >= _PACK_REQUESTS or pack.size >= _PACK_BYTES:
            return [self._close(where, pack)]
        return self._close_all() if self._held >= self._most_held else ()

    def _close_all(self) -> list[WindowedValue]:
        return [self._close(where, pack) for where, pack in list(self._open.items())]

    def _close(self, where: tuple[Any, ...], pack: _OpenPack) -> WindowedValue:
        del self._open[where]
        self._held -= len(pack.requests)
        requests = list(pack.requests.values())
        if not self._keyed:
            return windowed_value(Pack(requests), pack.micros, requests[0].origin[2])
        if pack.superseded:
            _Meters.superseded.inc(pack.superseded)
        shard, home = where
        return windowed_value((shard, Pack(requests).to_bytes()), pack.micros, _OwnWindows(home))


def _end_of(window: Any) -> Timestamp:
    end: Timestamp = window.max_timestamp()
    return end


class _OpenPack:
    """A pack that still takes requests in."""

    __slots__ = ("micros", "requests", "size", "superseded")

    def __init__(self, micros: int) -> None:
        self.requests: dict[Any, Request] = {}
        self.size = 0
        self.superseded = 0
        self.micros = micros

    def add(self, request: Request, micros: int) -> int:
        """Takes a request in; returns by how many requests the pack grew."""
        before = len(self.requests)
        if request.identity is None:
            self.requests[before] = request
        else:
            self.superseded += keep_latest(self.requests, (request,))
        self.size += len(request.body)
        self.micros = min(self.micros, micros)
        return len(self.requests) - before


class KeepLatest(beam.DoFn):
    """The stateful step: of the records of a key that wait in a shard, only the latest goes on.

    What waits goes on when a batch of distinct keys is complete, and at the end of the window.
    """

    HELD = BagStateSpec("held", BytesCoder())
    SUMMARY = ReadModifyWriteStateSpec("summary", BytesCoder())
    WINDOW_END = TimerSpec("window_end", TimeDomain.WATERMARK)

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def setup(self) -> None:
        self._sink = self._settings.sink()

    def process(
        self,
        element: tuple[int, bytes],
        window: Any = beam.DoFn.WindowParam,
        held: Any = beam.DoFn.StateParam(HELD),
        summary: Any = beam.DoFn.StateParam(SUMMARY),
        window_end: Any = beam.DoFn.TimerParam(WINDOW_END),
    ) -> Iterable[Pack]:
        whole, anew = self._add(element[1], held, summary)
        if anew:
            window_end.set(window.max_timestamp())
        return whole

    @on_timer(WINDOW_END)
    def at_window_end(
        self,
        window: Any = beam.DoFn.WindowParam,
        held: Any = beam.DoFn.StateParam(HELD),
        summary: Any = beam.DoFn.StateParam(SUMMARY),
    ) -> Iterable[WindowedValue]:
        return self._flush(window, held, summary)

    def _add(self, data: bytes, held: Any, summary: Any) -> tuple[list[Pack], bool]:
        """Adds a pack to what waits.

        Returns:
            The packs that are complete, and whether what waits now is all new.
        """
        batch_size = self._sink.options.sink_batch_max_size
        known, count = _read_summary(summary)
        pack = Pack.from_bytes(data)
        identities = known.union([each.identity for each in pack.requests])
        count += len(pack.requests)
        if len(identities) < batch_size and count < _PACK_REQUESTS:
            held.add(data)
            _write_summary(summary, identities, count)
            return [], not known
        latest = self._latest([*held.read(), data])
        whole = len(latest) - len(latest) % batch_size
        going, staying = latest[:whole], latest[whole:]
        held.clear()
        if staying:
            held.add(Pack(staying).to_bytes())
        _write_summary(summary, {each.identity for each in staying}, len(staying))
        return [Pack(going)] if going else [], bool(going and staying)

    def _flush(self, window: Any, held: Any, summary: Any) -> list[WindowedValue]:
        requests = self._latest(held.read())
        held.clear()
        summary.clear()
        if not requests:
            return []
        micros = min(each.origin[1] for each in requests)
        return [windowed_value(Pack(requests), micros, (window,))]

    def _latest(self, packs: Iterable[bytes]) -> list[Request]:
        latest: dict[str, Request] = {}
        superseded = keep_latest(latest, Pack.joined(packs))
        if superseded:
            _Meters.superseded.inc(superseded)
        return list(latest.values())


class KeepLatestUntilTimeout(KeepLatest):
    """The same for unbounded input: what waits also goes on after `sink.flush-buffer.timeout`.

    A class of its own since the mere presence of a processing-time timer moves a pipeline with
    bounded input to a slower runner, which never fires it.
    """

    TIMEOUT = TimerSpec("flush_timeout", TimeDomain.REAL_TIME)

    def process(
        self,
        element: tuple[int, bytes],
        window: Any = beam.DoFn.WindowParam,
        held: Any = beam.DoFn.StateParam(KeepLatest.HELD),
        summary: Any = beam.DoFn.StateParam(KeepLatest.SUMMARY),
        window_end: Any = beam.DoFn.TimerParam(KeepLatest.WINDOW_END),
        timeout: Any = beam.DoFn.TimerParam(TIMEOUT),
    ) -> Iterable[Pack]:
        whole, anew = self._add(element[1], held, summary)
        if anew:
            window_end.set(window.max_timestamp())
            wait = Duration(micros=self._sink.options.sink_flush_buffer_timeout * 1000)
            timeout.set(Timestamp.now() + wait)
        return whole

    @on_timer(TIMEOUT)
    def at_timeout(
        self,
        window: Any = beam.DoFn.WindowParam,
        held: Any = beam.DoFn.StateParam(KeepLatest.HELD),
        summary: Any = beam.DoFn.StateParam(KeepLatest.SUMMARY),
    ) -> Iterable[WindowedValue]:
        return self._flush(window, held, summary)


def _read_summary(summary: Any) -> tuple[frozenset[str], int]:
    """Which identities wait in a shard, and how many requests that are not merged yet."""
    data = summary.read()
    return pickle.loads(data) if data else (frozenset(), 0)  # noqa: S301 - our own bytes


def _write_summary(summary: Any, identities: Iterable[str | None], count: int) -> None:
    if count:
        summary.write(pickle.dumps((frozenset(identities), count), protocol=5))
    else:
        summary.clear()


class WriteBundle(_Failing):
    """Packs to DynamoDB: full batches at once, the rest and what is left in finish_bundle."""

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

    def process(self, pack: Pack) -> Iterable[Any]:
        return self._run(lambda writer: writer.write(pack.requests))

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

    def _run(self, work: Callable[[Writer], None]) -> list[Any]:
        """Lets the writer work; what it raises leaves nothing on its way to DynamoDB."""
        assert self._writer is not None  # noqa: S101 - start_bundle made it
        try:
            work(self._writer)
            return self._outputs(self._writer.take_tally())
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

    def _outputs(self, tally: Tally) -> list[Any]:
        outputs: list[Any] = [_emitted(request) for request in tally.written]
        outputs += [self._failure(failure) for failure in tally.failures]
        self._tables.update(tally.tables)
        self._report(tally)
        return outputs

    def _failure(self, failure: Failure) -> TaggedOutput:
        request, cause = failure.request, failure.error
        key = self._sink.factory(request.table).key_text(request.body)
        error = WriteError(
            f"The record {key or '(of unknown key)'} could not be written to table "
            f"'{request.table}' in {failure.attempts} attempt(s): {cause.message}",
            code=cause.code,
            table=request.table,
            key=key,
            attempts=failure.attempts,
            retriable=failure.retriable,
        )
        error.__cause__ = cause
        if self._sink.options.sink_fail_on_error:
            raise error
        return self._dead_letter(error, *request.origin)

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
