"""What was asked of one sink, and what all its steps in one worker process share."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import apache_beam as beam
from apache_beam.options.value_provider import StaticValueProvider, ValueProvider
from apache_beam.utils.shared import Shared

from beam_dynamodb.client import DynamoDB
from beam_dynamodb.errors import OptionError, RowError
from beam_dynamodb.gate import Gate
from beam_dynamodb.options import SinkOptions, keyword_of
from beam_dynamodb.requests import ChangeKind, RequestFactory
from beam_dynamodb.table import TableKey, is_table_name
from beam_dynamodb.version import __version__
from beam_dynamodb.writer import Writer, WriterLimits

__all__ = [
    "BESIDE",
    "KEYWORDS",
    "ErrorHandling",
    "Settings",
    "Sink",
    "attribute_names",
    "parse_known",
]

_logger = logging.getLogger(__name__)

_PACK_SHARE = 25
"""One row of so many in a full buffer may be one that waits to be packed."""

_USER_AGENT = f"apache-beam/{beam.version.__version__} beam-dynamodb/{__version__}"

KEYWORDS = frozenset(each.keyword for each in SinkOptions.declared())
"""The options that are keyword arguments of `WriteToDynamoDB`."""

BESIDE = ("partitioned_by", "primary_key", "order_by", "change_kind")
"""Its keyword arguments that are no options of the connector."""


@dataclass(frozen=True, slots=True)
class ErrorHandling:
    """What `with_exception_handling` was asked for."""

    exc_class: type[BaseException] | tuple[type[BaseException], ...] = Exception
    threshold: float = 1.0
    threshold_windowing: Any = None
    error_handler: Any = None
    on_failure_callback: Callable[[Exception, Any], None] | None = None

    def __post_init__(self) -> None:
        share = self.threshold
        is_number = isinstance(share, (int, float)) and not isinstance(share, bool)
        if not (is_number and 0 <= share <= 1):
            raise OptionError(
                "'threshold' must be the share of records that may fail, a number from 0 to 1.",
                option="threshold",
            )

        kinds = self.exc_class if isinstance(self.exc_class, tuple) else (self.exc_class,)
        if not all(isinstance(each, type) and issubclass(each, BaseException) for each in kinds):
            raise OptionError(
                "'exc_class' must be a class of exceptions, such as ValueError, or several.",
                option="exc_class",
            )

    def for_workers(self) -> ErrorHandling:
        """Without what belongs to the pipeline's construction, and can't be pickled."""
        return replace(self, error_handler=None, threshold_windowing=None)


def parse_known(given: Mapping[str, Any], may_miss: Iterable[str] = ()) -> SinkOptions:
    """The options that are known when the pipeline is built; the others are checked later."""
    told = {key: _static(each) for key, each in given.items()}
    known = {key: each for key, each in told.items() if not isinstance(each, ValueProvider)}
    return SinkOptions.parse(
        known, may_miss=[*may_miss, *(given.keys() - known.keys())], beside=BESIDE
    )


def _static(value: Any) -> Any:
    return value.get() if isinstance(value, StaticValueProvider) else value


def _is_late_credential(key: str, value: Any) -> bool:
    is_credential = keyword_of(key).startswith("aws_credentials")
    return is_credential and isinstance(_static(value), ValueProvider)


def attribute_names(option: str, names: Sequence[str]) -> tuple[str, ...]:
    """The names of attributes that an option gives; one name may stand alone."""
    names = tuple(names) if isinstance(names, Iterable) and not isinstance(names, str) else (names,)
    if not all(isinstance(each, str) and each for each in names):
        raise OptionError(
            f"'{option}' must be names of attributes, such as ['user_id'].", option=option
        )
    if len(set(names)) != len(names):
        raise OptionError(
            f"'{option}' names an attribute twice: {', '.join(names)}.", option=option
        )
    return names


@dataclass(frozen=True, repr=False)
class Settings:
    """What was asked of one sink; travels to the workers."""

    table: str | ValueProvider | Callable[[Any], str]
    given: Mapping[str, Any]
    partitioned_by: tuple[str, ...]
    primary_key: tuple[str, ...]
    order_by: str | None
    change_kind: ChangeKind
    shared: Shared

    def __post_init__(self) -> None:
        for name in ("table", "order_by", "change_kind"):
            value = getattr(self, name)
            if isinstance(value, str):  # such as an Enum, of which str() is the name
                object.__setattr__(self, name, str.__str__(value))

    def check(self) -> None:
        """Refuses at construction what can be refused then, and warns of what has no effect."""
        options = parse_known(self.given, self._may_miss)
        if len(self.primary_key) > 2:
            raise OptionError(
                f"'primary_key' has at most two attributes, the partition key and the sort key, "
                f"not {len(self.primary_key)}.",
                option="primary_key",
            )
        if self.order_by is not None and not (isinstance(self.order_by, str) and self.order_by):
            raise OptionError("'order_by' must be the name of an attribute.", option="order_by")
        kind = self.change_kind
        if not (kind is None or callable(kind) or (isinstance(kind, str) and kind)):
            raise OptionError(
                "'change_kind' must be the name of an attribute or a callable.",
                option="change_kind",
            )
        if kind is not None and kind in (self.order_by, *self.primary_key, *self.partitioned_by):
            raise OptionError(
                f"'change_kind' is '{kind}', which is no attribute of what is written: it can be "
                "neither part of a key nor 'order_by'.",
                option="change_kind",
            )
        if self.order_by is not None and not self.partitioned_by:
            raise OptionError(
                "'order_by' says which record of a key is the latest, so it needs "
                "'partitioned_by', the key.",
                option="order_by",
            )
        if not any(map(_is_late_credential, self.given, self.given.values())):
            for sentence in options.without_effect():
                _logger.warning(sentence)

    def sink(self) -> Sink:
        """The sink of this process, made by whichever step needs it first."""
        sink: Sink = self.shared.acquire(lambda: Sink(self))
        return sink

    def options(self) -> SinkOptions:
        """All options; on a worker every value is known."""
        return SinkOptions.parse(
            {
                key: each.get() if isinstance(each, ValueProvider) else each
                for key, each in self.given.items()
            },
            may_miss=self._may_miss,
        )

    @property
    def _may_miss(self) -> tuple[str, ...]:
        return ("table_name",) if callable(self.table) else ()


class Sink:
    """One sink in one worker process: what all its steps and bundles share. Thread-safe.

    Attributes:
        options: The options.
        pack_share: How many of `sink.requests.max-buffered` rows may wait to be packed; the writers
            hold the others.
    """

    def __init__(self, settings: Settings) -> None:
        self.options = settings.options()
        self._settings = settings
        self._lock = threading.RLock()
        self._service: DynamoDB | None = None
        self._factories: dict[str, RequestFactory] = {}
        buffered = self.options.sink_requests_max_buffered
        self.pack_share = buffered // _PACK_SHARE
        self._limits = WriterLimits(
            batch_size=self.options.sink_batch_max_size,
            retry_timeout=0.0
            if self.options.sink_fail_on_error
            else self.options.sink_retry_timeout / 1000,
            in_flight=Gate(self.options.sink_requests_max_inflight),
            buffered=Gate(buffered - self.pack_share),
        )

    @property
    def service(self) -> DynamoDB:
        """DynamoDB, reached when it is first needed."""
        with self._lock:
            if self._service is None:
                self._service = DynamoDB(self.options, user_agent=_USER_AGENT)
            return self._service

    def writer(self) -> Writer:
        """A new writer, for one thread."""
        return Writer(self.service.channel(), self._limits)

    def factory(self, table: str) -> RequestFactory:
        """What makes requests for a table."""
        with self._lock:
            if table not in self._factories:
                self._factories[table] = self._new_factory(table)
            return self._factories[table]

    def forget_tables(self) -> None:
        """One is gone: when it is made again, its key may be another one."""
        with self._lock:
            self._factories.clear()
            self.service.forget_keys()

    def _new_factory(self, table: str) -> RequestFactory:
        settings = self._settings
        if not is_table_name(table):
            raise RowError(
                f"'{table[:255]}' can't be the name of a table.", code="InvalidTable", table=table
            )
        told = TableKey(settings.primary_key) if settings.primary_key else None
        key = told or self.service.table_key(table)
        if key is not None and settings.partitioned_by:
            _warn_of_other_key(table, key, settings.partitioned_by)
        if key is None and not settings.partitioned_by:
            _logger.warning(
                "The key of table '%s' is unknown, since dynamodb:DescribeTable is not allowed: to "
                "keep the order of writes, one batch is written after the other. Set primary_key "
                "to write many at once.",
                table,
            )
        return RequestFactory(
            table=table,
            table_key=key,
            partitioned_by=settings.partitioned_by,
            order_by=settings.order_by,
            change_kind=settings.change_kind,
            ignore_nulls=self.options.sink_ignore_nulls,
        )


def _warn_of_other_key(table: str, key: TableKey, partitioned_by: tuple[str, ...]) -> None:
    if set(key.names) <= set(partitioned_by):
        return
    is_split = not set(partitioned_by) <= set(key.names)
    _logger.warning(
        "partitioned_by (%s) does not cover the key of table '%s' (%s): of items that differ "
        "only in the rest of the key, just the latest in a batch is written.%s",
        ", ".join(partitioned_by),
        table,
        key,
        " Where an item is part of several records, any of them may stay." if is_split else "",
    )
