"""Rows to requests: puts, deletes, change kinds, keys, order, size."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import numpy as np
import orjson
import pandas
import pytest
from apache_beam.utils.timestamp import Duration, Timestamp
from hypothesis import given
from hypothesis import strategies as st

from beam_dynamodb import identity
from beam_dynamodb.errors import RowError
from beam_dynamodb.identity import places_by_shard
from beam_dynamodb.requests import Delete, Put, RequestFactory
from beam_dynamodb.table import TableKey
from beam_dynamodb.times import ExactTime
from beam_dynamodb.values import attribute_value, register_row
from beam_dynamodb.write_requests import Request

ORDERS = RequestFactory("orders", TableKey(("customer", "number"), ("S", "N")))


def request(factory: RequestFactory, element: Any, timestamp: int = 0) -> Request:
    made = factory.request(element, timestamp)
    assert made is not None
    return made


def body(factory: RequestFactory, element: Any) -> Any:
    return orjson.loads(request(factory, element).body)


ROW = {"customer": "ann", "number": 7, "total": Decimal("9.50")}
ITEM = {"customer": {"S": "ann"}, "number": {"N": "7"}, "total": {"N": "9.50"}}
KEY = {"customer": {"S": "ann"}, "number": {"N": "7"}}
AWARE = dt.datetime(2026, 1, 1, 0, 0, 0, 500_000, dt.timezone.utc)
NANOS = ExactTime("2026-01-01T00:00:00.500000001Z")


@pytest.mark.parametrize("element", [ROW, Put(ROW), ITEM], ids=["row", "Put", "wire form"])
def test_a_row_is_a_put_of_the_whole_item(element: Any) -> None:
    assert body(ORDERS, element) == {"PutRequest": {"Item": ITEM}}


def test_a_delete_is_just_the_key() -> None:
    assert body(ORDERS, Delete({"customer": "ann", "number": 7})) == {"DeleteRequest": {"Key": KEY}}


def test_a_delete_of_a_row_picks_the_key() -> None:
    assert body(ORDERS, Delete(ROW, of_row=True)) == {"DeleteRequest": {"Key": KEY}}
    with pytest.raises(RowError, match="nobody told the table's key"):
        RequestFactory("orders").request(Delete(ROW, of_row=True), 0)


def test_a_put_and_a_delete_of_one_key_share_fence_and_identity() -> None:
    factory = RequestFactory("orders", ORDERS.table_key, ("customer", "number"))
    put = request(factory, ROW)
    delete = request(factory, Delete({"customer": "ann", "number": 7.0}))
    assert (put.fence, put.identity) == (delete.fence, delete.identity)


class Upsert(Put):
    """A put of a user's own."""


@dataclass(frozen=True, slots=True)
class Removal(Delete):
    """A delete that knows why."""

    why: str = ""


@pytest.mark.parametrize("change_kind", [None, "op"])
def test_a_subclass_of_put_or_delete_is_one(change_kind: str | None) -> None:
    factory = RequestFactory("orders", ORDERS.table_key, change_kind=change_kind)
    key = {"customer": "ann", "number": 7}
    upsert, removal = Upsert(ROW), Removal(key, why="gone")
    assert body(factory, upsert) == {"PutRequest": {"Item": ITEM}}
    assert body(factory, removal) == {"DeleteRequest": {"Key": KEY}}
    together = factory.requests([upsert] * 10 + [removal] * 10, range(20))
    assert [*together.requests.bodies] == [
        *[request(factory, upsert).body] * 10,
        *[request(factory, removal).body] * 10,
    ]


def test_a_delete_of_more_than_the_key_is_refused() -> None:
    with pytest.raises(RowError, match=r"just the key attributes \(customer, number\)") as caught:
        ORDERS.request(Delete(ROW), 0)
    assert caught.value.code == "InvalidKey"


KINDS = {"+I": "put", "INSERT": "put", "+U": "put", "UPDATE_AFTER": "put"}
KINDS |= {"-D": "delete", "DELETE": "delete", "-U": "nothing", "UPDATE_BEFORE": "nothing"}


