"""Flink's column types, and what makes a Python value one of a declared type. Pure.

What a converted value becomes in DynamoDB is for `values` to say, as for every other value; so a
column of a type gives the same item here as in Flink's connector.
"""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Callable, Collection, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta, timezone
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation
from enum import Enum
from typing import Any
from uuid import UUID

from beam_dynamodb.faults import Refused, cause_of, row_error, step, within
from beam_dynamodb.times import ExactTime, period_text
from beam_dynamodb.values import row_mapping

__all__ = ["TEXTS", "Column", "SqlType", "convert_part", "convert_row"]

TEXTS = ("CHAR", "VARCHAR", "STRING")
"""The types whose values are text."""

Convert = Callable[[Any], Any]

_INTEGERS = {"TINYINT": 8, "SMALLINT": 16, "INT": 32, "BIGINT": 64}
_WHOLE = re.compile(r"\s*[+-]?\d+\s*")
_PERIOD = re.compile(r"([+-]?)P(?:(\d+)Y)?(?:(\d+)M)?")
_NANOSECONDS = re.compile(r"\.\d{6}(\d{1,3})")
_FLOAT_MAX = 3.4028235677973366e38
"""From here on a double is no single but infinity."""

_EXACT = Context(prec=100)

_MANY_DIGITS = 40
"""More than any number of a declared type has before its point."""


@dataclass(frozen=True, slots=True)
class SqlType:
    """A type as a column declares it.

    Attributes:
        name: Flink's name, in its short form: `STRING`, `BIGINT`, `TIMESTAMP_LTZ`, `ROW`, …
        precision: Digits of DECIMAL and of times, length of CHAR, VARCHAR, BINARY, VARBINARY.
        scale: Digits after the point of DECIMAL.
        elements: The element of ARRAY; key and value of MAP.
        fields: Name and type of the fields of ROW.
        nullable: False for NOT NULL.
    """

    name: str
    precision: int | None = None
    scale: int | None = None
    elements: tuple[SqlType, ...] = ()
    fields: tuple[tuple[str, SqlType], ...] = ()
    nullable: bool = True

    def __str__(self) -> str:
        numbers = ", ".join(str(each) for each in (self.precision, self.scale) if each is not None)
        inner = ", ".join(map(str, self.elements))
        inner = inner or ", ".join(f"`{name}` {kind}" for name, kind in self.fields)
        text = self.name + (f"({numbers})" if numbers else "") + (f"<{inner}>" if inner else "")
        return text if self.nullable else f"{text} NOT NULL"

    def not_null(self) -> SqlType:
        """The same type without nulls."""
        return replace(self, nullable=False)

    def converter(self) -> Convert:
        """What makes a value of this type of a Python value; raises Refused."""
        return _nullable(_CONVERTERS[self.name](self), self)


@dataclass(frozen=True, slots=True)
class Column:
    """A column that is written.

    Attributes:
        name: Its name, which is the attribute's.
        type: Its type.
    """

    name: str
    type: SqlType


class _Nothing:
    """A type that no value has."""


_OWN_TYPES: dict[str, type] = {
    **dict.fromkeys(TEXTS, str),
    "BOOLEAN": bool,
    "BINARY": bytes,
    "VARBINARY": bytes,
    "BYTES": bytes,
    "DOUBLE": float,
    "DATE": date,
}
"""The Python type whose values need no conversion."""


def convert_row(columns: tuple[Column, ...], passed: tuple[str, ...] = ()) -> Convert:
    """What makes the row of a table of a row: its columns in their order, by their types.

    Args:
        columns: The table's columns.
        passed: Other fields, which stay as they are where a row has them.

    Returns:
        A function of any kind of row. Where a column lacks, it is NULL. It raises RowError where
        a value is not of its type, where NULL stands in a column that is NOT NULL, and where a
        field is no column.
    """
    # What has its column's own type already goes without a call, as most values do.
    converters = [
        (each.name, _OWN_TYPES.get(each.type.name, _Nothing), each.type.converter())
        for each in columns
    ]

    def convert(row: Any) -> dict[str, Any]:
        fields = row if type(row) is dict else row_mapping(row)
        made: dict[str, Any] = {}
        name = ""
        try:
            for name, own_type, converter in converters:
                value = fields.get(name)
                made[name] = value if type(value) is own_type else converter(value)
        except Exception as error:
            raise row_error(within(step(name), error)) from cause_of(error)
        if len(made) != len(fields) or made.keys() != fields.keys():
            made.update(_passed(fields, made, passed))
        return made

    return convert


