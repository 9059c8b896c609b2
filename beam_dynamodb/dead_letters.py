"""A dead letter as one line of JSON, and the record to write again that such a line holds.

Knows nothing of Beam or of files.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from beam_dynamodb import tagged_json
from beam_dynamodb.errors import DeadLetterError
from beam_dynamodb.requests import Delete, Put, is_delete
from beam_dynamodb.tagged_json import Unreadable
from beam_dynamodb.times import EPOCH, MICROSECOND, epoch_micros
from beam_dynamodb.values import python_value
from beam_dynamodb.version import __version__
from beam_dynamodb.write_requests import item_of

__all__ = ["DeadLetter", "TableRow", "Unreadable", "portable", "table_of"]

_MOST_MICROS = 9_223_372_036_854_775_000
"""The first and the last moment of Beam's time are so far from 1970."""

PUT, DELETE, DELETE_OF_ROW, ROW = "put", "delete", "delete_of_row", "row"


class TableRow(dict[Any, Any]):
    """A row, or a key to delete, that knows the table it was meant for.

    Attributes:
        table: The table, or None where the dead letter does not tell it.
    """

    def __init__(self, attributes: dict[Any, Any], table: str | None) -> None:
        super().__init__(attributes)
        self.table = table

    def __reduce__(self) -> Any:
        return TableRow, (dict(self), self.table)


def table_of(element: Any) -> str:
    """The table that a replayed element is meant for; a `table` for `WriteToDynamoDB`.

    Args:
        element: What `DeadLetter.record` gave.

    Raises:
        DeadLetterError: The dead letter did not tell the table.
    """
    row = element.row if isinstance(element, Put) else element
    row = row.key if isinstance(row, Delete) else row
    if row.table is None:
        raise DeadLetterError("The dead letter tells no table: name the table to write to.")
    return str(row.table)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that was not written, and why.

    Attributes:
        element: What was to be written. An item or key in DynamoDB's JSON where the record had
            become a request, but Python's values where a time orders it; else the row as it was.
        operation: `put`; `delete`, whose element is a key; `delete_of_row`, whose element is a row
            with the key in it; or `row` for what the sink's `change_kind` makes of it, else a put.
            None for what is no record of a sink, but the input of a step before it, and so can't be
            written as it is.
        table: The table, where it is known.
        key: The record's key as text, where it is known.
        code: The error code: AWS's, one of `RowError`'s, or the name of an exception's type.
        message: What is wrong, in words.
        attempts: How many requests carried the record.
        retriable: Whether the same write may succeed later.
        timestamp: The element's event time in microseconds since 1970, where it had one.
        version: The version of this package that wrote the line.
        beside: Of a delete, what `order_by` and `partitioned_by` name beside its key; only there
            where it is needed.
    """

    element: Any
    operation: str | None = None
    table: str | None = None
    key: str | None = None
    code: str = "Unknown"
    message: str = ""
    attempts: int = 0
    retriable: bool = False
    timestamp: int | None = None
    version: str = __version__
    beside: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, failed: Any, timestamp: int | None = None) -> DeadLetter:
        """The dead letter of a failed record.

        Args:
            failed: A `FailedRecord`; or what Beam's own `with_exception_handling` gives,
                `(element, (type, repr, traceback))`; or a `DeadLetter`, which keeps what it has.
            timestamp: The event time in microseconds since 1970, where it is known.
        """
        if isinstance(failed, DeadLetter):
            if failed.timestamp is not None or timestamp is None:
                return failed
            return dataclasses.replace(failed, timestamp=timestamp)
        element, (kind, text, _) = failed[0], failed[1]
        if not hasattr(failed, "attempts"):
            return cls(element, code=kind.__name__, message=text, timestamp=timestamp)
        operation, content = _content(element, failed)
        return cls(
            content,
            operation,
            failed.table,
            failed.key,
            failed.code,
            failed.message,
            failed.attempts,
            failed.retriable,
            timestamp,
            beside=failed.beside or getattr(element, "beside", None)
            if operation == DELETE
            else None,
        )

    @classmethod
    def from_line(cls, line: str) -> DeadLetter:
        """The dead letter that `to_line` made a line of, or that somebody wrote or mended.

        Only `element` must be there; `operation` should.

        Raises:
            DeadLetterError: The line is no dead letter; it says what is wrong.
        """
        try:
            fields = tagged_json.loads(line)
        except ValueError as cause:
            raise DeadLetterError(f"The line is no dead letter: {cause}.") from cause
        if not isinstance(fields, dict) or "element" not in fields:
            raise DeadLetterError("The line is no dead letter: it must be an object with element.")
        for name, value in fields.items():
            rule = _FIELDS.get(name)
            if rule is None or not rule(value):
                wrong = "is no field of it" if rule is None else "has no value that it may have"
                raise DeadLetterError(f"The line is no dead letter: '{name}' {wrong}.")
        return cls(**{**fields, "timestamp": _micros(fields.get("timestamp"))})

    def to_line(self) -> str:
        """One line of JSON, in UTF-8 without half surrogate pairs, without the line's end.

        Types stay as they are, see `tagged_json.dumps`. Never fails, whatever the element is.
        """
        names = [each.name for each in dataclasses.fields(self)]
        facts = {name: getattr(self, name) for name in [*names[1:], names[0]]}
        if facts["beside"] is None:
            del facts["beside"]
        return tagged_json.dumps({**facts, "timestamp": _time_text(self.timestamp)})

    def record(self) -> Any:
        """What `WriteToDynamoDB` takes to write the record again.

        Returns:
            A `Put`, a `Delete`, or for `row` the row itself; its attributes are a `TableRow`.

        Raises:
            DeadLetterError: It can't be written before it is mended.
        """
        element = self.element
        if self.operation is None:
            raise DeadLetterError(
                "It is not a record of the sink but the input of a step before it: make 'element' "
                "the row to write, and 'operation' put or delete."
            )
        lost = tagged_json.unreadable(element)
        if lost is not None:
            path = lost[0].removeprefix(".") or "element"
            raise DeadLetterError(
                f"'{path}' was a {lost[1].kind}, which JSON can't bring back: put a value there."
            )
        if not isinstance(element, dict):
            raise DeadLetterError(f"'element' is no row but a {type(element).__name__}.")
        row = TableRow(element, self.table)
        if self.operation in (DELETE, DELETE_OF_ROW):
            if not isinstance(self.beside, (dict, type(None))):
                raise DeadLetterError(f"'beside' is no row but a {type(self.beside).__name__}.")
            return Delete(row, self.beside, self.operation == DELETE_OF_ROW)
        return Put(row) if self.operation == PUT else row


def portable(element: Any) -> Any:
    """What a line can hold of an element, which can be pickled whatever the element is.

    A row is a dict then; what JSON can't bring back is an `Unreadable`.
    """
    if isinstance(element, Put):
        return Put(portable(element.row))
    if isinstance(element, Delete):
        return Delete(portable(element.key), portable(element.beside), element.of_row)
    return tagged_json.loads(tagged_json.dumps(element))


def _content(element: Any, failed: Any) -> tuple[str | None, Any]:
    """The operation of a sink's element, and the row or key to write again."""
    if failed.request is None:
        element = failed.change or element
        if isinstance(element, Put):
            return PUT, element.row
        if isinstance(element, Delete):
            return (DELETE_OF_ROW if element.of_row else DELETE), element.key
        return ROW, element
    item = item_of(failed.request)
    if is_delete(failed.request):
        return DELETE, item
    if not failed.beside:
        return PUT, item
    # Wire form holds no time, and no row is half in wire form.
    row = {name: python_value(value, Decimal) for name, value in item.items()}
    return PUT, {**row, **failed.beside}