@pytest.mark.parametrize(("kind", "effect"), KINDS.items())
@pytest.mark.parametrize("by", ["field", "callable"])
def test_the_change_kind_decides(kind: str, effect: str, by: str) -> None:
    change_kind: Any = "op" if by == "field" else (lambda _row: kind)
    factory = RequestFactory("orders", ORDERS.table_key, change_kind=change_kind)
    made = factory.request({**ROW, "op": kind} if by == "field" else ROW, 0)
    expected = {
        "put": {"PutRequest": {"Item": ITEM}},
        "delete": {"DeleteRequest": {"Key": KEY}},
        "nothing": None,
    }[effect]
    assert (orjson.loads(made.body) if made else None) == expected


class Change(Enum):
    DELETED = "-D"


class Word(str, Enum):
    DELETED = "-D"


@pytest.mark.parametrize("kind", [Change.DELETED, Word.DELETED])
@pytest.mark.parametrize("change_kind", ["op", lambda row: row["op"]], ids=["field", "callable"])
def test_a_change_kind_may_be_an_enum(change_kind: Any, kind: Any) -> None:
    factory = RequestFactory("orders", ORDERS.table_key, change_kind=change_kind)
    assert body(factory, {**ROW, "op": kind}) == {"DeleteRequest": {"Key": KEY}}


@pytest.mark.parametrize("row", [{**ROW, "op": "x"}, {**ROW, "op": None}, ROW, {**ROW, "op": [1]}])
def test_an_unknown_change_kind_is_refused_by_its_field(row: Any) -> None:
    factory = RequestFactory("orders", ORDERS.table_key, change_kind="op")
    with pytest.raises(RowError, match=r"^op: the change kind must be \+I, \+U, -U, -D") as caught:
        factory.request(row, 0)
    assert (caught.value.code, caught.value.path) == ("InvalidChangeKind", "op")


def test_a_callable_that_raises_is_a_bad_row() -> None:
    factory = RequestFactory("orders", ORDERS.table_key, change_kind=lambda row: row["nope"])
    with pytest.raises(RowError, match=r"^change_kind: the callable raised KeyError") as caught:
        factory.request(ROW, 0)
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_delete_row_without_any_known_key_says_what_to_set() -> None:
    factory = RequestFactory("orders", change_kind="op")
    with pytest.raises(RowError, match="set primary_key, or partitioned_by, or allow") as caught:
        factory.request({**ROW, "op": "-D"}, 0)
    assert caught.value.code == "MissingKey"


def test_a_missing_attribute_is_told_with_who_names_it() -> None:
    factory = RequestFactory("orders", ORDERS.table_key, ("customr",))
    with pytest.raises(RowError, match="customr: the row has no such.*'partitioned_by' names it"):
        factory.request(ROW, 0)
    with pytest.raises(RowError, match="number: the row has no such.*part of the table's key"):
        ORDERS.request({"customer": "ann"}, 0)


def test_a_delete_row_uses_partitioned_by_where_the_tables_key_is_unknown() -> None:
    factory = RequestFactory("orders", None, ("customer", "number"), change_kind="op")
    assert body(factory, {**ROW, "op": "-D"}) == {"DeleteRequest": {"Key": KEY}}


def test_a_delete_row_identifies_by_partitioned_by_and_deletes_by_the_tables_key() -> None:
    factory = RequestFactory("orders", ORDERS.table_key, ("total",), change_kind="op")
    made = request(factory, {**ROW, "op": "-D"})
    assert orjson.loads(made.body) == {"DeleteRequest": {"Key": KEY}}
    assert made.identity == "N3:9.5"


BAD_KEYS = [
    ({"number": 7}, "MissingKey", "customer", "the row has no such attribute"),
    ({"customer": "ann"}, "MissingKey", "number", "the row has no such attribute"),
    ({**ROW, "customer": 5}, "InvalidKey", "customer", "has type S, and this is of type N"),
    ({**ROW, "number": "7"}, "InvalidKey", "number", "has type N, and this is of type S"),
    ({**ROW, "customer": ""}, "InvalidKey", "customer", "must not be empty"),
    ({**ROW, "customer": None}, "InvalidKey", "customer", "a string, a number or bytes"),
    ({**ROW, "customer": ["a"]}, "InvalidKey", "customer", "a string, a number or bytes"),
    ({**ROW, "customer": "x" * 2049}, "InvalidKey", "customer", "at most 2048 bytes"),
    ({**ROW, "customer": "ü" * 1025}, "InvalidKey", "customer", "at most 2048 bytes"),
]