def convert_part(columns: tuple[Column, ...], passed: tuple[str, ...] = ()) -> Convert:
    """The same of a row that has some of the columns only, as a key has: the others stay away."""
    names = [each.name for each in columns]
    by_shape: dict[tuple[str, ...], Convert] = {}

    def convert(row: Any) -> dict[str, Any]:
        fields = row_mapping(row)
        shape = tuple(fields)
        if shape not in by_shape:
            others = _passed(fields, names, passed)
            present = tuple(each for each in columns if each.name in fields)
            by_shape[shape] = convert_row(present, tuple(others))
        made: dict[str, Any] = by_shape[shape](fields)
        return made

    return convert


def _passed(
    fields: Mapping[str, Any], known: Collection[str], passed: tuple[str, ...]
) -> dict[str, Any]:
    """The fields that are no columns and stay as they are; any other one is refused."""
    others = fields.keys() - known
    for name in others:
        if name not in passed:
            columns = ", ".join(f"'{each}'" for each in known)
            raise row_error(
                Refused(
                    f"no column of this name is declared; the columns are [{columns}]", step(name)
                )
            )
    return {name: fields[name] for name in others}


# --- what each type takes ------------------------------------------------------------------


def _nullable(convert: Convert, kind: SqlType) -> Convert:
    if kind.nullable:
        return lambda value: None if value is None else convert(value)

    def not_null(value: Any) -> Any:
        if value is None:
            raise Refused("the column is NOT NULL, however, a null value is being written into it")
        return convert(value)

    return not_null


def _refuse(kind: object, value: Any) -> Refused:
    return Refused(f"{kind} is declared, but the value is a {type(value).__name__}")


def _out_of_range(kind: object) -> Refused:
    return Refused(f"{kind} is declared, but the number is out of its range")


_NUMPY_TIMES = ("datetime64", "timedelta64")
"""How numpy's types of times begin, after which some have a unit."""


def _plain(value: Any) -> Any:
    """Numpy's scalars and enums as Python's own values."""
    if isinstance(value, Enum):
        return _plain(value.value)
    item = getattr(value, "item", None)
    if not callable(item) or getattr(value, "shape", None) != ():
        return value
    plain = item()
    is_time = type(value).__name__ in _NUMPY_TIMES
    return _python_time(value) if is_time and isinstance(plain, int) else plain


def _python_time(value: Any) -> Any:
    """A time of which numpy makes a bare number, as Python's own where that can tell it."""
    if not value.dtype.name.endswith("ns]"):  # months, or years beyond 9999
        return value
    micros = value.astype(f"{value.dtype.kind}8[us]")
    return micros.item() if micros == value else value


def _text(kind: SqlType) -> Convert:
    def convert(value: Any) -> str:
        if isinstance(value, str):
            return value
        value = _plain(value)
        if isinstance(value, bool):
            return "TRUE" if value else "FALSE"
        if _is_missing(value):
            raise Refused(f"{kind} is declared, but the value is {value}; write None instead")
        if isinstance(value, (str, int, float, Decimal, UUID)):
            return str(value)
        if isinstance(value, (date, time)):
            return value.isoformat()
        raise _refuse(kind, value)

    return convert


def _is_missing(value: Any) -> bool:
    """Whether it is NaN or NaT, by which pandas tells that a text is missing."""
    if isinstance(value, Decimal):
        return value.is_nan()
    return isinstance(value, (float, date)) and value != value


