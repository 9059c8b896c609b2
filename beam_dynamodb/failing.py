"""What becomes of a record that fails in a step: a dead letter if asked for, else an error."""

from __future__ import annotations

import logging
import pickle
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import apache_beam as beam

from beam_dynamodb.dead_letters import portable
from beam_dynamodb.errors import RowError, WriteError
from beam_dynamodb.meters import Meters
from beam_dynamodb.requests import Delete, Put, RequestFactory
from beam_dynamodb.results import FailedRecord
from beam_dynamodb.sink import ErrorHandling, Settings

__all__ = ["FAILED", "Failing", "can_be_pickled"]

_logger = logging.getLogger(__name__)

FAILED = "failed"
"""The tag of dead letters."""

_LEVELS_TO_SPARE = 100
"""How much deeper what can be pickled here could be: elsewhere less of the stack may be free."""


def can_be_pickled(element: Any) -> bool:
    """Whether it can go to another worker, and the runner can learn its size."""
    for _ in range(_LEVELS_TO_SPARE):
        element = [element]
    try:
        pickle.dumps(element)
    except Exception:
        return False
    return True


def _that_travels(element: Any) -> Any:
    """The element, or what JSON can hold of it: what pickling raises would end the bundle."""
    return element if can_be_pickled(element) else portable(element)


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
        self,
        error: RowError | WriteError,
        element: Any,
        body: bytes | None = None,
        beside: Mapping[str, Any] | None = None,
        change: Put | Delete | None = None,
    ) -> FailedRecord:
        """The dead letter of an element, or the error itself where none is wanted."""
        handling = self._handling
        if handling is None or not isinstance(error, handling.exc_class):
            raise error
        if handling.on_failure_callback is not None:
            _call_back(handling.on_failure_callback, error, element)
        Meters.failed.inc()
        return FailedRecord(
            element=_that_travels(element),
            error=(type(error), repr(error), traceback.format_exception(error)),
            code=error.code,
            message=error.message,
            table=error.table,
            key=error.key,
            attempts=getattr(error, "attempts", 0),
            retriable=getattr(error, "retriable", False),
            request=body,
            beside=beside or None,
            change=_that_travels(change),
        )


def _call_back(callback: Callable[[Exception, Any], None], error: Exception, element: Any) -> None:
    # As ParDo.with_exception_handling has it: a callback that fails is nobody's failure.
    try:
        callback(error, element)
    except Exception as fault:
        _logger.warning("on_failure_callback failed: %r", fault, exc_info=True)
