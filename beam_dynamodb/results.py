"""What comes out of a write: the written elements, and the failed ones with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from apache_beam.pvalue import PCollection

from beam_dynamodb.requests import Delete, Put

__all__ = ["FailedRecord", "WriteResult"]


class FailedRecord(NamedTuple):
    """A record that was not written, in the shape of Beam's dead letters and more.

    The first two fields are those of `with_exception_handling`: `(element, (type, repr,
    [traceback lines]))`.

    Attributes:
        element: The input element; where that can't be pickled, what of it a line of
            `WriteDeadLetters` brings back, a dict instead of a row.
        error: The exception's type, its repr, its traceback's lines.
        code: The error code, AWS's or one of `RowError`'s.
        message: What is wrong, in words.
        table: The table, where it is known.
        key: The record's key as text, where it is known.
        attempts: How many requests carried the record; 0 if it was refused before.
        retriable: Whether the same write may succeed later.
        request: The WriteRequest in DynamoDB's JSON, `{"PutRequest":…}` or `{"DeleteRequest":…}`,
            where the record had become one; None if it was refused before.
        beside: What `request` does not tell, and whoever writes the record again needs; None if
            it tells all. Of a delete what `order_by` and `partitioned_by` name beside its key, in
            DynamoDB's JSON; and a time that `order_by` names as a date or datetime of Python.
        change: Of a row that was refused before it became a request, what it is by its change kind:
            a `Put` or `Delete` without the field that told it. None where nothing tells it.
    """

    element: Any
    error: tuple[type, str, list[str]]
    code: str
    message: str
    table: str | None
    key: str | None
    attempts: int
    retriable: bool
    request: bytes | None = None
    beside: Mapping[str, Any] | None = None
    change: Put | Delete | None = None


class WriteResult(NamedTuple):
    """What `WriteToDynamoDB` returns.

    Attributes:
        written: The elements that DynamoDB acknowledged, with the windows and timestamps they
            had. Fit for `beam.WaitOn`.
        failed: `FailedRecord`s, likewise; None unless dead letters were asked for.
    """

    written: PCollection[Any]
    failed: PCollection[FailedRecord] | None
