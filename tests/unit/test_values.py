"""Each type of value: what it becomes, or how it is refused."""

from __future__ import annotations

import collections
import dataclasses
import enum
import pickle
import subprocess
import sys
import types
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal, localcontext
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
import pytest

import beam_dynamodb
from beam_dynamodb.errors import RowError
from beam_dynamodb.numbers import canonical_number, check_number
from beam_dynamodb.sizes import stored_size
from beam_dynamodb.values import (
    attribute_value,
    attribute_values,
    register_row,
    register_value,
    row_mapping,
    wire,
)


class Point(NamedTuple):
    x: int
    y: str | None = None


@dataclasses.dataclass
class Order:
    number: int
    at: Point


@dataclasses.dataclass(frozen=True)
class Single:
    only: str


@dataclasses.dataclass
class Empty:
    pass


@dataclasses.dataclass
class Unfinished:
    later: int = dataclasses.field(init=False)


class Color(enum.Enum):
    RED = "red"
    NUMBER = 7
    NESTED = ("a", 1)


class Level(enum.IntEnum):
    HIGH = 3


class Word(str, enum.Enum):
    YES = "yes"


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "something else"


class Whole(int):
    def __format__(self, spec: str) -> str:
        return "something else"


class Nanoseconds(datetime):
    """As the datetimes of pandas and of Google's clients are."""

    nanosecond = 0


class NotATime(datetime):
    """As pandas' NaT is."""

    def __eq__(self, other: object) -> bool:
        return False

    def __ne__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


CET = timezone(timedelta(hours=1))
UTC = timezone.utc
OPAQUE = object()

# --- Flink's type table (flink.md, section 2.4) --------------------------------------------

FLINK: list[tuple[str, Any, dict[str, Any]]] = [
    ("STRING", "text", {"S": "text"}),
    ("empty STRING", "", {"S": ""}),
    ("BOOLEAN true", True, {"BOOL": True}),
    ("BOOLEAN false", False, {"BOOL": False}),
    ("BYTES", b"\x00\xff", {"B": "AP8="}),
    ("empty BYTES", b"", {"B": ""}),
    ("INT", -7, {"N": "-7"}),
    ("BIGINT", 2**63 - 1, {"N": "9223372036854775807"}),
    ("DECIMAL keeps its scale", Decimal("1.0010"), {"N": "1.0010"}),
    ("small DECIMAL", Decimal("1E-7"), {"N": "1E-7"}),
    ("DECIMAL zero", Decimal("0E-7"), {"N": "0E-7"}),
    ("DOUBLE", 1.0, {"N": "1.0"}),
    ("large DOUBLE", 1.234567891234568e19, {"N": "1.234567891234568e+19"}),
    ("DOUBLE minus zero", -0.0, {"N": "-0.0"}),
    ("DATE", date(2022, 11, 10), {"S": "2022-11-10"}),
    ("early DATE", date(7, 1, 2), {"S": "0007-01-02"}),
    ("TIME", time(13, 5), {"S": "13:05"}),
    ("TIME, seconds", time(13, 5, 7), {"S": "13:05:07"}),
    ("TIME, milliseconds", time(13, 5, 7, 123000), {"S": "13:05:07.123"}),
    ("TIME, microseconds", time(13, 5, 7, 120), {"S": "13:05:07.000120"}),
    ("TIME, a fraction of second 0", time(13, 5, 0, 1000), {"S": "13:05:00.001"}),
    ("TIMESTAMP", datetime(2022, 11, 10), {"S": "2022-11-10T00:00"}),
    ("TIMESTAMP, seconds", datetime(2022, 11, 10, 1, 2, 3), {"S": "2022-11-10T01:02:03"}),
    (
        "TIMESTAMP, microseconds",
        datetime(2022, 11, 10, 1, 2, 3, 123456),
        {"S": "2022-11-10T01:02:03.123456"},
    ),
    ("TIMESTAMP_LTZ", datetime(2022, 11, 10, tzinfo=UTC), {"S": "2022-11-10T00:00:00Z"}),
    (
        "TIMESTAMP_LTZ elsewhere",
        datetime(2022, 11, 10, 0, 30, 3, 500000, tzinfo=CET),
        {"S": "2022-11-09T23:30:03.500Z"},
    ),
    (
        "INTERVAL DAY TO SECOND",
        timedelta(days=1, hours=1, minutes=1, seconds=1, milliseconds=1),
        {"N": "90061.001"},
    ),
    ("whole INTERVAL", timedelta(minutes=2), {"N": "120"}),
    ("negative INTERVAL", timedelta(milliseconds=-1500), {"N": "-1.5"}),
    ("INTERVAL YEAR TO MONTH", np.timedelta64(14, "M"), {"S": "P1Y2M"}),
    ("whole INTERVAL YEAR", np.timedelta64(-2, "Y"), {"S": "P-2Y"}),
    ("no INTERVAL", np.timedelta64(0, "M"), {"S": "P0D"}),
    ("ARRAY", [1, 2], {"L": [{"N": "1"}, {"N": "2"}]}),
    ("empty ARRAY", [], {"L": []}),
    ("ARRAY of ROW", [Point(1, "a")], {"L": [{"M": {"x": {"N": "1"}, "y": {"S": "a"}}}]}),
    ("ARRAY with a null", ["a", None], {"L": [{"S": "a"}, {"NULL": True}]}),
    ("MAP", {"a": 1}, {"M": {"a": {"N": "1"}}}),
    ("empty MAP", {}, {"M": {}}),
    ("MAP by INT", {7: "x"}, {"M": {"7": {"S": "x"}}}),
    ("MAP by BOOLEAN", {True: 1, False: 0}, {"M": {"true": {"N": "1"}, "false": {"N": "0"}}}),
    ("MAP by DATE", {date(2022, 1, 2): 1}, {"M": {"2022-01-02": {"N": "1"}}}),
    ("MAP by TIMESTAMP", {datetime(2022, 1, 2): 1}, {"M": {"2022-01-02T00:00": {"N": "1"}}}),
    ("MAP by DECIMAL", {Decimal("1.50"): 1}, {"M": {"1.50": {"N": "1"}}}),
    ("MAP by BYTES", {b"ab": 1}, {"M": {"YWI=": {"N": "1"}}}),
    ("MAP with a null", {"a": None}, {"M": {"a": {"NULL": True}}}),
    ("ROW", Order(1, Point(2)), {
        "M": {"number": {"N": "1"}, "at": {"M": {"x": {"N": "2"}, "y": {"NULL": True}}}},
    }),
    ("null", None, {"NULL": True}),
]  # fmt: skip

