"""The steps of a write: the DoFns, the state and timers they keep, and their metrics."""

from __future__ import annotations

import logging
import pickle
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

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
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MAX_TIMESTAMP, Duration, Timestamp
from apache_beam.utils.windowed_value import create as windowed_value

from beam_dynamodb.batches import keep_latest
from beam_dynamodb.errors import DynamoDBSinkError, RowError, WriteError
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
    "ToRequest",
    "WriteBundle",
    "WriteLatest",
    "WriteLatestUntilTimeout",
]

_logger = logging.getLogger(__name__)

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


class _Failing(beam.DoFn):
    """A step whose records may fail: into the dead letters if asked for, else the pipeline."""

    def __init__(self, settings: Settings, handling: ErrorHandling | None) -> None:
        self._settings = settings
        self._handling = handling

    def setup(self) -> None:
        self._sink = self._settings.sink()

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


class ToRequest(_Failing):
    """Rows to packs of requests; with keys, the latest of each key in a pack, by shard.

    A pack leaves the windows of its rows: it is in the global window, and each request carries
    its element's windows and timestamp. So no runner drops what is late, sessions need no
    merging state, and a row in many windows is written once.
    """

    def start_bundle(self) -> None:
        self._open: dict[int, _OpenPack] = {}
        self._held = 0
        self._received = 0
        self._ignored = 0
        self._windows: Any = None
        table = self._settings.table
        table = table.get() if isinstance(table, ValueProvider) else table
        self._factory = None if callable(table) else self._sink.factory(str(table))
        self._keyed = bool(self._settings.partitioned_by)
        self._most_held = self._sink.options.sink_requests_max_buffered

    def process(self, element: Any, windowed: Any = beam.DoFn.WindowedValueParam) -> Iterable[Any]:
        self._received += 1
        if windowed.windows is not self._windows:
            self._windows = windowed.windows
            self._origin_windows = tuple(windowed.windows)
        micros = windowed.timestamp_micros
        factory = self._factory
        try:
            factory = factory or self._factory_of(element)
            request = factory.request(element, micros, (element, micros, self._origin_windows))
        except Exception as error:
            return [TaggedOutput(FAILED, self._refused(error, element, factory))]
        if request is None:
            self._ignored += 1
            return ()
        if self._factory is None and request.identity is not None:
            # Records of one identity in two tables are two records.
            request = request._replace(identity=f"{request.table} {request.identity}")
        return self._collect(request, micros)

    def finish_bundle(self) -> Iterator[Any]:
        outputs = self._close_all()
        _Meters.received.inc(self._received)
        if self._ignored:
            _Meters.ignored.inc(self._ignored)
        return iter(outputs)

    def _factory_of(self, element: Any) -> RequestFactory:
        try:
            table = self._settings.table(element)  # type: ignore[operator]
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
        element: Any,
        factory: RequestFactory | None,
        body: bytes | None = None,
    ) -> FailedRecord:
        """The dead letter of a row that can't become a request, told by its key."""
        if isinstance(cause, DynamoDBSinkError) and not isinstance(cause, RowError):
            raise cause
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
        return self._dead_letter(error, element, body)

    def _collect(self, request: Request, micros: int) -> Iterable[Any]:
        """Puts a request into its pack; gives the packs that are ready to go on."""
        identity = request.identity
        shard = shard_of(identity, _SHARDS) if identity is not None else 0
        pack = self._open.get(shard)
        if pack is None:
            pack = self._open[shard] = _OpenPack(micros)
        pack.requests.append(request)
        pack.size += len(request.body)
        pack.micros = min(pack.micros, micros)
        self._held += 1
        if len(pack.requests) >= _PACK_REQUESTS or pack.size >= _PACK_BYTES:
            return self._close(shard, pack)
        return self._close_all() if self._held >= self._most_held else ()

    def _close_all(self) -> list[Any]:
        return [each for item in list(self._open.items()) for each in self._close(*item)]

    def _close(self, shard: int, pack: _OpenPack) -> list[Any]:
        del self._open[shard]
        self._held -= len(pack.requests)
        if not self._keyed:
            return [windowed_value(Pack(pack.requests), pack.micros, _GLOBAL)]
        requests = _latest(pack.requests)
        try:
            data = Pack(requests).to_bytes()
        except Exception:
            return self._close_without_unpicklable(shard, pack, requests)
        return [windowed_value((shard, data), pack.micros, _GLOBAL)]

    def _close_without_unpicklable(
        self, shard: int, pack: _OpenPack, requests: list[Request]
    ) -> list[Any]:
        outputs: list[Any] = []
        fit = []
        for request in requests:
            try:
                Pack([request]).to_bytes()
                fit.append(request)
            except Exception as cause:
                outputs.append(self._unpicklable(cause, request))
        if fit:
            outputs.append(windowed_value((shard, Pack(fit).to_bytes()), pack.micros, _GLOBAL))
        return outputs

    def _unpicklable(self, cause: Exception, request: Request) -> TaggedOutput[str, Any]:
        element, micros, windows = request.origin
        fault = RowError(
            f"partitioned_by sends elements to another worker, and this one, a "
            f"{type(element).__name__}, can't be pickled.",
            code="NotPicklable",
            key=self._sink.factory(request.table).key_text(request.body),
            table=request.table,
        )
        fault.__cause__ = cause
        record = self._refused(fault, repr(element), None, request.body)
        return TaggedOutput(FAILED, windowed_value(record, micros, _OwnWindows(windows)))