@pytest.mark.parametrize(("row", "code", "path", "words"), BAD_KEYS)
def test_a_bad_key_is_refused_by_its_attribute(row: Any, code: str, path: str, words: str) -> None:
    with pytest.raises(RowError, match=f"^{path}: .*{words}") as caught:
        ORDERS.request(row, 0)
    assert (caught.value.code, caught.value.path, caught.value.table) == (code, path, "orders")


@pytest.mark.parametrize("customer", ["x" * 2048, "ü" * 1024, " ", "a$"])
def test_a_key_up_to_its_limit_passes(customer: str) -> None:
    assert request(ORDERS, {**ROW, "customer": customer}).fence


@pytest.mark.parametrize(("size", "passes"), [(1024, True), (1025, False)])
def test_a_sort_key_of_bytes_has_1024_bytes_at_most(size: int, passes: bool) -> None:
    factory = RequestFactory("t", TableKey(("a", "b"), ("S", "B")))
    row = {"a": "x", "b": b"y" * size}
    if passes:
        assert request(factory, row).fence
    else:
        with pytest.raises(RowError, match="at most 1024 bytes"):
            factory.request(row, 0)


def test_an_item_too_large_is_refused_with_its_key_and_size_alone() -> None:
    row = {**ROW, "secret": "s" * 409_600}
    with pytest.raises(RowError, match=r"\{customer: ann, number: 7\} has 4\d{5} bytes") as caught:
        ORDERS.request(row, 0)
    assert caught.value.code == "ItemTooLarge"
    assert caught.value.key == "{customer: ann, number: 7}"
    assert "sss" not in str(caught.value)


def test_an_item_large_on_the_wire_only_passes() -> None:
    row = {**ROW, "binary": b"\0" * 400_000}  # half a million bytes as base64
    assert len(request(ORDERS, row).body) > 409_600


def test_ignore_nulls_leaves_nulls_out() -> None:
    row = {**ROW, "note": None}
    assert body(ORDERS, row)["PutRequest"]["Item"]["note"] == {"NULL": True}
    ignoring = RequestFactory("orders", ORDERS.table_key, ignore_nulls=True)
    assert body(ignoring, row) == {"PutRequest": {"Item": ITEM}}


# --- identity ------------------------------------------------------------------------------

PAIRS = st.tuples(st.text(min_size=1, max_size=4), st.text(min_size=1, max_size=4))


@given(one=PAIRS, other=PAIRS)
def test_identities_are_equal_only_for_equal_keys(
    one: tuple[str, str], other: tuple[str, str]
) -> None:
    factory = RequestFactory("t", TableKey(("a", "b")), ("a", "b"))

    def identity(pair: tuple[str, str]) -> str | None:
        return request(factory, {"a": pair[0], "b": pair[1]}).identity

    assert (identity(one) == identity(other)) == (one == other)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (1, 1.0, True),
        (100, Decimal("1E2"), True),
        (0, Decimal("-0"), True),
        (1, "1", False),
        ("1", b"1", False),
        (b"1", "MQ==", False),
        (10, 1, False),
        (True, "True", False),
    ],
)
def test_the_identity_is_typed_and_numbers_compare_by_value(
    one: Any, other: Any, same: bool
) -> None:
    factory = RequestFactory("t", None, ("k",))
    identities = {request(factory, {"k": each}).identity for each in (one, other)}
    assert (len(identities) == 1) is same


def test_shards_are_the_same_in_every_process() -> None:
    # Fixed numbers: a job that is updated finds its state where the old version left it.
    assert places_by_shard(["N1:1", "S1:a", "S3:bob"], 64) == {54: [0], 0: [1], 59: [2]}


@given(st.lists(st.text(alphabet=st.characters(codec="utf-8"))), st.integers(1, 100))
def test_shards_are_the_same_with_and_without_a_compiler(
    identities: list[str], shards: int
) -> None:
    compiled = identity.places_by_shard(identities, shards)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(identity, "_compiled", None)
        plain = identity.places_by_shard(identities, shards)
    assert compiled == plain
    assert list(compiled) == list(plain)


# --- order ---------------------------------------------------------------------------------

UTC = dt.timezone.utc


class Level(Enum):
    LOW = 1
    HIGH = 3