# --- what Flink refuses, or does not know --------------------------------------------------

BEYOND: list[tuple[str, Any, dict[str, Any]]] = [
    ("ARRAY of BYTES", [b"a"], {"L": [{"B": "YQ=="}]}),
    ("ARRAY of ARRAY", [[1], []], {"L": [{"L": [{"N": "1"}]}, {"L": []}]}),
    ("ARRAY of MAP", [{"a": 1}], {"L": [{"M": {"a": {"N": "1"}}}]}),
    ("ARRAY of INTERVAL", [timedelta(seconds=1)], {"L": [{"N": "1"}]}),
    ("MAP of ARRAY", {"a": ["b"]}, {"M": {"a": {"L": [{"S": "b"}]}}}),
    ("MAP of ROW", {"a": Single("x")}, {"M": {"a": {"M": {"only": {"S": "x"}}}}}),
    ("mixed list", [1, "a", None, True], {
        "L": [{"N": "1"}, {"S": "a"}, {"NULL": True}, {"BOOL": True}],
    }),
    ("tuple", (1, "a"), {"L": [{"N": "1"}, {"S": "a"}]}),
    ("NamedTuple", Point(1), {"M": {"x": {"N": "1"}, "y": {"NULL": True}}}),
    ("dataclass without fields", Empty(), {"M": {}}),
    ("string set", {"b", "a", ""}, {"SS": ["", "a", "b"]}),
    ("number set", {2, 1.5, Decimal(-1)}, {"NS": ["-1", "1.5", "2"]}),
    ("bytes set", frozenset({b"b", b"a"}), {"BS": ["YQ==", "Yg=="]}),
    ("set of dates", {date(2022, 1, 2)}, {"SS": ["2022-01-02"]}),
    ("keys of a dict", {"a": 1}.keys(), {"SS": ["a"]}),
    ("bytearray", bytearray(b"ab"), {"B": "YWI="}),
    ("memoryview", memoryview(b"a-b-")[::2], {"B": "YWI="}),
    ("UUID", uuid.UUID(int=10), {"S": "00000000-0000-0000-0000-00000000000a"}),
    ("Enum of text", Color.RED, {"S": "red"}),
    ("Enum of number", Color.NUMBER, {"N": "7"}),
    ("Enum of tuple", Color.NESTED, {"L": [{"S": "a"}, {"N": "1"}]}),
    ("IntEnum", Level.HIGH, {"N": "3"}),
    ("Enum that is a string", Word.YES, {"S": "yes"}),
    ("str subclass", Text("itself"), {"S": "itself"}),
    ("int subclass", Whole(5), {"N": "5"}),
    ("OrderedDict", collections.OrderedDict(a=1), {"M": {"a": {"N": "1"}}}),
    ("mapping proxy", types.MappingProxyType({"a": 1}), {"M": {"a": {"N": "1"}}}),
    ("MAP by UUID", {uuid.UUID(int=1): 1}, {
        "M": {"00000000-0000-0000-0000-000000000001": {"N": "1"}},
    }),
    ("MAP by Enum", {Color.RED: 1}, {"M": {"red": {"N": "1"}}}),
    ("MAP by float", {0.5: 1}, {"M": {"0.5": {"N": "1"}}}),
    ("MAP by numpy", {np.int64(5): 1}, {"M": {"5": {"N": "1"}}}),
    ("float, shortest text", 0.1, {"N": "0.1"}),
    ("least float", 1e-130, {"N": "1e-130"}),
    ("38 digits", 10**38 - 1, {"N": "9" * 38}),
    ("38 digits and a minus", 1 - 10**38, {"N": "-" + "9" * 38}),
    ("many digits, few significant", 10**40, {"N": "1" + "0" * 40}),
    ("largest power", -(10**125), {"N": "-1E+125"}),
    ("decimal in 38 digits and long", Decimal("0." + "0" * 60 + "1"), {"N": "1E-61"}),
    ("decimal with idle zeros", Decimal("1." + "0" * 60), {"N": "1"}),
    ("zero of any exponent", Decimal("0E+500"), {"N": "0"}),
    ("nanosecond type, none used", Nanoseconds(2022, 1, 2), {"S": "2022-01-02T00:00"}),
    ("numpy int", np.int32(-3), {"N": "-3"}),
    ("numpy unsigned", np.uint64(2**64 - 1), {"N": "18446744073709551615"}),
    ("numpy float64", np.float64(0.1), {"N": "0.1"}),
    ("numpy float32", np.float32(0.1), {"N": "0.1"}),
    ("numpy float16", np.float16(0.1), {"N": "0.1"}),
    ("numpy long double", np.longdouble("0.1"), {"N": "0.1"}),
    ("numpy bool", np.bool_(True), {"BOOL": True}),
    ("numpy str", np.str_("a"), {"S": "a"}),
    ("numpy bytes", np.bytes_(b"a"), {"B": "YQ=="}),
    ("numpy day", np.datetime64("2022-11-10"), {"S": "2022-11-10"}),
    ("numpy month", np.datetime64("2022-11"), {"S": "2022-11-01"}),
    ("numpy hour", np.datetime64("2022-11-10T13"), {"S": "2022-11-10T13:00"}),
    ("numpy second", np.datetime64("2022-11-10T13:00:00"), {"S": "2022-11-10T13:00"}),
    ("numpy millisecond", np.datetime64("2022-11-10T13:00:01.5"), {"S": "2022-11-10T13:00:01.500"}),
    ("numpy nanosecond", np.datetime64("2022-11-10T13:00:01.000000123"), {
        "S": "2022-11-10T13:00:01.000000123",
    }),
    ("numpy nanoseconds of zero", np.datetime64("2022-11-10", "ns"), {"S": "2022-11-10T00:00"}),
    ("numpy timedelta", np.timedelta64(-1500, "ms"), {"N": "-1.5"}),
    ("numpy nanosecond delta", np.timedelta64(1, "ns"), {"N": "1E-9"}),
    ("numpy hours", np.timedelta64(2, "h"), {"N": "7200"}),
    ("numpy steps of two hours", np.timedelta64(3, ("h", 2)), {"N": "21600"}),
    ("numpy array", np.array([1, 2]), {"L": [{"N": "1"}, {"N": "2"}]}),
    ("numpy float32 array", np.array([0.1], np.float32), {"L": [{"N": "0.1"}]}),
    ("numpy matrix", np.eye(2, dtype=int), {
        "L": [{"L": [{"N": "1"}, {"N": "0"}]}, {"L": [{"N": "0"}, {"N": "1"}]}],
    }),
    ("numpy array of objects", np.array(["a", None]), {"L": [{"S": "a"}, {"NULL": True}]}),
    ("numpy array without dimensions", np.array(5), {"N": "5"}),
]  # fmt: skip