class _OpenPack:
    """A pack that still takes requests in."""

    __slots__ = ("micros", "requests", "size")

    def __init__(self, micros: int) -> None:
        self.requests: list[Request] = []
        self.size = 0
        self.micros = micros


class _Writing(_Failing):
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

    def _write(self, requests: Sequence[Request]) -> Iterable[Any]:
        return self._run(lambda writer: writer.write(requests)) if requests else ()

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
        outputs: list[Any] = [windowed_value(*request.origin) for request in tally.written]
        outputs += [self._failure(failure, len(tally.failures)) for failure in tally.failures]
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
        element, micros, windows = request.origin
        record = self._dead_letter(error, element, request.body)
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


class _Waiting(NamedTuple):
    """What waits in a shard.

    Attributes:
        identities: Whose records.
        size: How many of them, not merged yet.
        window_end: When the first window of any of them ends, in microseconds.
    """

    identities: frozenset[str | None]
    size: int
    window_end: int

    @classmethod
    def of(cls, requests: Sequence[Request]) -> _Waiting:
        # Few windows, many requests: look at each tuple of windows once.
        windows = {id(each.origin[2]): each.origin[2] for each in requests}.values()
        ends = [window.max_timestamp().micros for several in windows for window in several]
        identities = frozenset([each.identity for each in requests])
        return cls(identities, len(requests), min(ends, default=MAX_TIMESTAMP.micros))

    def __add__(self, other: _Waiting) -> _Waiting:  # type: ignore[override]
        return _Waiting(
            self.identities | other.identities,
            self.size + other.size,
            min(self.window_end, other.window_end),
        )

    @classmethod
    def read(cls, state: Any) -> _Waiting:
        data = state.read()
        return cls(*pickle.loads(data)) if data else _NOTHING  # noqa: S301 - our own bytes

    def write(self, state: Any) -> None:
        if self.size:
            state.write(pickle.dumps(tuple(self), protocol=5))
        else:
            state.clear()


_NOTHING = _Waiting.of(())