def _time_text(micros: int | None) -> str | int | None:
    if micros is None:
        return None
    try:
        moment = EPOCH + micros * MICROSECOND
    except OverflowError:  # Beam's time goes on where the calendar of Python ends
        return micros
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _micros(time: int | str | None) -> int | None:
    if not isinstance(time, str):
        return time
    moment = _moment(time)
    assert moment is not None  # noqa: S101 - its rule said so
    return epoch_micros(moment)


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None


def _is_int(value: Any) -> bool:
    return type(value) is int


def _is_time(value: Any) -> bool:
    if _is_int(value):
        return bool(abs(value) <= _MOST_MICROS)
    return value is None or (_is_text(value) and _moment(value) is not None)


def _is_text(value: Any) -> bool:
    return type(value) is str


def _is_text_or_none(value: Any) -> bool:
    return value is None or type(value) is str


_FIELDS: dict[str, Callable[[Any], bool]] = {
    "element": lambda _: True,
    "operation": lambda value: value in (PUT, DELETE, DELETE_OF_ROW, ROW, None),
    "table": _is_text_or_none,
    "key": _is_text_or_none,
    "code": _is_text,
    "message": _is_text,
    "attempts": _is_int,
    "retriable": lambda value: type(value) is bool,
    "timestamp": _is_time,
    "version": _is_text,
    "beside": lambda _: True,
}
"""What a line may hold, and the rule for it."""