TABLE = [*FLINK, *BEYOND]


@pytest.mark.parametrize(
    ("value", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_value_becomes_its_attribute_value(value: Any, expected: dict[str, Any]) -> None:
    assert attribute_value(value) == expected
    assert attribute_values({"a": value, "id": 1}) == {"a": expected, "id": {"N": "1"}}
    assert orjson.loads(wire({"a": expected})) == {"a": expected}


def test_results_hold_python_types_alone() -> None:
    item = attribute_values({Text("a"): Text("b"), "c": Whole(1), "d": Word.YES})
    assert {type(name) for name in item} == {str}
    assert {type(payload) for value in item.values() for payload in value.values()} == {str}
    assert item == {"a": {"S": "b"}, "c": {"N": "1"}, "d": {"S": "yes"}}


# --- what is refused -----------------------------------------------------------------------

nanoseconds = Nanoseconds(2022, 1, 2)
nanoseconds.nanosecond = 1

REFUSED: list[tuple[str, Any, str, str]] = [
    ("NaN", float("nan"), "", "NaN and infinity"),
    ("infinity", float("-inf"), "", "NaN and infinity"),
    ("decimal NaN", Decimal("sNaN"), "", "NaN and infinity"),
    ("decimal infinity", Decimal("Infinity"), "", "NaN and infinity"),
    ("numpy NaN", np.float32("nan"), "", "NaN and infinity"),
    ("large float", 1e126, "", "range"),
    ("small float", -1e-131, "", "range"),
    ("large decimal", Decimal("1E126"), "", "range"),
    ("small decimal", Decimal("9.9E-131"), "", "range"),
    ("large integer", 10**126, "", "range"),
    ("integer of 5000 digits", 10**5000, "", "range"),
    ("39 digits", 10**38 + 1, "", "38 significant digits"),
    ("39 decimal digits", Decimal("1." + "1" * 38), "", "38 significant digits"),
    ("empty set", set(), "", "empty"),
    ("mixed set", {1, "a"}, "", "only strings, only numbers or only bytes"),
    ("set of booleans", {True}, "", "only strings, only numbers or only bytes"),
    ("set of tuples", {(1, 2)}, "", "only strings, only numbers or only bytes"),
    ("set with a fault deep inside", {("a", float("nan"))}, "", "NaN and infinity"),
    ("set of equal numbers", {1.1, Decimal("1.1")}, "", "equal in DynamoDB"),
    ("set of equal texts", {date(2022, 1, 2), "2022-01-02"}, "", "equal in DynamoDB"),
    ("map by None", {None: 1}, "", "keys must be scalars, not NoneType"),
    ("map by tuple", {(1, 2): 1}, "", "keys must be scalars, not tuple"),
    ("map by NaN", {float("nan"): 1}, "", "NaN and infinity"),
    ("map by empty text", {"": 1}, "", "keys must not be empty"),
    ("map by two like texts", {1: "a", "1": "b"}, "", "same text"),
    ("time with a zone", time(1, tzinfo=UTC), "", "time zone"),
    ("time before the first year", datetime(1, 1, 1, tzinfo=CET), "", "no year from 1 to 9999"),
    ("spare nanoseconds", nanoseconds, "", "nanoseconds"),
    ("no time of pandas", NotATime(1, 1, 1), "", "NaT"),
    ("no time of numpy", np.datetime64("NaT"), "", "NaT"),
    ("no duration of numpy", np.timedelta64("NaT", "s"), "", "NaT"),
    ("late year of numpy", np.datetime64("12022-01-01"), "", "years 0 to 9999"),
    ("duration without unit", np.timedelta64(5), "", "unit"),
    ("masked array", np.ma.array([1, 2], mask=[False, True]), "", "masked"),
    ("numpy complex", np.complex64(1), "", "numpy.complex64 cannot be stored; convert it to"),
    ("complex", 1j, "", "complex cannot be stored; convert it to"),
    ("object", OPAQUE, "", "object cannot be stored; convert it to"),
    ("Fraction", Fraction(1, 3), "", "fractions.Fraction cannot be stored; convert it to"),
    ("generator", iter([1]), "", "list_iterator cannot be stored; convert it to"),
    ("range", range(3), "", "range cannot be stored; convert it to"),
    ("class", Point, "", "type cannot be stored; convert it to"),
    ("deque", collections.deque([1]), "", "collections.deque cannot be stored"),
    ("element", [1, [2, OPAQUE]], "[1][1]", "object cannot be stored"),
    ("tuple element", (1, OPAQUE), "[1]", "object cannot be stored"),
    ("array element", np.array([[1.0, np.inf]]), "[0][1]", "NaN and infinity"),
    ("map entry", {"a": {"b": OPAQUE}}, ".a.b", "object cannot be stored"),
    ("map entry by number", {7: {True: OPAQUE}}, ".7.true", "object cannot be stored"),
    ("odd names", {"a.b": {'"': {"x y": OPAQUE}}}, r'["a.b"]["\""]["x y"]', "object"),
    ("name beyond ASCII", {"prix_é": OPAQUE, "b": 1}, ".prix_é", "object"),
    ("row's field", Order(1, Point(OPAQUE)), ".at.x", "object"),  # type: ignore[arg-type]
    ("row without its field", [Unfinished()], "[0]", "AttributeError"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "path", "says"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_refused_value_says_where_and_what_is_allowed(value: Any, path: str, says: str) -> None:
    with pytest.raises(RowError) as caught:
        attribute_values({"id": 1, "order": {"lines": [0, value]}})
    error = caught.value
    assert error.path == f"order.lines[1]{path}"
    assert error.message.startswith(f"order.lines[1]{path}: ")
    assert says in error.message
    assert error.code == "InvalidValue"
    with pytest.raises(RowError) as alone:
        attribute_value(value)
    assert alone.value.path == path.removeprefix(".")


@pytest.mark.parametrize(
    "value",
    [
        Decimal("1234567890." + "1" * 40),
        1234567890123 * 10**40 + 1,
        Decimal("1234567890E200"),
        {"1234567890", 5},
        [{"x": {b"1234567890": [float("inf")]}}, OPAQUE][1:],
        {("1234567890", None)},
    ],
)
def test_a_refusal_never_shows_the_value(value: Any) -> None:
    with pytest.raises(RowError) as caught:
        attribute_values({"secret": value})
    assert "123456" not in str(caught.value)
    assert "object at" not in str(caught.value)


def test_an_error_of_the_users_own_code_is_the_cause_and_not_quoted() -> None:
    class Broken(Mapping[str, Any]):
        def __getitem__(self, key: str) -> Any:
            raise KeyError("secret")

        def __iter__(self) -> Iterator[str]:
            return iter(["a"])

        def __len__(self) -> int:
            return 1

    with pytest.raises(RowError, match=r"^m\[0\]: .* KeyError") as caught:
        attribute_values({"m": [Broken()]})
    assert isinstance(caught.value.__cause__, KeyError)
    assert "secret" not in str(caught.value)


def test_a_row_error_survives_pickling() -> None:
    with pytest.raises(RowError) as caught:
        attribute_values({"a": OPAQUE})
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (copy.message, copy.path) == (caught.value.message, "a")


# --- nesting -------------------------------------------------------------------------------


@pytest.mark.parametrize("wrap", [lambda v: [v], lambda v: {"x": v}, Point], ids=["L", "M", "row"])
def test_31_levels_under_an_attribute_pass_and_32_fail(wrap: Callable[[Any], Any]) -> None:
    value: Any = {1}
    for _ in range(31):
        value = wrap(value)
    assert attribute_values({"a": value})
    with pytest.raises(RowError, match="32 levels"):
        attribute_values({"a": wrap(value)})


def test_a_list_that_holds_itself_is_too_deep() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(RowError, match="32 levels") as caught:
        attribute_values({"a": endless})
    assert caught.value.path == "a" + "[0]" * 31


# --- rows ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "row",
    [
        {"x": 1, "y": "a"},
        collections.OrderedDict(x=1, y="a"),
        types.MappingProxyType({"x": 1, "y": "a"}),
        Point(1, "a"),
        dataclasses.make_dataclass("Pair", ["x", "y"])(1, "a"),
        {"x": {"N": "1"}, "y": {"S": "a"}},
        {Text("x"): 1, Text("y"): "a"},
    ],
    ids=["dict", "OrderedDict", "proxy", "NamedTuple", "dataclass", "wire", "str"],
)
def test_every_kind_of_row_gives_the_same_item(row: Any) -> None:
    item = attribute_values(row)
    assert item == {"x": {"N": "1"}, "y": {"S": "a"}}
    assert list(item) == ["x", "y"]


@pytest.mark.parametrize("row", [{}, Empty()])
def test_an_empty_row_is_an_empty_item(row: Any) -> None:
    assert attribute_values(row) == {}


@pytest.mark.parametrize("row", [None, 5, "text", b"bytes", (1, 2), [("a", 1)], {"a"}, OPAQUE])
def test_what_is_no_row_is_refused(row: Any) -> None:
    with pytest.raises(RowError, match="a row must be a dict, beam.Row, NamedTuple or dataclass"):
        attribute_values(row)
    with pytest.raises(RowError, match="a row must be"):
        row_mapping(row)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({1: "x"}, "attribute names must be strings, not int"),
        ({None: "x"}, "attribute names must be strings, not NoneType"),
        ({b"a": "x"}, "attribute names must be strings, not bytes"),
        ({"": "x"}, "attribute names must not be empty"),
    ],
)
def test_attribute_names_must_be_strings(row: Any, says: str) -> None:
    with pytest.raises(RowError, match=says) as caught:
        attribute_values(row)
    assert caught.value.path == ""


def test_row_mapping_gives_plain_values() -> None:
    assert row_mapping(Order(1, Point(2))) == {"number": 1, "at": Point(2)}
    assert row_mapping(Point(1, "a")) == {"x": 1, "y": "a"}
    assert row_mapping({"a": None}) == {"a": None}


def test_ignore_nulls_concerns_the_rows_own_attributes() -> None:
    row = {"a": None, "b": {"c": None}, "d": [None], "e": Point(1)}
    assert attribute_values(row, ignore_nulls=True) == {
        "b": {"M": {"c": {"NULL": True}}},
        "d": {"L": [{"NULL": True}]},
        "e": {"M": {"x": {"N": "1"}, "y": {"NULL": True}}},
    }
    assert attribute_values({"a": {"NULL": True}, "b": {"S": ""}}, ignore_nulls=True) == {
        "b": {"S": ""}
    }


# --- items in wire form --------------------------------------------------------------------


def test_wire_form_is_normalised_to_json() -> None:
    item = {
        "s": {"S": "x"},
        "n": {"N": "1.0"},
        "b": {"B": b"ab"},
        "base64": {"B": "YWI="},
        "view": {"B": memoryview(b"ab")},
        "loose base64": {"B": "YWJ="},
        "bs": {"BS": {b"b", b"a"}},
        "ss": {"SS": ("b", "a")},
        "ns": {"NS": ["2", "1.0"]},
        "l": {"L": ({"BOOL": False}, {"M": {"x": {"NULL": True}}})},
        "long": {"N": "0" * 50 + "1"},
    }
    assert attribute_values(item) == {
        "s": {"S": "x"},
        "n": {"N": "1.0"},
        "b": {"B": "YWI="},
        "base64": {"B": "YWI="},
        "view": {"B": "YWI="},
        "loose base64": {"B": "YWI="},
        "bs": {"BS": ["YQ==", "Yg=="]},
        "ss": {"SS": ["a", "b"]},
        "ns": {"NS": ["1.0", "2"]},
        "l": {"L": [{"BOOL": False}, {"M": {"x": {"NULL": True}}}]},
        "long": {"N": "1"},
    }


@pytest.mark.parametrize(
    "row",
    [
        {"tags": {"S": "x"}, "id": 1},
        {"tags": {"S": 1}},
        {"tags": {"S": "x", "N": "1"}},
        {"tags": {"T": "x"}},
        {"tags": {}},
        {"tags": {1: "x"}},
    ],
)
def test_a_row_that_is_not_all_wire_form_is_a_row_of_maps(row: dict[str, Any]) -> None:
    assert attribute_values(row)["tags"].keys() == {"M"}


@pytest.mark.parametrize(
    ("value", "path", "says"),
    [
        ({"N": "x"}, "", "is not a number"),
        ({"N": "1" * 39}, "", "38 significant digits"),
        ({"N": "1E126"}, "", "range"),
        ({"N": "1E999999999999999999999"}, "", "range"),
        ({"B": "YQ"}, "", "base64"),
        ({"B": "YQ==!"}, "", "base64"),
        ({"B": "é"}, "", "base64"),
        ({"NULL": False}, "", "NULL must be true"),
        ({"SS": []}, "", "must not be empty"),
        ({"SS": ["a", "a"]}, "", "equal in DynamoDB"),
        ({"NS": ["1", "1.0"]}, "", "equal in DynamoDB"),
        ({"NS": ["x"]}, "", "is not a number"),
        ({"NS": [1]}, "", "values such as"),
        ({"BS": [b"a", "YQ=="]}, "", "equal in DynamoDB"),
        ({"L": [{"S": "x"}, "x"]}, "[1]", "values such as"),
        ({"L": [{"S": 1}]}, "[0]", "values such as"),
        ({"M": {"x": {"M": {"": {"S": ""}}}}}, ".x", "must not be empty"),
        ({"M": {"x": {"M": {1: {"S": ""}}}}}, ".x", "must be strings"),
        ({"M": {"x": {"L": [{"N": ""}]}}}, ".x[0]", "is not a number"),
    ],
)
def test_a_fault_in_wire_form_has_its_path(value: Any, path: str, says: str) -> None:
    with pytest.raises(RowError, match=says) as caught:
        attribute_values({"id": {"N": "1"}, "a": value})
    assert caught.value.path == f"a{path}"


def test_wire_form_keeps_the_levels_too() -> None:
    value: dict[str, Any] = {"S": ""}
    for _ in range(31):
        value = {"L": [value]}
    assert attribute_values({"a": value}) == {"a": value}
    with pytest.raises(RowError, match="32 levels"):
        attribute_values({"a": {"L": [value]}})


# --- types of others -----------------------------------------------------------------------


class Money:
    def __init__(self, cents: int) -> None:
        self.cents = cents


class Euros(Money):
    pass


class Tagged(dict[str, Any]):
    pass


class Record:
    def __init__(self, **fields: Any) -> None:
        self.fields = fields


register_value(Money, lambda money: attribute_value([money.cents]))
register_row(Record, lambda record: record.fields)


def test_a_registered_value_and_its_subclasses_are_encoded() -> None:
    assert attribute_value(Money(5)) == {"L": [{"N": "5"}]}
    assert attribute_value([Euros(5)]) == {"L": [{"L": [{"N": "5"}]}]}


def test_a_fault_in_a_registered_value_has_the_whole_path() -> None:
    with pytest.raises(RowError, match=r"^a\.b\[0\]: NaN and infinity") as caught:
        attribute_values({"a": {"b": Euros(float("nan"))}})  # type: ignore[arg-type]
    assert caught.value.path == "a.b[0]"


def test_a_registered_row_is_a_row_and_a_map() -> None:
    row = Record(id=1, inner=Record(x=None))
    assert attribute_values(row) == {"id": {"N": "1"}, "inner": {"M": {"x": {"NULL": True}}}}
    assert row_mapping(row)["id"] == 1
    with pytest.raises(RowError) as caught:
        attribute_values(Record(id=1, inner=Record(x=OPAQUE)))
    assert caught.value.path == "inner.x"


def test_registering_counts_from_then_on() -> None:
    assert attribute_value(Tagged(a=1)) == {"M": {"a": {"N": "1"}}}
    register_value(Tagged, lambda tagged: {"S": ",".join(tagged)})
    assert attribute_value(Tagged(a=1)) == {"S": "a"}


@pytest.mark.parametrize(
    "kind", [str, int, float, bool, type(None), Decimal, bytes, list, tuple, dict]
)
def test_how_plain_values_are_stored_cannot_be_changed(kind: Any) -> None:
    with pytest.raises(ValueError, match=rf"how a (decimal\.)?{kind.__qualname__} is stored"):
        register_value(kind, lambda _: {"S": "x"})
    with pytest.raises(ValueError, match="is stored can't be changed"):
        register_row(kind, lambda _: {})


def test_values_need_neither_numpy_nor_beam_nor_boto3() -> None:
    # In a process of its own, and without the package's __init__, which has it all.
    program = """
import sys, types
package = types.ModuleType("beam_dynamodb")
package.__path__ = sys.argv[1:]
sys.modules["beam_dynamodb"] = package
from beam_dynamodb.errors import RowError
from beam_dynamodb.sizes import stored_size
from beam_dynamodb.values import attribute_value
assert attribute_value([1]) == {"L": [{"N": "1"}]}
try:
    attribute_value(1j)
except RowError:
    print(sorted({"numpy", "apache_beam", "boto3", "botocore"} & sys.modules.keys()))
"""
    package = str(Path(beam_dynamodb.__file__).parent)
    command = [sys.executable, "-c", program, package]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert shown.stdout.strip() == "[]"


# --- numbers -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "same",
    [
        ["1", "1.0", "1E0", "01", "+1", "10E-1", "0.1E1", 1, 1.0, Decimal("1.00")],
        ["0", "-0", "0.0", "0E5", "-0E-500", 0, -0.0, Decimal("0E+9")],
        ["100", "1E2", "1e+2", 100, 100.0, Decimal("1E2")],
        ["-12.5", "-125E-1", -12.5, Decimal("-12.50")],
        ["0.1", ".1", "1E-1", 0.1, Decimal("0.1")],
        ["9" * 38, int("9" * 38), Decimal("9" * 38)],
        ["1E125", 10**125, Decimal("1E125")],
    ],
)
def test_equal_numbers_have_one_canonical_text(same: list[Any]) -> None:
    assert len({canonical_number(number) for number in same}) == 1