class WriteLatest(_Writing):
    """The stateful step: of the records of a key that wait in a shard, only the latest is written.

    What waits is written when a batch of distinct keys is complete, and at the end of the first
    window of any of it. State and writer are in one step, so that whatever a runner does between
    steps, two writes of a key never overtake each other.
    """

    HELD = BagStateSpec("held", BytesCoder())
    SUMMARY = ReadModifyWriteStateSpec("summary", BytesCoder())
    WINDOW_END = TimerSpec("window_end", TimeDomain.WATERMARK)

    def process(
        self,
        element: tuple[int, bytes],
        held: Any = beam.DoFn.StateParam(HELD),
        summary: Any = beam.DoFn.StateParam(SUMMARY),
        window_end: Any = beam.DoFn.TimerParam(WINDOW_END),
    ) -> Iterable[Any]:
        return self._add(element[1], held, summary, window_end)

    @on_timer(WINDOW_END)
    def at_window_end(
        self,
        held: Any = beam.DoFn.StateParam(HELD),
        summary: Any = beam.DoFn.StateParam(SUMMARY),
    ) -> Iterable[Any]:
        return self._flush(held, summary)

    def _add(
        self, data: bytes, held: Any, summary: Any, window_end: Any, timeout: Any = None
    ) -> Iterable[Any]:
        """Adds a pack to what waits, writes the batches that are complete, and sets the timers."""
        batch_size = self._sink.options.sink_batch_max_size
        before = _Waiting.read(summary)
        arrived = Pack.from_bytes(data).requests
        after = before + _Waiting.of(arrived)
        going: list[Request] = []
        if len(after.identities) < batch_size and after.size < _PACK_REQUESTS:
            _hold(held, before.size, data)
        else:
            latest = _latest([*_held(held), *arrived])
            whole = len(latest) - len(latest) % batch_size
            going, staying = latest[:whole], latest[whole:]
            # Those that waited before are the first of the latest, so if any go, these all go.
            before = _NOTHING if going else before
            after = _Waiting.of(staying)
            held.clear()
            if staying:
                _hold(held, 0, Pack(staying).to_bytes())
        after.write(summary)
        if after.window_end < before.window_end:
            window_end.set(Timestamp(micros=after.window_end))
        if timeout is not None and after.size and not before.size:
            wait = Duration(micros=self._sink.options.sink_flush_buffer_timeout * 1000)
            timeout.set(Timestamp.now() + wait)
        return self._write(going)

    def _flush(self, held: Any, summary: Any) -> Iterable[Any]:
        requests = _latest(_held(held))
        held.clear()
        summary.clear()
        return self._write(requests)


def _latest(requests: Iterable[Request]) -> list[Request]:
    """The latest request of each identity; counts the others."""
    latest: dict[str, Request] = {}
    superseded = keep_latest(latest, requests)
    if superseded:
        _Meters.superseded.inc(superseded)
    return list(latest.values())


def _hold(held: Any, place: int, data: bytes) -> None:
    # A bag has no order of its own.
    held.add(place.to_bytes(4, "big") + data)


def _held(held: Any) -> list[Request]:
    return Pack.joined(data[4:] for data in sorted(held.read()))


class WriteLatestUntilTimeout(WriteLatest):
    """The same for unbounded input: what waits is also written after `sink.flush-buffer.timeout`.

    A class of its own since the mere presence of a processing-time timer moves a pipeline with
    bounded input to a slower runner, which never fires it.
    """

    TIMEOUT = TimerSpec("flush_timeout", TimeDomain.REAL_TIME)

    def process(
        self,
        element: tuple[int, bytes],
        held: Any = beam.DoFn.StateParam(WriteLatest.HELD),
        summary: Any = beam.DoFn.StateParam(WriteLatest.SUMMARY),
        window_end: Any = beam.DoFn.TimerParam(WriteLatest.WINDOW_END),
        timeout: Any = beam.DoFn.TimerParam(TIMEOUT),
    ) -> Iterable[Any]:
        return self._add(element[1], held, summary, window_end, timeout)

    @on_timer(TIMEOUT)
    def at_timeout(
        self,
        held: Any = beam.DoFn.StateParam(WriteLatest.HELD),
        summary: Any = beam.DoFn.StateParam(WriteLatest.SUMMARY),
    ) -> Iterable[Any]:
        return self._flush(held, summary)