def _boolean(kind: SqlType) -> Convert:
    def convert(value: Any) -> bool:
        value = _plain(value)
        if isinstance(value, bool):
            return value
        if isinstance(value, str):
            if value.strip().lower() not in ("true", "false"):
                raise Refused(f"{kind} is declared, but the text is neither true nor false")
            return value.strip().lower() == "true"
        raise _refuse(kind, value)

    return convert


def _binary(kind: SqlType) -> Convert:
    def convert(value: Any) -> bytes:
        if isinstance(value, (bytes, bytearray, memoryview)):
            return bytes(value)
        if isinstance(value, str):
            try:
                return base64.b64decode(value, validate=True)
            except ValueError:
                raise Refused(f"{kind} is declared, but the text is no base64") from None
        raise _refuse(kind, value)

    return convert


def _integer(kind: SqlType) -> Convert:
    most = 2 ** (_INTEGERS[kind.name] - 1)

    def convert(value: Any) -> int:
        if type(value) is not int:
            value = _as_int(kind, _plain(value))
        if not -most <= value < most:
            raise _out_of_range(kind)
        return int(value)

    return convert


def _as_int(kind: SqlType, value: Any) -> int:
    if isinstance(value, bool):
        raise _refuse(kind, value)
    if isinstance(value, str):
        if not _WHOLE.fullmatch(value):
            raise Refused(f"{kind} is declared, but the text is no integer")
        # Python makes no integer of thousands of digits.
        value = int(value) if len(value) <= _MANY_DIGITS else Decimal(value)
    if isinstance(value, Decimal) and value.is_finite() and value.adjusted() >= _MANY_DIGITS:
        # Python would compute for minutes what 1E+9999999 is as an integer.
        raise _out_of_range(kind)
    if isinstance(value, (int, float, Decimal)):
        try:
            whole = int(value)
        except (ValueError, OverflowError):
            whole = None
        if whole is not None and whole == value:
            return whole
        raise Refused(f"{kind} is declared, but the number is no integer")
    raise _refuse(kind, value)


def _decimal(kind: SqlType) -> Convert:
    precision, scale = kind.precision or 10, kind.scale or 0
    unit = Decimal(1).scaleb(-scale)

    def convert(value: Any) -> Decimal:
        number = _as_decimal(kind, _plain(value))
        if number.adjusted() < _MANY_DIGITS or not number:
            rounded = number.quantize(unit, rounding=ROUND_HALF_UP, context=_EXACT)
            if rounded.adjusted() < precision - scale or not rounded:
                return rounded
        raise Refused(f"{kind} is declared, but the number has more digits before the point")

    return convert


def _as_decimal(kind: SqlType, value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal, str)):
        raise _refuse(kind, value)
    if isinstance(value, str) and "_" in value:  # which Python allows between digits
        raise Refused(f"{kind} is declared, but the text is no number")
    try:
        number = Decimal(repr(value) if isinstance(value, float) else value)
    except InvalidOperation:
        raise Refused(f"{kind} is declared, but the text is no number") from None
    if not number.is_finite():
        raise Refused(f"{kind} is declared, but NaN and infinity are no numbers of it")
    return number


def _double(kind: SqlType) -> Convert:
    def convert(value: Any) -> float:
        if type(value) is not float:
            value = _plain(value)
            value = value if type(value) is float else _as_float(kind, value)
        return float(value)

    return convert


def _as_float(kind: SqlType, value: Any) -> float:
    if isinstance(value, str) and value.strip().lower() in ("nan", "infinity", "-infinity"):
        return float(value)
    number = float(_as_decimal(kind, value))
    if abs(number) == float("inf"):
        raise _out_of_range(kind)
    return number


def _float(kind: SqlType) -> Convert:
    double = _double(kind)

    def convert(value: Any) -> Any:
        number = double(value)
        if abs(number) >= _FLOAT_MAX and abs(number) != float("inf"):
            raise _out_of_range(kind)
        short: float = struct.unpack("f", struct.pack("f", number))[0]
        return _shortest(short) if short == short and abs(short) != float("inf") else short

    return convert


