"""Pub/Sub to DynamoDB: the pipeline of the Flex template `pubsub`."""

from __future__ import annotations

import dataclasses
import gzip
import json
import zlib
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, NoReturn

import apache_beam as beam
from apache_beam.metrics.metric import Metrics
from apache_beam.pvalue import PCollection, TaggedOutput
from apache_beam.transforms.error_handling import ErrorHandler
from apache_beam.transforms.window import TimestampedValue
from apache_beam.utils.timestamp import Timestamp

from beam_dynamodb import DeadLetterError, DynamoDBSinkError, Put, RowError
from beam_dynamodb.dead_letters import DeadLetter
from pipelines.columns import Columns
from templates.main import main as run
from templates.parameters import PUBSUB
from templates.rows import (
    KIND,
    Values,
    check_one_of,
    check_topics,
    columns_of,
    failures_to,
    is_replay,
    is_true,
    write,
)

__all__ = ["NAMESPACE", "ToRows", "build", "main"]

NAMESPACE = "beam_dynamodb.messages"
"""The namespace of the counters `read` and `refused`."""

_REFUSED = "refused"
_GZIP = b"\x1f\x8b"
_TRUE, _FALSE = (True, 1, "true", "1"), (False, 0, "false", "0", "", None)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs it; see `templates.main`."""
    return run(PUBSUB, build, argv)


def build(pipeline: beam.Pipeline, values: Values) -> None:
    """Puts its steps into a pipeline.

    Raises:
        OptionError: A parameter is not allowed.
    """
    check_topics(values)
    messages = pipeline | "Read" >> _source(values)
    with failures_to(values.get("dead_letters")) as handler:
        write(_rows(messages, values, handler), _with_kind(values), handler)


def _source(values: Values) -> Any:
    check_one_of(values, "input_subscription", "input_topic")
    return beam.io.ReadFromPubSub(
        topic=values.get("input_topic"),
        subscription=values.get("input_subscription"),
        id_label=values.get("id_attribute"),
        timestamp_attribute=values.get("timestamp_attribute"),
    )


def _rows(
    messages: PCollection[bytes], values: Values, handler: ErrorHandler | None
) -> PCollection[Any]:
    rows, refused = messages | "ToRows" >> beam.ParDo(
        ToRows(
            columns=Columns.parse(**columns_of(values)),
            change_kind=values.get("change_kind"),
            delete_flag=values.get("delete_flag"),
            replays=is_replay(values),
            only_retriable=is_true(values.get("only_retriable")),
            handled=handler is not None,
        )
    ).with_outputs(_REFUSED, main="rows")
    refused.element_type = DeadLetter
    if handler is not None:
        handler.add_error_pcollection(refused)
    return rows


def _with_kind(values: Values) -> Values:
    """The sink's parameters; a delete flag without a change kind brings one of its own."""
    if values.get("delete_flag") and not values.get("change_kind") and not is_replay(values):
        return {**values, "change_kind": KIND}
    return values


class ToRows(beam.DoFn):
    """Messages to rows fit for `WriteToDynamoDB`; messages that are none to dead letters.

    A message is an object of JSON in UTF-8, whose numbers keep all their digits.
    """

    _read = Metrics.counter(NAMESPACE, "read")
    _refused = Metrics.counter(NAMESPACE, "refused")

    def __init__(
        self,
        *,
        columns: Columns | None = None,
        change_kind: str | None = None,
        delete_flag: str | None = None,
        replays: bool = False,
        only_retriable: bool = False,
        handled: bool = False,
    ) -> None:
        """Reads nothing yet.

        Args:
            columns: What becomes of the object's members.
            change_kind: The member that says what a message is; a put where there is none.
            delete_flag: The member that is true where a message is a deletion, whatever
                `change_kind` says of it.
            replays: Whether messages are dead letters.
            only_retriable: Of dead letters: whether those are left out that would fail again.
            handled: Whether what is refused goes on as a `DeadLetter`, instead of failing.
        """
        self._columns = columns or Columns()
        self._change_kind = change_kind
        self._delete_flag = delete_flag
        self._replays = replays
        self._only_retriable = only_retriable
        self._handled = handled

    def process(self, message: bytes) -> Iterable[Any]:
        """Yields the row, if there is one; that of a dead letter at the event time that it had.

        Raises:
            RowError: The message is no row, and nobody handles that.
            DeadLetterError: It is no dead letter, or must be mended first.
        """
        self._read.inc()
        try:
            return self._replayed(message) if self._replays else [self._row(message)]
        except (RowError, DeadLetterError) as fault:
            if not self._handled:
                raise
            self._refused.inc()
            return [TaggedOutput(_REFUSED, self._letter(message, fault))]

    def _row(self, message: bytes) -> Any:
        try:
            text = message.decode("utf-8-sig")
            found = json.loads(text, parse_float=Decimal, parse_constant=_no_constant)
        except (ValueError, RecursionError) as cause:
            raise RowError(
                f"The message is no JSON in UTF-8: {_place(cause)}.", code="InvalidMessage"
            ) from cause
        if not isinstance(found, dict):
            raise RowError("The message is no object of JSON.", code="InvalidMessage")
        deleted = self._is_deleted(found)
        row = self._columns.row(found)
        if deleted:  # of the row's attributes, the sink picks the key's
            return {**row, self._change_kind or KIND: "-D"}
        if self._change_kind is not None:
            row.setdefault(self._change_kind, "+I")
            return row
        return row if self._delete_flag is None else Put(row)

    def _is_deleted(self, row: dict[str, Any]) -> bool:
        flag = self._delete_flag
        value = None if flag is None else row.pop(flag, None)
        if isinstance(value, (list, dict)) or value not in (*_TRUE, *_FALSE):
            raise RowError(f"'{flag}' must be true or false.", code="InvalidValue", path=flag or "")
        return value in _TRUE

    def _replayed(self, message: bytes) -> list[Any]:
        letter = DeadLetter.from_line(_line(message).decode("utf-8", "surrogateescape"))
        if self._only_retriable and not letter.retriable:
            return []
        if letter.timestamp is None:
            return [letter.record()]
        return [TimestampedValue(letter.record(), Timestamp(micros=letter.timestamp))]

    def _letter(self, message: bytes, fault: DynamoDBSinkError) -> DeadLetter:
        line = _line(message) if self._replays else message
        text = line.decode("utf-8", "backslashreplace")
        letter = _as_letter(text) if self._replays else None
        if letter is not None:  # it stays what it was, but for what is said of it
            return dataclasses.replace(letter, message=f"{fault} {letter.message}".rstrip())
        code = getattr(fault, "code", "InvalidDeadLetter")
        return DeadLetter(text, code=code, message=str(fault))


def _line(message: bytes) -> bytes:
    """The line of a dead letter; one that is too long for a message is compressed in it."""
    try:
        return gzip.decompress(message) if message.startswith(_GZIP) else message
    except (OSError, EOFError, zlib.error):
        return message  # no line either, and refused as such


def _as_letter(text: str) -> DeadLetter | None:
    try:
        return DeadLetter.from_line(text)
    except DeadLetterError:
        return None


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _place(fault: Exception) -> str:
    if isinstance(fault, json.JSONDecodeError):
        return f"{fault.msg} at character {fault.pos}"
    if isinstance(fault, RecursionError):
        return "it is nested too deeply"
    return "it is no text" if isinstance(fault, UnicodeDecodeError) else str(fault)
