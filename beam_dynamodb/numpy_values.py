"""What numpy's and pandas' values are in plain Python; imports neither, since both are optional."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple, TypeVar

from beam_dynamodb.faults import Refused
from beam_dynamodb.times import clock_text, period_text, scaled_text

__all__ = ["Moment", "comparable", "numpy_conversion", "without_nanoseconds"]

T = TypeVar("T")

_SECONDS = {"W": 604800, "D": 86400, "h": 3600, "m": 60, "s": 1}
_PLACES = {"ms": 3, "us": 6, "ns": 9, "ps": 12, "fs": 15, "as": 18}
_DATETIME = re.compile(r"(\d{4}-\d\d-\d\d)(?:T(\d\d)(?::(\d\d))?(?::(\d\d))?(?:\.(\d+))?)?")


def numpy_conversion(kind: type) -> Callable[[Any], Any] | None:
    """How a value of numpy's type becomes one of Python's own with the same meaning.

    Returns:
        A function that raises Refused for what has no counterpart, such as NaT; or None for types
        that are not numpy's. A type of numpy's can only come from where numpy is loaded.
    """
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return None
    table: tuple[tuple[type, Callable[[Any], Any]], ...] = (
        (numpy.bool_, bool),
        (numpy.timedelta64, _from_timedelta),  # a numpy.integer as well, so it comes before it
        (numpy.integer, int),
        (numpy.floating, lambda value: Decimal(str(value))),
        (numpy.datetime64, _from_datetime),
        (numpy.ndarray, _from_array),
    )
    return next((convert for base, convert in table if issubclass(kind, base)), None)


class Moment(NamedTuple):
    """A point in time, exactly.

    Attributes:
        micros: Microseconds since 1970.
    """

    micros: Decimal


def comparable(value: Any) -> Any:
    """What tells which of two of numpy's scalars is the greater one; None for what is none.

    Raises:
        Refused: Nothing tells it, or the value has no counterpart, as for `numpy_conversion`.
    """
    convert = numpy_conversion(type(value))
    if convert is None:
        return None
    if convert is _from_datetime:
        return _moment(value)
    plain = convert(value)
    if convert is _from_timedelta and isinstance(plain, str):
        raise Refused("a timedelta64 of months or years has no order; write it in days or less")
    return plain


def _moment(value: Any) -> Moment:
    numpy = sys.modules["numpy"]
    if numpy.isnat(value):
        raise Refused("NaT is no point in time; write None instead")
    unit, count = numpy.datetime_data(value.dtype)
    if _PLACES.get(unit, 0) <= _PLACES["us"]:
        return Moment(Decimal(int(value.astype("M8[us]").astype("int64"))))
    exact = Decimal(int(value.astype("int64")) * count)
    return Moment(exact.scaleb(_PLACES["us"] - _PLACES[unit]))


def without_nanoseconds(value: T) -> T:
    """Passes a datetime or timedelta of pandas or Google's clients that Python's can express."""
    # Only pandas' NaT, which passes for a datetime, differs from itself.
    if value != value:
        raise Refused("NaT is no point in time; write None instead")
    extra = getattr(value, "nanosecond", 0) or getattr(value, "nanoseconds", 0)
    if extra % 1000:
        raise Refused(
            "the time has nanoseconds, which would be lost; write numpy.datetime64 or a string"
        )
    return value


def _from_array(value: Any) -> Any:
    if hasattr(value, "mask"):
        raise Refused("a masked array cannot be stored; write its tolist() or filled()")
    return list(value) if value.ndim else value[()]


def _from_datetime(value: Any) -> str:
    unit, _ = sys.modules["numpy"].datetime_data(value.dtype)
    parts = _DATETIME.fullmatch(str(value.astype("M8[D]") if unit in ("Y", "M", "W") else value))
    if parts is None:
        raise Refused("the date must be of the years 0 to 9999; write None for NaT")
    day, hour, minute, second, fraction = parts.groups()
    if hour is None:
        return str(day)
    return f"{day}T{clock_text(int(hour), int(minute or 0), int(second or 0), fraction or '')}"


def _from_timedelta(value: Any) -> Decimal | str:
    numpy = sys.modules["numpy"]
    if numpy.isnat(value):
        raise Refused("NaT is no length of time; write None instead")
    unit, count = numpy.datetime_data(value.dtype)
    amount = int(value.astype("int64")) * count
    if unit in ("Y", "M"):
        return period_text(amount * 12 if unit == "Y" else amount)
    if unit in _SECONDS:
        return Decimal(amount * _SECONDS[unit])
    if unit not in _PLACES:
        raise Refused("a timedelta64 must have a unit, such as seconds")
    return Decimal(scaled_text(amount, _PLACES[unit]))
