"""Dead letters: what a line looks like, what it refuses, and what no value can break."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import pickle
import time
from decimal import Decimal
from typing import Any, NamedTuple

import apache_beam as beam
import numpy
import orjson
import pytest
from apache_beam.utils.timestamp import Timestamp

from beam_dynamodb import Delete, FailedRecord, Put, RowError
from beam_dynamodb.dead_letters import DeadLetter, TableRow, Unreadable, table_of
from beam_dynamodb.errors import DeadLetterError
from beam_dynamodb.tagged_json import dumps, loads
from beam_dynamodb.times import ExactTime
from beam_dynamodb.version import __version__


def failed(element, **facts):
    error = RowError("no")
    defaults = {
        "code": "InvalidValue", "message": "no", "table": "t", "key": "{id: 1}", "attempts": 0,
        "retriable": False,
    }  # fmt: skip
    return FailedRecord(element, (RowError, repr(error), ["local = data"]), **defaults | facts)


def test_a_line_holds_the_facts_and_the_element_and_no_traceback():
    request = b'{"PutRequest":{"Item":{"id":{"N":"1"},"raw":{"B":"AQ=="}}}}'
    record = failed(
        {"id": 1, "raw": b"\1"}, code="ThrottlingException", attempts=7, retriable=True,
        request=request,
    )  # fmt: skip
    assert json.loads(DeadLetter.of(record, 1_668_042_120_000_001).to_line()) == {
        "operation": "put",
        "table": "t",
        "key": "{id: 1}",
        "code": "ThrottlingException",
        "message": "no",
        "attempts": 7,
        "retriable": True,
        "timestamp": "2022-11-10T01:02:00.000001Z",
        "version": __version__,
        "element": {"id": {"N": "1"}, "raw": {"B": "AQ=="}},
    }


def test_a_refused_row_is_readable_and_a_person_can_mend_it():
    line = DeadLetter.of(
        failed({"id": 1, "price": float("nan"), "by": b"\1", "é": "\u2028"})
    ).to_line()
    assert '"element": {"id": 1, "price": {"$float": "nan"}, "by": {"$bytes": "AQ=="}' in line
    assert '"é": "\\u2028"' in line
    mended = line.replace('{"$float": "nan"}', '{"$decimal": "1.50"}')
    record = DeadLetter.from_line(mended).record()
    assert record == {"id": 1, "price": Decimal("1.50"), "by": b"\1", "é": "\u2028"}
    assert str(record["price"]) == "1.50"


def test_the_shortest_line_that_can_be_replayed():
    record = DeadLetter.from_line('{"operation": "put", "element": {"id": {"S": "a"}}}').record()
    assert record == Put({"id": {"S": "a"}})


def test_records_of_beams_own_error_handling_wait_for_a_person():
    letter = DeadLetter.of(({"n": "many"}, (ValueError, "ValueError('n')", ["local = data"])), 5)
    assert letter == DeadLetter(
        {"n": "many"}, None, code="ValueError", message="ValueError('n')", timestamp=5
    )
    with pytest.raises(DeadLetterError, match="make 'element' the row"):
        DeadLetter.from_line(letter.to_line()).record()


@pytest.mark.parametrize(
    ("element", "operation"), [(Put({"id": 1}), "put"), (Delete({"id": 1}), "delete"), ({}, "row")]
)
def test_the_operation_of_a_refused_element(element, operation):
    assert DeadLetter.of(failed(element)).operation == operation


@pytest.mark.parametrize(
    ("change", "operation"),
    [(Put({"id": 1}), "put"), (Delete({"id": 1}, of_row=True), "delete_of_row")],
)
def test_a_refused_row_is_what_its_change_kind_said(change, operation):
    letter = DeadLetter.of(failed({"op": "?", "id": 1}, change=change))
    assert (letter.operation, letter.element) == (operation, {"id": 1})
    assert DeadLetter.from_line(letter.to_line()).record() == change


def test_a_letter_stays_itself_but_for_an_event_time_that_it_lacks():
    letter = DeadLetter({"id": 1}, "put")
    assert DeadLetter.of(letter) is letter
    assert DeadLetter.of(letter, 7) == dataclasses.replace(letter, timestamp=7)
    assert DeadLetter.of(DeadLetter.of(letter, 7), 8).timestamp == 7


def test_what_orders_a_delete_goes_with_it():
    letter = DeadLetter({"id": 1}, "delete", "t", beside={"v": 5})
    again = DeadLetter.from_line(letter.to_line())
    assert again == letter
    assert again.record() == Delete({"id": 1}, {"v": 5})
    assert "beside" not in DeadLetter({"id": 1}, "delete", "t").to_line()


def test_what_stands_beside_a_deletes_key_may_be_mended_whatever_it_was():
    letter = DeadLetter.of(failed(Delete({"id": 1}, 7)))
    again = DeadLetter.from_line(letter.to_line())
    assert (again, again.beside) == (letter, 7)
    with pytest.raises(DeadLetterError, match="^'beside' is no row but a int"):
        again.record()
    assert dataclasses.replace(again, beside=None).record() == Delete({"id": 1})


@pytest.mark.parametrize(
    "at",
    [
        datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc),
        ExactTime("2026-01-01T00:00:00.000000001Z"),
    ],
)
def test_the_time_that_orders_a_put_stays_a_time(at):
    request = b'{"PutRequest":{"Item":{"id":{"N":"1"},"at":{"S":"2026-01-01T00:00:00Z"}}}}'
    letter = DeadLetter.of(failed({"id": 1, "at": at}, request=request, beside={"at": at}))
    assert (letter.element, letter.beside) == ({"id": 1, "at": at}, None)
    again = DeadLetter.from_line(letter.to_line()).record()
    assert again == Put(letter.element)
    assert type(again.row["at"]) is type(at)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("", "Expecting value"),
        ("[]", "an object with element"),
        ('{"table": "t"}', "an object with element"),
        ('{"element": {}, "retryable": true}', "'retryable' is no field"),
        ('{"element": {"v": {"$exacttime": "2026"}}}', "a time with nine digits"),
        ('{"element": {"v": {"$exacttime": "2026-13-01T00:00:00.000000001"}}}', "not fit it"),
        ('{"element": {}, "timestamp": 9223372036854775001}', "'timestamp' has no value that"),
        ('{"element": {}, "operation": "PUT"}', "'operation' has no value that it may have"),
        ('{"element": {}, "retriable": 1}', "'retriable' has no value"),
        ('{"element": {}, "attempts": true}', "'attempts' has no value"),
        ('{"element": {}, "timestamp": "yesterday"}', "'timestamp' has no value"),
        ('{"element": {"a": NaN}}', r'NaN is no JSON; write {"\$float": "nan"}'),
        ('{"element": {"$decimals": "1"}}', r"'\$decimals' is no tag"),
        ('{"element": {"$decimal": "1", "b": 2}}', r"'\$decimal' is no tag"),
        ('{"element": {"$decimal": "one"}}', r"'\$decimal' has a value that does not fit"),
        ('{"element": {"$set": [[1]]}}', r"'\$set' has a value that does not fit"),
        ('{"element": {"$bytes": "?"}}', r"'\$bytes' has a value that does not fit"),
        ('{"element": {"$unreadable": {}}}', r"'\$unreadable' has a value that does not fit"),
        ('{"element": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deep"),
        ('{"element": "\udcff"}', "not in UTF-8"),
    ],
)
def test_what_is_no_dead_letter_is_refused_with_the_reason(line, told):
    with pytest.raises(DeadLetterError, match=told):
        DeadLetter.from_line(line)


@pytest.mark.parametrize(
    ("element", "path"),
    [
        (object(), "element"),
        ({"a": [1, {"b.c": object()}]}, r'a\[1\]\["b.c"\]'),
        ({"a": {object()}}, r"a\[0\]"),
        ({"a": {object(): 1}}, r"a \(a key\)"),
        ({"a": (1, lambda: 1)}, r"a\[1\]"),
    ],
)
def test_unreadable_values_are_named_with_their_path(element, path):
    letter = DeadLetter.from_line(DeadLetter.of(failed(Put(element))).to_line())
    with pytest.raises(DeadLetterError, match=f"'{path}' was a builtins"):
        letter.record()


@pytest.mark.parametrize(
    ("micros", "shown"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
        (9_223_371_950_454_775_000, {"$int": "9223371950454775000"}),
        (None, None),
    ],
)
def test_event_times(micros, shown):
    line = DeadLetter({}, timestamp=micros).to_line()
    assert json.loads(line)["timestamp"] == shown
    assert DeadLetter.from_line(line).timestamp == micros


def test_event_times_may_be_written_with_any_offset_or_none():
    for text in ("1970-01-01T01:00:01+01:00", "1970-01-01T00:00:01Z", "1970-01-01T00:00:01"):
        line = json.dumps({"element": {}, "timestamp": text})
        assert DeadLetter.from_line(line).timestamp == 1_000_000


def test_table_of_tells_the_table_also_after_a_pickle():
    for element in (Put(TableRow({"id": 1}, "t")), Delete(TableRow({"id": 1}, "t"))):
        assert table_of(pickle.loads(pickle.dumps(element))) == "t"
    with pytest.raises(DeadLetterError, match="tells no table"):
        table_of(Put(TableRow({}, None)))


# --- what no value can break ---------------------------------------------------------------


class Colour(enum.Enum):
    RED = "red"


class Point(NamedTuple):
    x: int
    y: Any


@dataclasses.dataclass
class Line:
    start: Point


class Broken:
    def __repr__(self):
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("value", "back"),
    [
        (Colour.RED, "red"),
        (Point(1, b"a"), {"x": 1, "y": b"a"}),
        (Line(Point(1, 2)), {"start": {"x": 1, "y": 2}}),
        (beam.Row(a=1), {"a": 1}),
        (Timestamp(0), "1970-01-01T00:00:00Z"),
        (numpy.int64(7), 7),
        (numpy.float32(0.1), Decimal("0.1")),
        (numpy.array([[1, 2]]), [[1, 2]]),
        (type("Text", (str,), {})("a"), "a"),
        (type("List", (list,), {})([object]), [Unreadable("builtins.type", repr(object))]),
        (memoryview(b"a"), b"a"),
        ({1: 2}.keys(), {1}),
        (numpy.float32("nan"), Decimal("NaN")),
    ],
)
def test_values_of_other_types_come_back_as_what_is_stored_alike(value, back):
    again = loads(dumps({"v": value}))["v"]
    assert str(again) == str(back)
    if again == again:
        assert again == back


@pytest.mark.parametrize("number", [2**53 + 1, 10**38, -(10**5000), 1 << 4096], ids=hex)
def test_huge_integers_survive(number):
    line = dumps({"v": number})
    orjson.loads(line)
    assert loads(line) == {"v": number}


def test_a_broken_repr_is_told():
    assert loads(dumps(Broken())).text == "its repr raised RuntimeError"


def test_a_long_repr_is_cut():
    assert len(loads(dumps(type("Long", (), {"__repr__": lambda _: "x" * 10**7})())).text) == 1_000


def test_what_stood_in_a_set_or_as_a_key_and_comes_back_as_a_dict_is_unreadable():
    point = Point(1, 2)
    lost = Unreadable(f"{__name__}.Point", repr(point))
    assert loads(dumps([{point, 3}, {point: 4, "v": 5}])) == [{lost, 3}, {lost: 4, "v": 5}]
    assert loads(dumps({(1, frozenset([2])): 3})) == {(1, frozenset([2])): 3}
    pair = 1, type("Frozen", (frozenset,), {})([6])
    assert loads(dumps({pair: 3})) == {Unreadable("builtins.tuple", repr(pair)): 3}


def test_what_contains_itself_ends():
    cycle: list[Any] = [1]
    cycle.append({"again": (cycle,)})
    assert loads(dumps(cycle)) == [
        1,
        {"again": (Unreadable("builtins.list", "it contains itself"),)},
    ]


def test_the_same_object_twice_is_no_cycle():
    same = [1]
    assert loads(dumps([same, same])) == [same, same]


def test_what_is_nested_without_end_is_cut_and_stays_within_every_readers_depth():
    deep: Any = {}
    for _ in range(100_000):
        deep = {"$x": (deep,)}
    orjson.loads(dumps(deep))
    assert "there is too much of it" in dumps(deep)
    while isinstance(deep, dict) and deep:  # else its end would be recursive as well
        deep = deep["$x"][0]


def test_what_contains_the_same_many_times_over_ends_in_time():
    many: Any = 1
    for _ in range(90):
        many = [many, many]
    started = time.monotonic()
    assert "there is too much of it" in dumps(many)
    assert time.monotonic() - started < 30


def test_datetimes_whose_zone_fails_are_unreadable_and_not_fatal():
    class Zone(datetime.tzinfo):
        def utcoffset(self, _):
            raise RuntimeError("no")

    value = datetime.datetime(2022, 1, 1, tzinfo=Zone())
    assert loads(dumps(value)).kind == "datetime.datetime"


def test_equal_unreadables_are_equal_and_their_repr_tells_them():
    one = Unreadable("a.B", "text")
    assert one == Unreadable("a.B", "text") != Unreadable("a.C", "text")
    assert len({one, Unreadable("a.B", "text")}) == 1
    assert repr(one) == "Unreadable('a.B', 'text')"