def test_unequal_numbers_have_unequal_canonical_texts() -> None:
    numbers: list[Any] = [
        "0",
        "1",
        "-1",
        "10",
        "100",
        "0.1",
        "1E125",
        "1E-130",
        0.1 + 0.2,
        0.3,
        10**20 + 1,
    ]
    assert len({canonical_number(number) for number in numbers}) == len(numbers)


@pytest.mark.parametrize("text", ["", "x", "NaN", "1_0", " 1", "1 ", "٣", "1٣1", "0x1", "1E", "."])
def test_what_is_no_number_is_refused(text: str) -> None:
    for judge in (canonical_number, check_number):
        with pytest.raises(RowError, match="is not a number"):
            judge(text)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), Decimal("-Infinity")])
def test_numbers_that_are_not_finite_are_refused(number: Any) -> None:
    with pytest.raises(RowError, match="NaN and infinity"):
        canonical_number(number)


def test_the_decimal_context_of_the_thread_does_not_matter() -> None:
    with localcontext() as context:
        context.prec = 2
        context.Emax = 3
        for flag in context.traps:
            context.traps[flag] = True
        assert attribute_value(Decimal("1." + "0" * 50 + "E100")) == {"N": "1E+100"}
        assert canonical_number("123456E50") == canonical_number("1234560E49")
        assert stored_size({"": {"N": "-123456"}}) == 5
        assert attribute_value(timedelta(days=123456, microseconds=1)) == {
            "N": "10666598400.000001"
        }