ASCENDING = [
    [1, 1.5, Decimal(2), {"N": "3"}],
    ["a", "b", {"S": "c"}],
    [b"a", b"b"],
    [
        dt.date(2020, 1, 1),
        dt.datetime(2020, 1, 1, 0, 0, 1),
        dt.datetime(2020, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC),
        dt.datetime(2020, 1, 1, 0, 0, 2, tzinfo=UTC),
        np.datetime64("2020-01-01T00:00:03"),
        np.datetime64("2020-01-01T00:00:03.000000001"),
        np.datetime64("2020-01-01T00:00:03.5"),
        np.datetime64("2021"),
    ],
    [np.int64(1), 2, np.float32(2.5), np.timedelta64(3, "s")],
    [
        dt.timedelta(microseconds=1),
        dt.timedelta(seconds=1),
        Decimal("1.5"),
        np.timedelta64(2, "s"),
        Duration(3),
        pandas.Timedelta(seconds=4),
        {"N": "5"},
    ],
    [dt.time(13, 5), dt.time(13, 5, 7), dt.time(13, 5, 7, 100), dt.time(13, 5, 8), "13:06"],
    [UUID(int=0), UUID(int=255), str(UUID(int=256)), UUID(int=2**127)],
    [memoryview(b"a"), b"b", bytearray(b"c")],
    [Timestamp(1), dt.datetime(1970, 1, 1, 0, 0, 2), np.datetime64("1970-01-01T00:00:03")],
    [Level.LOW, 2, Level.HIGH],
    [{"B": "AA=="}, b"a", {"B": b"b"}, {"B": "/w=="}],
    [1, "1", b"1", dt.date(2020, 1, 1)],  # of several types: no error, and always the same
]


@pytest.mark.parametrize("values", ASCENDING)
def test_order_by_compares_values(values: list[Any]) -> None:
    factory = RequestFactory("t", None, ("k",), order_by="v")
    orders = [request(factory, {"k": 1, "v": value}).order for value in values]
    assert orders == sorted(orders)
    assert len(set(orders)) == len(orders)


@pytest.mark.parametrize(
    "value",
    [
        None, float("nan"), Decimal("sNaN"), [1], {"a": 1}, np.array([1, 2]),
        np.timedelta64(3, "M"), pandas.NaT, np.datetime64("NaT"), object(), {"SS": ["a"]},
        dt.time(1, tzinfo=dt.timezone.utc), pandas.Timestamp(5),
    ],
)  # fmt: skip
@pytest.mark.parametrize("element", [lambda row: row, Delete], ids=["put", "delete"])
def test_order_by_a_value_without_order_is_refused(
    element: Callable[[Any], Any], value: Any
) -> None:
    factory = RequestFactory("t", TableKey(("k",)), ("k",), order_by="v")
    with pytest.raises(RowError, match="^v: ") as caught:
        factory.request(element({"k": 1, "v": value}), 0)
    assert (caught.value.path, caught.value.code) == ("v", "InvalidValue")


def test_a_row_that_lacks_what_it_is_ordered_by_is_told_so() -> None:
    factory = RequestFactory("t", TableKey(("k",)), ("k",), order_by="v")
    for element in ({"k": 1}, Put({"k": 1}), Delete({"k": 1})):
        with pytest.raises(RowError, match="^v: there is no such attribute") as caught:
            factory.request(element, 0)
        assert caught.value.path == "v"


def test_a_delete_may_tell_its_order_and_its_record_beside_the_key() -> None:
    factory = RequestFactory("t", TableKey(("k",)), ("g",), order_by="v")
    made = request(factory, Delete({"k": 1, "g": "a", "v": 7}))
    assert orjson.loads(made.body) == {"DeleteRequest": {"Key": {"k": {"N": "1"}}}}
    put = request(factory, {"k": 1, "g": "a", "v": 6, "other": True})
    assert (made.identity, made.fence) == (put.identity, put.fence)
    assert made.order > put.order
    with pytest.raises(RowError, match=r"^other: a Delete holds just the key attributes \(k\)"):
        factory.request(Delete({"k": 1, "g": "a", "v": 7, "other": True}), 0)


