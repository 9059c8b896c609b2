"""Dates, times and durations as Flink's connector writes them: java.time's texts, and seconds."""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal

from beam_dynamodb.faults import Refused

__all__ = [
    "EPOCH",
    "MICROSECOND",
    "ExactTime",
    "clock_text",
    "date_text",
    "datetime_text",
    "epoch_micros",
    "period_text",
    "scaled_text",
    "seconds_text",
    "time_text",
]


_EXACT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{9}Z?")
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
MICROSECOND = timedelta(microseconds=1)


class ExactTime(str):
    """The text of a time in nanoseconds, finer than Python's own times.

    It is as java.time prints it with nine digits, `2022-11-10T01:02:03.123456789`, or with a `Z`.
    """

    __slots__ = ()

    @classmethod
    def of(cls, text: str) -> ExactTime:
        """The time of such a text; raises ValueError where it is none."""
        if not _EXACT.fullmatch(text):
            raise ValueError("it must be a time with nine digits after the seconds")
        exact = cls(text)
        _ = exact.micros
        return exact

    @property
    def micros(self) -> Decimal:
        """Microseconds since 1970, by which it is compared with other times."""
        whole = epoch_micros(datetime.fromisoformat(self[:26]))
        return whole + Decimal(self[26:29]) / 1000


def epoch_micros(moment: datetime) -> int:
    """Microseconds since 1970; a moment without a time zone is taken for one of UTC."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    return (aware - EPOCH) // MICROSECOND


def date_text(value: date) -> str:
    """As in `2022-11-10`."""
    return date.isoformat(value)


def time_text(value: time) -> str:
    """As in `13:05`, `13:05:07`, `13:05:07.123`; raises Refused where it has a time zone."""
    if value.tzinfo is not None:
        raise Refused("a time of day cannot have a time zone; write it without one, or a string")
    return clock_text(value.hour, value.minute, value.second, f"{value.microsecond:06d}")


def datetime_text(value: datetime) -> str:
    """A local time as in `2022-11-10T01:02`, an aware one as its instant `2022-11-10T00:02:00Z`."""
    aware = datetime.utcoffset(value) is not None
    try:
        shown = datetime.astimezone(value, timezone.utc) if aware else value
    except OverflowError:
        raise Refused("in UTC the time is of no year from 1 to 9999") from None
    fraction = f"{shown.microsecond:06d}"
    clock = clock_text(shown.hour, shown.minute, shown.second, fraction, seconds=aware)
    day = f"{shown.year:04d}-{shown.month:02d}-{shown.day:02d}"
    return f"{day}T{clock}Z" if aware else f"{day}T{clock}"


def seconds_text(value: timedelta) -> str:
    """A duration's seconds as in `90061.001`."""
    micros = (value.days * 86400 + value.seconds) * 10**6 + value.microseconds
    return scaled_text(micros, 6)


def clock_text(hour: int, minute: int, second: int, fraction: str, *, seconds: bool = False) -> str:
    """A time of day as java.time prints it.

    `fraction` holds the digits after the seconds, which appear in threes, as many as are needed.
    Seconds of zero appear only where `seconds` asks for them, as an instant does.
    """
    digits = fraction.rstrip("0")
    if digits:
        padded = digits + "0" * (-len(digits) % 3)
        return f"{hour:02d}:{minute:02d}:{second:02d}.{padded}"
    if second or seconds:
        return f"{hour:02d}:{minute:02d}:{second:02d}"
    return f"{hour:02d}:{minute:02d}"


def period_text(months: int) -> str:
    """Months as java.time.Period prints them, in years where they fill some: `P1Y2M`, `P0D`."""
    years, rest = divmod(abs(months), 12)
    sign = "-" if months < 0 else ""
    text = (f"{sign}{years}Y" if years else "") + (f"{sign}{rest}M" if rest else "")
    return f"P{text or '0D'}"


def scaled_text(units: int, places: int) -> str:
    """The number `units` with its last `places` digits after the point: (-1500, 3) is `-1.5`."""
    whole, fraction = divmod(abs(units), 10**places)
    digits = f"{fraction:0{places}d}".rstrip("0") if fraction else ""
    return f"{'-' if units < 0 else ''}{whole}{'.' if digits else ''}{digits}"