def _shortest(number: float) -> float:
    """The double whose text is the shortest that means this single, as Java prints it."""
    for digits in range(6, 10):
        text = f"{number:.{digits}g}"
        if struct.unpack("f", struct.pack("f", float(text)))[0] == number:
            return float(text)
    return number


def _iso(kind: SqlType, value: str, parse: Callable[[str], Any]) -> Any:
    text = value.strip()
    if re.search(r"\.\d+", text):  # Python before 3.11 takes three or six digits only
        text = re.sub(r"(\.\d{1,6})\d*", lambda found: found[1].ljust(7, "0"), text)
    try:
        return parse(text.replace("Z", "+00:00"))
    except ValueError:
        raise Refused(f"{kind} is declared, but the text is none in ISO 8601") from None


def _date(kind: SqlType) -> Convert:
    def convert(value: Any) -> date:
        if isinstance(value, str):
            value = _iso(kind, value, date.fromisoformat)
        value = _plain(value)  # numpy's days
        if isinstance(value, datetime) or not isinstance(value, date):
            raise _refuse(kind, value)
        return value

    return convert


def _time(kind: SqlType) -> Convert:
    def convert(value: Any) -> time:
        if isinstance(value, str):
            value = _iso(kind, value, time.fromisoformat)
        if not isinstance(value, time):
            raise _refuse(kind, value)
        return value

    return convert


def _moment(kind: SqlType, value: Any) -> datetime:
    if isinstance(value, str):
        value = _iso(kind, value, datetime.fromisoformat)
    to_datetime = getattr(value, "to_utc_datetime", None)  # Beam's Timestamp
    if to_datetime is not None:
        value = to_datetime(has_tz=True)
    if not isinstance(value, datetime):
        raise _refuse(kind, value)
    return value


def _timestamp(kind: SqlType) -> Convert:
    def convert(value: Any) -> Any:
        if type(value).__name__ == "datetime64":
            # It may be finer than Python's own; `values` writes it as it is, and days as a date.
            is_of_days = value.dtype.name.endswith(("D]", "W]", "M]", "Y]"))
            return value.astype("M8[s]") if is_of_days else value
        moment = _moment(kind, value)
        if moment.tzinfo is not None:
            raise Refused(f"{kind} is declared, but the time has a zone; declare TIMESTAMP_LTZ")
        return _as_fine(moment, value)

    return convert


def _instant(kind: SqlType) -> Convert:
    def convert(value: Any) -> Any:
        moment = _moment(kind, value)
        if moment.tzinfo is None:
            raise Refused(f"{kind} is declared, but the time has no zone; declare TIMESTAMP")
        try:
            return _as_fine(moment.astimezone(timezone.utc), value)
        except OverflowError:
            raise Refused(
                f"{kind} is declared, but in UTC the time is of no year from 1 to 9999"
            ) from None

    return convert


def _as_fine(moment: datetime, value: Any) -> datetime | ExactTime:
    """The moment with the nanoseconds that the text it was read from has beyond Python's own."""
    found = _NANOSECONDS.search(value) if isinstance(value, str) else None
    nanoseconds = found[1].ljust(3, "0") if found else "000"
    if nanoseconds == "000":
        return moment
    zone = "Z" if moment.tzinfo else ""
    return ExactTime(f"{moment.isoformat(timespec='microseconds')[:26]}{nanoseconds}{zone}")


def _months(kind: SqlType) -> Convert:
    def convert(value: Any) -> Any:
        if _is_numpy_duration(kind, value, of_months=True):
            return value
        value = _plain(value)
        if isinstance(value, str):
            parts = _PERIOD.fullmatch(value.strip())
            if parts is None:
                raise Refused(f"{kind} is declared, but the text is no period such as P1Y2M")
            months = int(parts[2] or 0) * 12 + int(parts[3] or 0)
            return period_text(-months if parts[1] == "-" else months)
        if isinstance(value, int) and not isinstance(value, bool):
            return period_text(value)
        raise _refuse(kind, value)

    return convert


