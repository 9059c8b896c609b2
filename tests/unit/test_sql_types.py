"""Values of declared columns: converted, checked, and in DynamoDB as Flink's connector has them."""

from __future__ import annotations

import enum
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal

import numpy as np
import pytest
from apache_beam.utils.timestamp import Timestamp

import beam_dynamodb.to_request  # noqa: F401 - makes Beam's types values
from beam_dynamodb import RowError
from beam_dynamodb.ddl import parse_table
from beam_dynamodb.sql_types import convert_part, convert_row
from beam_dynamodb.values import attribute_values

UTC = timezone.utc


class Color(enum.Enum):
    RED = "red"


def converter(declared: str, **settings):
    columns = parse_table(f"CREATE TABLE t ({declared}) WITH ('a' = 'b')").columns
    return convert_row(columns, **settings)


def stored(declared: str, value: object):
    return attribute_values(converter(f"c {declared}")({"c": value}))["c"]


# Section "Data Type Mapping" of Flink's connector, and what its code does beyond it.
STORED = [
    ("CHAR(3)", "ab", {"S": "ab"}),
    ("STRING", "", {"S": ""}),
    ("STRING", 5, {"S": "5"}),
    ("STRING", Color.RED, {"S": "red"}),
    ("BOOLEAN", "TRUE", {"BOOL": True}),
    ("BOOLEAN", np.bool_(False), {"BOOL": False}),
    ("BYTES", b"\0", {"B": "AA=="}),
    ("BYTES", "AA==", {"B": "AA=="}),
    ("TINYINT", -128, {"N": "-128"}),
    ("INT", "7", {"N": "7"}),
    ("BIGINT", np.int64(7), {"N": "7"}),
    ("BIGINT", 7.0, {"N": "7"}),
    ("BIGINT", 2**63 - 1, {"N": "9223372036854775807"}),
    ("DECIMAL(5, 2)", "1.005", {"N": "1.01"}),
    ("DECIMAL(5, 4)", 1.001, {"N": "1.0010"}),
    ("DECIMAL(2, 2)", 0, {"N": "0.00"}),
    ("FLOAT", 0.1, {"N": "0.1"}),
    ("FLOAT", 123456791234567.0, {"N": "123456790000000.0"}),
    ("DOUBLE", "1.5", {"N": "1.5"}),
    ("DATE", np.datetime64("2022-11-10"), {"S": "2022-11-10"}),
    ("DATE", "2022-11-10", {"S": "2022-11-10"}),
    ("TIME", time(13, 5), {"S": "13:05"}),
    ("TIME(3)", "13:05:07.123", {"S": "13:05:07.123"}),
    ("TIMESTAMP(3)", "2022-11-10 00:00:00", {"S": "2022-11-10T00:00"}),
    ("TIMESTAMP(9)", "2022-11-10T01:02:03.123456789", {"S": "2022-11-10T01:02:03.123456789"}),
    (
        "TIMESTAMP(9)",
        np.datetime64("2022-11-10T01:02:03.123456789"),
        {"S": "2022-11-10T01:02:03.123456789"},
    ),
    ("TIMESTAMP(9)", "2022-11-10 01:02:03.1234567", {"S": "2022-11-10T01:02:03.123456700"}),
    ("TIMESTAMP(9)", "2022-11-10T01:02:03.123456000", {"S": "2022-11-10T01:02:03.123456"}),
    (
        "TIMESTAMP_LTZ(9)",
        "2022-11-10T01:02:03.123456789+02:00",
        {"S": "2022-11-09T23:02:03.123456789Z"},
    ),
    ("TIMESTAMP_LTZ(3)", "2022-11-10T00:00:00Z", {"S": "2022-11-10T00:00:00Z"}),
    ("TIMESTAMP_LTZ", datetime(2022, 11, 10, tzinfo=UTC), {"S": "2022-11-10T00:00:00Z"}),
    ("TIMESTAMP_LTZ(3)", Timestamp(0), {"S": "1970-01-01T00:00:00Z"}),
    ("INTERVAL YEAR TO MONTH", 14, {"S": "P1Y2M"}),
    ("INTERVAL YEAR TO MONTH", "-P2M", {"S": "P-2M"}),
    ("INTERVAL DAY TO SECOND", timedelta(days=1, seconds=3661, milliseconds=1), {"N": "90061.001"}),
    ("INTERVAL DAY TO SECOND", np.int64(3), {"N": "3"}),
    ("INTERVAL DAY TO SECOND", np.timedelta64(1500, "ms"), {"N": "1.5"}),
    ("INTERVAL YEAR TO MONTH", np.int64(14), {"S": "P1Y2M"}),
    ("INTERVAL YEAR TO MONTH", np.timedelta64(14, "M"), {"S": "P1Y2M"}),
    ("ARRAY<TINYINT>", (1, "2"), {"L": [{"N": "1"}, {"N": "2"}]}),
    ("ARRAY<STRING>", [], {"L": []}),
    ("ARRAY<INT>", [None], {"L": [{"NULL": True}]}),
    ("MAP<INT, DATE>", {"7": "2022-11-10"}, {"M": {"7": {"S": "2022-11-10"}}}),
    ("MAP<BOOLEAN, INT>", {True: 1}, {"M": {"true": {"N": "1"}}}),
    ("ROW<a INT, b STRING>", {"a": 1}, {"M": {"a": {"N": "1"}, "b": {"NULL": True}}}),
    ("ROW<a INT, b STRING>", (1, "x"), {"M": {"a": {"N": "1"}, "b": {"S": "x"}}}),
    ("STRING", None, {"NULL": True}),
    # Numpy makes bare numbers of nanoseconds, months and years beyond 9999.
    ("STRING", np.datetime64("2022-11-10T01:02:03", "us"), {"S": "2022-11-10T01:02:03"}),
    ("STRING", np.datetime64("2022-11-10T01:02:03", "ns"), {"S": "2022-11-10T01:02:03"}),
    ("TIMESTAMP(3)", np.datetime64("2022-11-10"), {"S": "2022-11-10T00:00"}),
    ("TIMESTAMP(3)", np.datetime64("2022-11"), {"S": "2022-11-01T00:00"}),
    ("ARRAY<INTERVAL DAY TO SECOND>", np.array([1_500_000_000], "m8[ns]"), {"L": [{"N": "1.5"}]}),
    ("ARRAY<INTERVAL YEAR TO MONTH>", np.array([1], "m8[Y]"), {"L": [{"S": "P1Y"}]}),
    (
        "ARRAY<ARRAY<INTERVAL DAY TO SECOND>>",
        np.array([[1_500_000_000]], "m8[ns]"),
        {"L": [{"L": [{"N": "1.5"}]}]},
    ),
    (
        "ARRAY<TIMESTAMP(9)>",
        np.array(["2022-11-10T01:02:03.123456789"], "M8[ns]"),
        {"L": [{"S": "2022-11-10T01:02:03.123456789"}]},
    ),
    ("ARRAY<ARRAY<INT>>", np.array([[1, 2]]), {"L": [{"L": [{"N": "1"}, {"N": "2"}]}]}),
]  # fmt: skip


