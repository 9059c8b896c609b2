"""What must hold for every row: its meaning, the bound of its size, the paths of its faults."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_dynamodb.errors import RowError
from beam_dynamodb.numbers import canonical_number, check_number
from beam_dynamodb.sizes import stored_size
from beam_dynamodb.values import (
    attribute_value,
    attribute_values,
    wire,
)
from tests.properties.strategies import (
    decimals,
    numbers,
    planted,
    respelled,
    rows,
    texts,
    values,
    walk,
)


def _decoded(value: dict[str, Any]) -> Any:
    """An AttributeValue's meaning: the inverse of `attribute_value` for DynamoDB's own types."""
    ((tag, payload),) = value.items()
    if tag in ("SS", "NS", "BS"):
        return {_decoded({tag[0]: member}) for member in payload}
    if tag == "L":
        return [_decoded(element) for element in payload]
    if tag == "M":
        return {name: _decoded(element) for name, element in payload.items()}
    if tag == "N":
        return Decimal(payload)
    if tag == "B":
        return base64.b64decode(payload)
    assert (tag, payload) == ("NULL", True) or tag in ("S", "BOOL")
    return None if tag == "NULL" else payload


def _typed(value: Any) -> Any:
    """The value with its types beside it, all numbers being Decimals, so that True is not 1."""
    if isinstance(value, (list, tuple)):
        return [_typed(element) for element in value]
    if isinstance(value, dict):
        return {name: _typed(element) for name, element in value.items()}
    if isinstance(value, set):
        return {_typed(member) for member in value}
    if isinstance(value, float):
        return Decimal, Decimal(repr(value))
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal, Decimal(value)
    return type(value), value


@given(rows())
def test_an_item_means_what_its_row_meant(row: dict[str, Any]) -> None:
    item = attribute_values(row)
    decoded = {name: _decoded(value) for name, value in item.items()}
    assert _typed(decoded) == _typed(row)
    assert list(item) == list(row)


@given(rows())
def test_wire_bytes_are_the_items_json(row: dict[str, Any]) -> None:
    item = attribute_values(row)
    assert json.loads(wire(item)) == item


@given(rows())
def test_an_item_in_wire_form_passes_as_it_is(row: dict[str, Any]) -> None:
    item = attribute_values(row)
    assert attribute_values(item) == item
    assert attribute_values(orjson.loads(wire(item))) == item


@given(rows())
def test_the_stored_size_is_less_than_the_wire_size(row: dict[str, Any]) -> None:
    item = attribute_values(row)
    assert 0 < stored_size(item) < len(wire(item))


@given(st.dictionaries(texts(min_size=1), st.one_of(numbers(), st.just([]), st.just({}))))
def test_even_items_of_little_text_are_smaller_stored(row: dict[str, Any]) -> None:
    item = attribute_values(row)
    assert stored_size(item) < len(wire(item))


@given(rows())
def test_ignoring_nulls_leaves_out_the_rows_own_and_no_others(row: dict[str, Any]) -> None:
    kept = {name: value for name, value in row.items() if value is not None}
    assert attribute_values(row, ignore_nulls=True) == attribute_values(kept)


@given(decimals(), st.data())
def test_all_spellings_of_a_number_have_one_canonical_text(
    number: Decimal, data: st.DataObject
) -> None:
    spelled = data.draw(respelled(number))
    assert Decimal(spelled) == number
    assert canonical_number(spelled) == canonical_number(number)
    assert canonical_number(canonical_number(number)) == canonical_number(number)


_FEW = st.sampled_from(
    ["0", "-0", "0E5", "1", "1.0", "01", "1E0", "10", "1E1", "1E+1", "100E-1", "-1", "0.1", ".1"]
)


@given(st.one_of(numbers(), _FEW), st.one_of(numbers(), _FEW))
def test_two_numbers_have_one_canonical_text_exactly_when_they_are_equal(
    one: str | float | Decimal, other: str | float | Decimal
) -> None:
    equal = Decimal(str(one)) == Decimal(str(other))
    assert (canonical_number(one) == canonical_number(other)) == equal


@given(decimals(), st.data())
def test_a_checked_number_keeps_its_value(number: Decimal, data: st.DataObject) -> None:
    checked = check_number(data.draw(respelled(number)))
    assert Decimal(checked) == number


@given(planted())
def test_an_errors_path_leads_to_the_culprit(row_and_culprit: tuple[dict[str, Any], Any]) -> None:
    row, culprit = row_and_culprit
    with pytest.raises(RowError) as caught:
        attribute_values(row)
    error = caught.value
    assert walk(row, error.path) is culprit
    assert error.message.startswith(f"{error.path}: ")
    assert error.code == "InvalidValue"


@given(values(), st.integers(0, 40), st.booleans())
def test_depth_alone_decides_beyond_32_levels(value: Any, levels: int, mapping: bool) -> None:
    for _ in range(levels):
        value = {"x": value} if mapping else [value]
    if 1 + _levels(value) <= 32:
        attribute_values({"a": value})
        return
    with pytest.raises(RowError, match="32 levels") as caught:
        attribute_values({"a": value})
    # 32 steps lead from the item, level 1, to the container that is one level too deep.
    assert isinstance(walk({"a": value}, caught.value.path), (list, tuple, dict))
    assert caught.value.path.startswith("a" + (".x" if mapping else "[0]") * min(levels - 1, 31))


def _levels(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_levels, value.values()), default=0)
    if isinstance(value, (list, tuple)):
        return 1 + max(map(_levels, value), default=0)
    return 0


# --- whatever comes, the only error is a RowError ------------------------------------------


class _RaisingMapping(Mapping[str, Any]):
    def __getitem__(self, key: str) -> Any:
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        raise OSError("no more")

    def __len__(self) -> int:
        return 1


class _Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        raise RuntimeError("unreadable")


class _List(list[Any]):
    def __iter__(self) -> Iterator[Any]:
        raise ValueError("unreadable")


class _Number(Decimal):
    def __str__(self) -> str:
        raise RuntimeError("unreadable")


class _Zone(tzinfo):
    def utcoffset(self, when: datetime | None) -> timedelta:
        raise RuntimeError("nowhere")

    def dst(self, when: datetime | None) -> timedelta:
        raise RuntimeError("nowhere")

    def tzname(self, when: datetime | None) -> str:
        raise RuntimeError("nowhere")


class _Strange:
    _fields = 3

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("incomparable")

    __hash__ = object.__hash__

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


def _strange() -> st.SearchStrategy[Any]:
    leaves = st.one_of(
        st.builds(_RaisingMapping),
        st.text(),
        st.builds(_Text, st.text()),
        st.builds(_List, st.just([1])),
        st.builds(_Number, st.sampled_from(["1", "1" * 40, "NaN"])),
        st.builds(_Strange),
        st.builds(datetime, st.sampled_from([1, 2000, 9999]), st.just(1), st.just(1),
                  tzinfo=st.sampled_from([None, _Zone(), timezone(timedelta(hours=14))])),
        st.sampled_from([int, _Strange, ..., NotImplemented, iter([]), range(3), print, b"", json]),
        st.complex_numbers(), st.floats(), st.decimals(), st.fractions(), st.integers(),
        st.uuids(), st.times(), st.dates().map(date.isocalendar), st.timedeltas(),
        st.integers(4300, 5000).map(lambda digits: 10**digits),
    )  # fmt: skip
    hashable = st.one_of(st.none(), st.text(), st.integers(), st.floats(), st.tuples(st.text()))
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(hashable, inner, max_size=3),
            st.frozensets(hashable, max_size=3),
            st.builds(lambda tag, payload: {tag: payload}, st.sampled_from(_TAGS), inner),
        ),
        max_leaves=8,
    )


def _as_an_attribute_on_the_wire(value: Any) -> bytes:
    return wire(attribute_values({"a": value}))


_TAGS = ["S", "N", "B", "L", "M", "SS", "NS", "BS", "BOOL", "NULL"]


@given(_strange())
def test_any_object_is_stored_or_refused_with_a_row_error(value: Any) -> None:
    for attempt in (attribute_value, attribute_values, _as_an_attribute_on_the_wire):
        try:
            attempt(value)
        except RowError as error:
            assert str(error).encode()
            assert error.message.startswith(error.path)


@given(st.times(), st.booleans())
def test_a_local_time_reads_back_as_itself(moment: time, whole_seconds: bool) -> None:
    shown = moment.replace(microsecond=0) if whole_seconds else moment
    assert time.fromisoformat(attribute_value(shown)["S"]) == shown


@given(st.datetimes(timezones=st.one_of(st.none(), st.timezones())))
def test_a_datetime_reads_back_as_itself(moment: datetime) -> None:
    try:
        text = attribute_value(moment)["S"]
    except RowError:
        with pytest.raises(OverflowError):
            moment.astimezone(timezone.utc)
        return
    read = datetime.fromisoformat(text.replace("Z", "+00:00"))
    assert read == (moment.astimezone(timezone.utc) if moment.tzinfo else moment)
    assert text.endswith("Z") == (moment.tzinfo is not None)