def _seconds(kind: SqlType) -> Convert:
    def convert(value: Any) -> Any:
        if isinstance(value, timedelta) or _is_numpy_duration(kind, value, of_months=False):
            return value
        value = _plain(value)
        if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
            try:
                return timedelta(seconds=float(value))
            except (ValueError, OverflowError):
                raise Refused(f"{kind} is declared, but the number is no length of time") from None
        raise _refuse(kind, value)

    return convert


def _is_numpy_duration(kind: SqlType, value: Any, *, of_months: bool) -> bool:
    """Whether it is a timedelta64; refused where it counts seconds for months, or the reverse."""
    if type(value).__name__ != "timedelta64":
        return False
    if value.dtype.name.endswith(("Y]", "M]")) != of_months:
        raise Refused(f"{kind} is declared, but the value is a {value.dtype.name}")
    return True


def _array(kind: SqlType) -> Convert:
    element = kind.elements[0].converter()

    def convert(values: Any) -> list[Any]:
        if isinstance(values, (set, frozenset)):
            values = _in_order(kind, values)
        if not isinstance(values, (list, tuple)):
            values = _listed(values) if hasattr(values, "tolist") else values
        if not isinstance(values, (list, tuple)):
            raise _refuse(kind, values)
        made: list[Any] = []
        try:
            for value in values:
                made.append(element(value))  # noqa: PERF401 - its length locates a fault
        except Exception as error:
            raise within(f"[{len(made)}]", error) from cause_of(error)
        return made

    return convert


def _listed(values: Any) -> Any:
    """An array or series as a list; numpy's times as they are, since it makes numbers of them."""
    is_array = type(values).__module__ == "numpy" and values.ndim > 0
    is_of_times = is_array and values.dtype.name.startswith(_NUMPY_TIMES)
    return list(values) if is_of_times else values.tolist()


def _in_order(kind: SqlType, values: AbstractSet[Any]) -> list[Any]:
    # A set's order differs between processes, and the same row must give one item.
    try:
        return sorted(values)
    except TypeError:
        raise Refused(
            f"{kind} is declared, and no order is known for the set; give a list"
        ) from None


def _map(kind: SqlType) -> Convert:
    key, value = (each.converter() for each in kind.elements)

    def convert(values: Any) -> dict[Any, Any]:
        if not isinstance(values, Mapping):
            raise _refuse(kind, values)
        name: Any = None
        try:
            made = {}
            for name, each in values.items():
                made[key(name)] = value(each)
        except Exception as error:
            raise within(step(name), error) from cause_of(error)
        if len(made) != len(values):
            raise Refused(f"{kind} is declared, and two keys are the same in that type; rename one")
        return made

    return convert


def _row(kind: SqlType) -> Convert:
    convert_fields = convert_row(tuple(Column(*each) for each in kind.fields))

    def convert(value: Any) -> dict[str, Any]:
        if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
            if len(value) != len(kind.fields):
                raise Refused(f"{kind} is declared, but the value has {len(value)} fields")
            value = {name: each for (name, _), each in zip(kind.fields, value, strict=True)}
        made: dict[str, Any] = convert_fields(value)
        return made

    return convert


_CONVERTERS: dict[str, Callable[[SqlType], Convert]] = {
    **dict.fromkeys(TEXTS, _text),
    "BOOLEAN": _boolean,
    "BINARY": _binary,
    "VARBINARY": _binary,
    "BYTES": _binary,
    **dict.fromkeys(_INTEGERS, _integer),
    "DECIMAL": _decimal,
    "FLOAT": _float,
    "DOUBLE": _double,
    "DATE": _date,
    "TIME": _time,
    "TIMESTAMP": _timestamp,
    "TIMESTAMP_LTZ": _instant,
    "INTERVAL YEAR TO MONTH": _months,
    "INTERVAL DAY TO SECOND": _seconds,
    "ARRAY": _array,
    "MAP": _map,
    "ROW": _row,
}
