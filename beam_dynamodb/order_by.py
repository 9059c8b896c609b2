"""What `order_by` compares: of two records of one identity the later one has the greater rank."""

from __future__ import annotations

import binascii
import datetime
import decimal
from enum import Enum
from typing import Any

from beam_dynamodb.numpy_values import Moment, comparable, without_nanoseconds
from beam_dynamodb.times import ExactTime, epoch_micros
from beam_dynamodb.values import attribute_value

__all__ = ["plain_scalar", "plain_time", "rank_of"]

_NUMBER, _TEXT, _BYTES, _TIME = range(4)


def rank_of(value: Any) -> tuple[int, Any] | None:
    """A value that compares with every other one, whatever their types; None if it can't.

    Raises:
        Exception: It can't be stored, or has no order.
    """
    value = plain_scalar(value)
    if isinstance(value, datetime.datetime):
        is_own = type(value) is datetime.datetime
        return _TIME, epoch_micros(value if is_own else without_nanoseconds(value))
    if isinstance(value, datetime.date):
        return _TIME, epoch_micros(datetime.datetime.combine(value, datetime.time.min))
    if isinstance(value, str):
        return (_TIME, value.micros) if isinstance(value, ExactTime) else (_TEXT, value)
    if isinstance(value, (bytes, bytearray)):
        return _BYTES, bytes(value)
    if isinstance(value, (int, float, decimal.Decimal)):
        return None if decimal.Decimal(value).is_nan() else (_NUMBER, value)
    if isinstance(value, Moment) or hasattr(value, "to_utc_datetime"):  # Beam's Timestamp
        return _TIME, value.micros
    plain = comparable(value)
    # All else is ordered as it is stored: a timedelta by its seconds, a UUID by its text.
    plain = plain_scalar(attribute_value(value)) if plain is None else plain
    return None if isinstance(plain, dict) else rank_of(plain)


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
