"""Dead letters as lines: what goes in comes out, whatever it is, and a line is always one line."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal
from typing import Any, NamedTuple

import orjson
from apache_beam.utils.timestamp import MAX_TIMESTAMP, MIN_TIMESTAMP
from hypothesis import given
from hypothesis import strategies as st

from beam_dynamodb import Delete, FailedRecord, Put, RowError
from beam_dynamodb.dead_letters import DeadLetter
from beam_dynamodb.requests import RequestFactory
from beam_dynamodb.tagged_json import dumps, loads
from beam_dynamodb.values import attribute_values
from tests.properties.strategies import planted, rows, values

anything_in_text = st.text(st.characters(), max_size=8)  # half surrogate pairs as well
offsets = st.timedeltas(datetime.timedelta(hours=-23), datetime.timedelta(hours=23)).map(
    lambda delta: datetime.timezone(
        datetime.timedelta(minutes=delta // datetime.timedelta(minutes=1))
    )
)


def without_fold(moment: Any) -> Any:
    """It tells nothing where there is no time zone, or one that is an offset."""
    return moment.replace(fold=0)


hashables = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-9, 9).map(lambda n: (n << 5000) + 1),
    st.floats(),
    anything_in_text,
    st.binary(max_size=8),
    st.decimals(allow_nan=False),
    st.sampled_from(["NaN", "-NaN", "Infinity", "-Infinity", "1E+9999", "-0", "0E-7"]).map(Decimal),
    st.dates(),
    st.times().map(without_fold),
    st.times(timezones=offsets).map(without_fold),
    st.datetimes().map(without_fold),
    st.datetimes(timezones=offsets).map(without_fold),
    st.timedeltas(),
    st.uuids(),
)
"""Values of every type that comes back as itself; more than DynamoDB takes."""

anything = st.recursive(
    st.one_of(hashables, st.binary(max_size=4).map(bytearray)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.sets(hashables, max_size=3),
        st.frozensets(hashables, max_size=3),
        st.dictionaries(st.one_of(anything_in_text, st.just("$set"), hashables), inner, max_size=3),
    ),
    max_leaves=8,
)


class _Odd(NamedTuple):
    a: Any
    b: Any


def _refused(element: Any) -> FailedRecord:
    error = RowError("no")
    return FailedRecord(
        element, (RowError, repr(error), []), "InvalidValue", "no", "t", None, 0, retriable=False
    )


def alike(one: Any, other: Any) -> bool:
    """Equal and of the same types, all the way down; NaN is like NaN, -0.0 unlike 0.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, (float, Decimal)):
        return str(one) == str(other)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, dict):
        return alike(list(one.items()), list(other.items()))
    if isinstance(one, (set, frozenset)):
        return sorted(map(repr, one)) == sorted(map(repr, other))
    if isinstance(one, (datetime.datetime, datetime.time)):
        return (one, one.utcoffset()) == (other, other.utcoffset())
    return bool(one == other)


@given(anything)
def test_every_value_comes_back_with_its_types(value):
    assert alike(loads(dumps(value)), value)


@given(anything)
def test_a_line_is_one_line_of_strict_json_in_utf8(value):
    line = dumps(value)
    assert len(line.splitlines()) == 1
    line.encode()  # UTF-8 has no half surrogate pairs
    orjson.loads(line)  # strict: no NaN, no half surrogate pairs as escapes
    # Any reader of JSON has the same numbers, even one whose numbers are all doubles.
    json.loads(line, parse_int=lambda text: float(text) == int(text) or 1 / 0)


@given(rows())
def test_a_row_comes_back_as_the_same_row_and_as_the_same_item(row):
    again = DeadLetter.from_line(DeadLetter(row, "row").to_line())
    assert alike(again.element, row)
    assert attribute_values(again.record()) == attribute_values(row)


@given(rows(), st.integers(MIN_TIMESTAMP.micros, MAX_TIMESTAMP.micros) | st.none())
def test_what_had_become_a_request_comes_back_as_the_same_request(row, micros):
    factory = RequestFactory("t")
    for element in (row, Put(row), Delete({"id": row["id"]})):
        before = factory.request(element, 0)
        error = RowError("no")
        failed = FailedRecord(
            element, (RowError, repr(error), ["secret line"]), "Code", "no", "t", "{id: 1}", 3,
            retriable=True, request=before.body,
        )  # fmt: skip
        letter = DeadLetter.of(failed, micros)
        again = DeadLetter.from_line(letter.to_line())
        assert again == letter
        assert (again.table, again.code, again.attempts, again.retriable) == ("t", "Code", 3, True)
        assert again.timestamp == micros
        after = factory.request(again.record(), 0)
        assert orjson.loads(after.body) == orjson.loads(before.body)
        assert "secret line" not in letter.to_line()


@given(planted())
def test_a_row_that_cannot_be_stored_is_a_line_all_the_same(case):
    row, _ = case
    letter = DeadLetter.of(_refused(row))
    again = DeadLetter.from_line(letter.to_line())
    assert again.to_line() == letter.to_line()
    assert again.element["id"] == 1
    assert again.operation == "row"


@given(values())
def test_a_put_stays_a_put_and_a_delete_a_delete(value):
    for element, kind in ((Put({"id": value}), Put), (Delete({"id": value}), Delete)):
        again = DeadLetter.from_line(DeadLetter.of(_refused(element)).to_line()).record()
        assert type(again) is kind
        content = again.row if kind is Put else again.key
        assert alike(dict(content), {"id": value})


@given(st.recursive(anything, lambda inner: st.builds(_Odd, inner, inner), max_leaves=4))
def test_objects_of_any_type_make_strict_json(value):
    orjson.loads(dumps(value))
    assert dumps(loads(dumps(value))) == dumps(value)


@given(anything_in_text)
def test_any_text_is_a_dead_letter_or_is_refused(text):
    try:
        DeadLetter.from_line(text)
    except ValueError as refusal:
        assert "no dead letter" in str(refusal)