@pytest.mark.parametrize(("declared", "value", "expected"), STORED)
def test_values_are_stored_as_flink_stores_them(declared, value, expected):
    assert stored(declared, value) == expected


REFUSED = [
    ("STRING", b"x", "c", "the value is a bytes"),
    ("STRING", float("nan"), "c", "the value is nan; write None instead"),
    ("STRING", np.float32("nan"), "c", "the value is nan; write None instead"),
    ("STRING", Decimal("sNaN"), "c", "the value is sNaN; write None instead"),
    ("STRING", np.datetime64("NaT", "ns"), "c", "the value is a NoneType"),
    ("STRING", np.datetime64("2022-11-10T01:02:03.123456789"), "c", "the value is a datetime64"),
    ("BIGINT", np.datetime64("2022-11-10", "ns"), "c", "the value is a datetime"),
    ("BIGINT", np.datetime64("12022-11-10"), "c", "the value is a datetime64"),
    ("DOUBLE", np.timedelta64(5, "ns"), "c", "the value is a timedelta64"),
    ("BIGINT", np.timedelta64(5, "M"), "c", "the value is a timedelta64"),
    ("ARRAY<BIGINT>", np.array([5_000], "m8[ns]"), "c[0]", "the value is a timedelta"),
    ("FLOAT", 3.4028235677973366e38, "c", "out of its range"),
    ("DOUBLE", 10**400, "c", "out of its range"),
    ("TIMESTAMP_LTZ", "0001-01-01T00:00:00+05:00", "c", "of no year from 1 to 9999"),
    ("BOOLEAN", 1, "c", "the value is a int"),
    ("BOOLEAN", "yes", "c", "the text is neither true nor false"),
    ("BYTES", "?", "c", "no base64"),
    ("TINYINT", 128, "c", "out of its range"),
    ("BIGINT", 1.5, "c", "no integer"),
    ("BIGINT", "x", "c", "the text is no integer"),
    ("SMALLINT", "1.5", "c", "the text is no integer"),
    ("BIGINT", Decimal("1E+9999999"), "c", "out of its range"),
    ("BIGINT", "1" * 5000, "c", "out of its range"),
    ("INT", True, "c", "the value is a bool"),
    ("DECIMAL(3, 1)", 100, "c", "more digits before the point"),
    ("DECIMAL(3, 1)", Decimal("1E+99999999"), "c", "more digits before the point"),
    ("DECIMAL(3, 1)", "x", "c", "no number"),
    ("DECIMAL(3, 1)", float("nan"), "c", "NaN and infinity"),
    ("FLOAT", 1e300, "c", "out of its range"),
    ("DOUBLE", "x", "c", "the text is no number"),
    ("DECIMAL(5, 0)", "1_000", "c", "the text is no number"),
    ("DATE", datetime(2022, 1, 1), "c", "the value is a datetime"),
    ("DATE", "10.11.2022", "c", "ISO 8601"),
    ("TIME", "x", "c", "ISO 8601"),
    ("TIMESTAMP(3)", datetime(2022, 1, 1, tzinfo=UTC), "c", "declare TIMESTAMP_LTZ"),
    ("TIMESTAMP(9)", "2022-01-01T00:00:00.123456789Z", "c", "declare TIMESTAMP_LTZ"),
    ("TIMESTAMP(9)", "2022-13-01T00:00:00.123456789", "c", "ISO 8601"),
    ("TIMESTAMP_LTZ(3)", datetime(2022, 1, 1), "c", "declare TIMESTAMP"),
    ("INTERVAL YEAR TO MONTH", "x", "c", "the text is no period such as P1Y2M"),
    ("INTERVAL YEAR TO MONTH", 1.5, "c", "the value is a float"),
    ("INTERVAL DAY TO SECOND", "x", "c", "the value is a str"),
    ("INTERVAL YEAR TO MONTH", np.timedelta64(14, "s"), "c", r"timedelta64\[s\]"),
    ("INTERVAL DAY TO SECOND", np.timedelta64(14, "M"), "c", r"timedelta64\[M\]"),
    ("INTERVAL DAY TO SECOND", float("nan"), "c", "no length of time"),
    ("INTERVAL DAY TO SECOND", 1e30, "c", "no length of time"),
    ("ARRAY<STRING>", {1, "a"}, "c", "give a list"),
    ("ARRAY<INT>", [1, "x"], "c[1]", "INT is declared"),
    ("ARRAY<INT NOT NULL>", [None], "c[0]", "NOT NULL"),
    ("MAP<STRING, INT>", {"k": "x"}, "c.k", "INT is declared"),
    ("MAP<STRING, INT>", [1], "c", "the value is a list"),
    ("MAP<INT, STRING>", {1: "a", "1": "b"}, "c", "two keys are the same"),
    ("ROW<a ROW<b INT>>", {"a": {"b": "x"}}, "c.a.b", "INT is declared"),
    ("ROW<a INT>", (1, 2), "c", "2 fields"),
    ("INT NOT NULL", None, "c", "NOT NULL, however, a null value is being written into it"),
]


