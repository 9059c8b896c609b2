"""The step of a sink that a CREATE TABLE declares: rows to its columns, by their types."""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from typing import Any

import apache_beam as beam
from apache_beam.metrics.metric import Metrics
from apache_beam.options.value_provider import ValueProvider
from apache_beam.pvalue import TaggedOutput

from beam_dynamodb.errors import RowError
from beam_dynamodb.requests import ChangeKind, Delete, Put
from beam_dynamodb.results import FailedRecord
from beam_dynamodb.sink import ErrorHandling, Settings
from beam_dynamodb.sql_types import Column, convert_row
from beam_dynamodb.steps import FAILED, NAMESPACE

__all__ = ["Columns", "ToColumns"]


class Columns:
    """The columns that are declared, and the field of a change kind beside them."""

    def __init__(self, columns: tuple[Column, ...], change_kind: ChangeKind = None) -> None:
        self._columns = columns
        self._passed = (change_kind,) if isinstance(change_kind, str) else ()

    def prepare(self) -> None:
        """Makes the converters, which no pickle carries."""
        self._row = convert_row(self._columns, self._passed)
        self._by_name = {each.name: each for each in self._columns}

    def converted(self, element: Any) -> Any:
        """A row, `Put` or `Delete` with its values as the columns declare them.

        Raises:
            RowError: A value is not of its column's type; or as `convert_row`.
        """
        if isinstance(element, Put):
            return Put(self._row(element.row))
        if isinstance(element, Delete):
            names = [name for name in element.key if name in self._by_name]
            key = tuple(self._by_name[name] for name in names)
            return Delete(convert_row(key)(element.key))
        return self._row(element)


class ToColumns(beam.DoFn):
    """Rows to rows of the declared columns."""

    _received = Metrics.counter(NAMESPACE, "received")
    _failed = Metrics.counter(NAMESPACE, "failed")

    def __init__(
        self, columns: Columns, settings: Settings, handling: ErrorHandling | None
    ) -> None:
        self._columns = columns
        self._settings = settings
        self._handling = handling

    def setup(self) -> None:
        """Makes the converters."""
        self._columns.prepare()

    def process(self, element: Any) -> Iterable[Any]:
        """Gives the row, or the dead letter of it."""
        try:
            return [self._columns.converted(element)]
        except RowError as fault:
            return [TaggedOutput(FAILED, self._dead_letter(element, fault))]

    def _dead_letter(self, element: Any, fault: RowError) -> FailedRecord:
        """The dead letter of a row, or the error itself where none is wanted."""
        table = self._settings.table
        table = str(table.get() if isinstance(table, ValueProvider) else table)
        error = RowError(
            f"A row can't be written to table '{table}': {fault.message}",
            code=fault.code,
            path=fault.path,
            table=table,
        )
        error.__cause__ = fault.__cause__
        handling = self._handling
        if handling is None or not isinstance(error, handling.exc_class):
            raise error
        if handling.on_failure_callback is not None:
            handling.on_failure_callback(error, element)
        self._received.inc()
        self._failed.inc()
        lines = traceback.format_exception(error)
        kind = (type(error), repr(error), lines)
        return FailedRecord(
            element, kind, error.code, error.message, table, None, 0, retriable=False
        )