@pytest.mark.parametrize("key", [TableKey(("k",)), None], ids=["known", "unknown"])
def test_of_what_stands_beside_a_deletes_key_only_what_is_asked_for_is_taken(
    key: TableKey | None,
) -> None:
    element = Delete({"k": 1}, {"v": 7, "other": object()})
    ordered = RequestFactory("t", key, ("k",), order_by="v")
    made = request(ordered, element)
    assert made.order == request(ordered, {"k": 1, "v": 7}).order
    assert orjson.loads(made.body) == {"DeleteRequest": {"Key": {"k": {"N": "1"}}}}
    assert ordered.untold(element, made.body) == {"v": {"N": "7"}}
    plain = RequestFactory("t", key, ("k",))
    assert request(plain, element).body == made.body
    assert plain.untold(element, made.body) == {}


@pytest.mark.parametrize(
    ("value", "time"),
    [
        (AWARE, AWARE),
        (AWARE.replace(tzinfo=None), AWARE.replace(tzinfo=None)),
        (pandas.Timestamp(AWARE), AWARE),
        (AWARE.date(), AWARE.date()),
        (NANOS, NANOS),
        (5, None),
        ("2026-01-01T00:00:00Z", None),
        (b"5", None),
    ],
)
@pytest.mark.parametrize("element", [lambda row: row, Put, Delete], ids=["row", "put", "delete"])
def test_a_body_does_not_tell_the_time_that_orders_it(
    element: Callable[[Any], Any], value: Any, time: Any
) -> None:
    factory = RequestFactory("t", TableKey(("k",)), ("k",), order_by="v")
    made = request(factory, element({"k": 1, "v": value}))
    untold = factory.untold(element({"k": 1, "v": value}), made.body)
    if time is None:
        assert untold == ({"v": attribute_value(value)} if element is Delete else {})
    else:
        assert untold == {"v": time}
        assert type(untold["v"]) in (dt.datetime, dt.date, ExactTime)


@pytest.mark.parametrize(("partitioned_by", "key"), [(("k",), "k"), (("k", "v"), "kv")])
def test_without_a_known_key_a_delete_goes_without_what_only_orders_it(
    partitioned_by: tuple[str, ...], key: str
) -> None:
    factory = RequestFactory("t", None, partitioned_by, order_by="v")
    made = orjson.loads(request(factory, Delete({"k": 1, "v": 7})).body)
    assert "".join(sorted(made["DeleteRequest"]["Key"])) == key


@pytest.mark.parametrize("partitioned_by", [("k", "g"), ("g", "k"), ("k",)])
def test_an_item_is_one_record_whatever_else_tells_records_apart(
    partitioned_by: tuple[str, ...],
) -> None:
    factory = RequestFactory("t", TableKey(("k",)), partitioned_by)
    rows = [{"k": 1, "g": "a"}, {"k": 1, "g": "b"}, Delete({"k": 1})]
    assert len({request(factory, each).identity for each in rows}) == 1


class Property:
    """A row of a user's class, whose properties are none of our business."""

    def __init__(self, **fields: Any) -> None:
        self.fields = fields

    @property
    def key(self) -> Any:
        raise TypeError("a property that fails")

    row = key


def test_the_key_of_a_row_is_told_without_asking_its_properties() -> None:
    register_row(Property, lambda row: row.fields)
    assert ORDERS.key_text_of(Property(**ROW)) == "{customer: ann, number: 7}"


class Incomparable:
    """A name that is none, and that no other one can be compared with."""

    def __hash__(self) -> int:
        return 7

    def __eq__(self, other: object) -> bool:
        raise TypeError("not to be compared")


def test_rows_whose_names_cannot_be_compared_are_bad_rows_alone() -> None:
    rows: list[Any] = [{**ROW, Incomparable(): 1} for _ in range(3)]
    made = ORDERS.requests([*rows, Put(ROW)], range(4))
    assert [place for place, _ in made.refused] == [0, 1, 2]
    assert len(made.requests) == 1


def test_without_order_by_the_timestamp_orders() -> None:
    assert request(ORDERS, ROW, 17).order == 17


@pytest.mark.parametrize("key", ["x\ud800", "\ud800" * 600])
def test_a_key_that_is_no_valid_unicode_is_refused_by_its_name(key: str) -> None:
    with pytest.raises(RowError) as refused:
        request(RequestFactory("orders", TableKey(("id",), ("S",))), {"id": key})
    assert refused.value.path == "id"
    assert "surrogate" in refused.value.message
