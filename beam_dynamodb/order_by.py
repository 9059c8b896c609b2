"""What `order_by` compares: of two records of one identity the later one has the greater rank."""

from __future__ import annotations

import binascii
import datetime
import decimal
from enum import Enum
from typing import Any

from beam_dynamodb.numpy_values import comparable
from beam_dynamodb.times import ExactTime, epoch_micros

__all__ = ["plain_scalar", "plain_time", "rank_of"]

_NUMBER, _TEXT, _BYTES, _TIME = range(4)


def rank_of(value: Any) -> tuple[int, Any] | None:
    """A value that compares with every other one, whatever their types; None if it can't."""
    value = plain_scalar(value)
    if isinstance(value, datetime.datetime):
        return _TIME, epoch_micros(value)
    if isinstance(value, datetime.date):
        return _TIME, epoch_micros(datetime.datetime.combine(value, datetime.time.min))
    if hasattr(value, "micros"):  # Beam's Timestamp, and the text of a time in nanoseconds
        return _TIME, value.micros
    if isinstance(value, str):
        return _TEXT, value
    if isinstance(value, (bytes, bytearray)):
        return _BYTES, bytes(value)
    if isinstance(value, (int, float, decimal.Decimal)):
        return None if decimal.Decimal(value).is_nan() else (_NUMBER, value)
    value = comparable(value)
    return None if value is None else rank_of(value)


def plain_scalar(value: Any) -> Any:
    """A scalar out of its Enum or its wire form, if it stands in one."""
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, dict) and len(value) == 1:
        [(tag, content)] = value.items()
        if tag == "N":
            return decimal.Decimal(content)
        if tag == "B" and isinstance(content, str):
            return binascii.a2b_base64(content)
        if tag in ("S", "B"):
            return content
    return value


def plain_time(value: Any) -> datetime.date | ExactTime | None:
    """A time as Python's own type has it, or in nanoseconds; None if it is neither."""
    if isinstance(value, ExactTime):
        return value
    if isinstance(value, datetime.datetime):
        return datetime.datetime.fromisoformat(datetime.datetime.isoformat(value))
    if isinstance(value, datetime.date):
        return datetime.date.fromordinal(value.toordinal())
    return None