@pytest.mark.parametrize(("declared", "value", "path", "reason"), REFUSED)
def test_what_is_not_of_its_type_is_refused_by_its_path(declared, value, path, reason):
    with pytest.raises(RowError, match=reason) as refused:
        stored(declared, value)
    assert refused.value.path == path
    assert refused.value.message.startswith(f"{path}: ")


def test_a_row_has_its_columns_in_their_order_and_null_where_one_lacks():
    convert = converter("a INT, b STRING, c DATE", passed=("op",))
    assert list(convert({"c": date(2022, 1, 1), "op": "+I", "a": 1}).items()) == [
        ("a", 1),
        ("b", None),
        ("c", date(2022, 1, 1)),
        ("op", "+I"),
    ]


def test_a_field_that_is_no_column_is_refused():
    with pytest.raises(RowError, match=r"no column of this name is declared.*'a'\]") as refused:
        converter("a INT")({"a": 1, "b": 2})
    assert refused.value.path == "b"


def test_a_part_of_a_row_has_what_it_has_and_no_more():
    columns = parse_table("CREATE TABLE t (a INT, b STRING NOT NULL) WITH ('a' = 'b')").columns
    convert = convert_part(columns, ("op",))
    assert convert({"a": "1"}) == {"a": 1}
    assert convert({"op": "-D", "a": 1}) == {"a": 1, "op": "-D"}
    with pytest.raises(RowError, match=r"c: no column of this name .* \['a', 'b'\]"):
        convert({"a": 1, "c": 2})


def test_primary_key_columns_take_no_null():
    with pytest.raises(RowError, match="a: the column is NOT NULL"):
        converter("a INT, PRIMARY KEY (a) NOT ENFORCED")({})


def test_decimals_of_any_kind_are_exact():
    convert = converter("c DECIMAL(38, 18)")
    number = "12345678901234567890.123456789012345678"
    assert convert({"c": number}) == {"c": Decimal(number)}