# --- sizes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ("", 0),
        ("é😀", 6),
        (b"", 0),
        (b"a", 1),
        (b"ab", 2),
        (b"abc", 3),
        (True, 1),
        (None, 1),
        ([], 3),
        ({}, 3),
        (["ab", "c"], 3 + 1 + 2 + 1 + 1),
        ({"xé": "ab"}, 3 + 1 + 3 + 2),
        ([[], {}], 3 + 1 + 3 + 1 + 3),
        ({"a", "bc", ""}, 3),
        ({1, 22, -333}, 2 + 2 + 4),
        ({b"a", b"bc"}, 3),
        (0, 1),
        (7, 2),
        (-7, 3),
        (100, 2),
        (101, 3),
        (Decimal("0.1"), 2),
        (Decimal("1.5"), 3),
        (Decimal("1E-130"), 2),
        (int("9" * 38), 20),
        (Decimal("-0." + "1" * 38), 21),
    ],
)
def test_stored_size_follows_the_rule(value: Any, size: int) -> None:
    assert stored_size({"name": attribute_value(value)}) == len("name") + size


# --- the wire ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "path", "says"),
    [
        ({"id": 1, "a": "x\ud800"}, "a", "the text holds half of a surrogate pair"),
        ({"a": {"b": [0, "\udfff"]}}, "a.b[1]", "the text holds half"),
        ({"a": {"x", "\udfff"}}, "a", "the text holds half"),
        ({"a": {"\udfff": 1}}, "a", "an attribute name holds half"),
        ({"\udfff": 1}, "", "an attribute name holds half"),
        ({"a": [{"n" * 65536: 1}]}, "a[0]", "an attribute name is too long"),
        ({"é" * 32768: 1}, "", "an attribute name is too long"),
    ],
)
def test_what_cannot_travel_has_its_path(row: Any, path: str, says: str) -> None:
    item = attribute_values(row)
    with pytest.raises(RowError, match=says) as caught:
        wire(item)
    assert caught.value.path == path
    assert len(caught.value.message.encode()) < 200


def test_wire_is_compact_utf8_json() -> None:
    item = attribute_values({"é": "😀", "n": 1})
    assert wire(item) == '{"é":{"S":"😀"},"n":{"N":"1"}}'.encode()


def test_an_item_of_something_else_is_refused() -> None:
    with pytest.raises(RowError, match="DynamoDB's JSON form"):
        wire({"a": {"N": OPAQUE}})
