"""The step of a sink that a CREATE TABLE declares: rows to its columns, by their types."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from apache_beam.options.value_provider import ValueProvider
from apache_beam.pvalue import TaggedOutput

from beam_dynamodb.failing import FAILED, Failing
from beam_dynamodb.meters import Meters
from beam_dynamodb.requests import ChangeKind, Delete, Put
from beam_dynamodb.sink import ErrorHandling, Settings
from beam_dynamodb.sql_types import Column, convert_part, convert_row
from beam_dynamodb.values import row_mapping

__all__ = ["Columns", "ToColumns"]


class Columns:
    """The columns that are declared, and the field of a change kind among or beside them."""

    def __init__(self, columns: tuple[Column, ...], change_kind: ChangeKind = None) -> None:
        self._columns = columns
        self._passed = (change_kind,) if isinstance(change_kind, str) else ()

    def prepare(self) -> None:
        """Makes the converters, which no pickle carries."""
        self._row = convert_row(self._columns, self._passed)
        others = tuple(each for each in self._columns if each.name not in self._passed)
        self._row_without_kind = convert_row(others)
        self._key = convert_part(self._columns, self._passed)

    def converted(self, element: Any) -> Any:
        """A row, `Put` or `Delete` with its values as the columns declare them.

        Raises:
            RowError: A value is not of its column's type; or as `convert_row`.
        """
        if isinstance(element, Put):
            return Put(self._put(element.row))
        if isinstance(element, Delete):
            beside = None if element.beside is None else self._key(element.beside)
            return Delete(self._key(element.key), beside, element.of_row)
        return self._row(element)

    def _put(self, row: Any) -> Any:
        """The row of a `Put`, which needs no change kind: its column is not made NULL."""
        fields = row_mapping(row)
        tells_kind = all(name in fields for name in self._passed)
        return self._row(fields) if tells_kind else self._row_without_kind(fields)


class ToColumns(Failing):
    """Rows to rows of the declared columns."""

    def __init__(
        self, columns: Columns, settings: Settings, handling: ErrorHandling | None
    ) -> None:
        super().__init__(settings, handling)
        self._columns = columns

    def setup(self) -> None:
        super().setup()
        self._columns.prepare()

    def process(self, element: Any) -> Iterable[Any]:
        try:
            return [self._columns.converted(element)]
        except Exception as cause:
            return self._refused(cause, element)

    def _refused(self, cause: Exception, element: Any) -> Iterable[Any]:
        """The dead letter of a row that does not fit, told as the later steps tell theirs."""
        table = self._settings.table
        table = str(table.get() if isinstance(table, ValueProvider) else table)
        factory = self._sink.factory(table)
        error = self._row_error(cause, element, factory)
        Meters.received.inc()  # as no later step gets to see it
        if factory.is_ignored(element):
            Meters.ignored.inc()
            return []
        record = self._dead_letter(error, element, change=factory.change_of(element))
        return [TaggedOutput(FAILED, record)]
