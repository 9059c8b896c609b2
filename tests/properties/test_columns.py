"""Taken together, rows become what they become one by one: the same bytes, or the same error."""

from __future__ import annotations

import dataclasses
import datetime as dt
import pickle
from decimal import Decimal
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_dynamodb import packs
from beam_dynamodb.columns import Block, NotUniformError, RowEncoder, row_encoder
from beam_dynamodb.errors import RowError
from beam_dynamodb.identity import KeyReader
from beam_dynamodb.packs import Pack, elements_of
from beam_dynamodb.requests import Delete, Put, RequestFactory
from beam_dynamodb.sizes import stored_size
from beam_dynamodb.table import KeyType, TableKey
from beam_dynamodb.values import attribute_values, register_value, wire
from beam_dynamodb.write_requests import PUT_AROUND, Late, Request, Requests, Same, Told
from tests.properties.strategies import key_values, rows, scalars, texts, unstorable, values


class Pair(NamedTuple):
    id: Any
    v: Any


@dataclasses.dataclass
class Held:
    id: Any
    v: Any


COLUMN = st.one_of(
    st.just(st.text(max_size=5)),
    st.just(st.text(st.characters(codec=None), max_size=3)),  # half surrogate pairs too
    st.just(st.text(min_size=1, max_size=3).map(lambda text: text * 1_500)),  # some of them long
    st.just(st.integers(-(2**70), 2**70)),
    st.just(st.integers(-(10**39), 10**39)),
    st.just(st.booleans()),
    st.just(st.none()),
    st.just(st.floats()),
    st.just(st.decimals()),
    st.just(st.binary(max_size=4)),
    st.just(st.datetimes()),
    st.just(st.uuids()),
    st.just(values(max_leaves=3)),
    st.just(scalars()),
    st.just(st.none() | st.text(max_size=3)),
    st.just(st.sampled_from([{"S": "x"}, {"N": "1"}, {"N": "x"}])),
    st.just(unstorable()),
)
"""What one attribute holds in all rows: for the most part values of one type."""


@st.composite
def uniform_rows(draw: st.DrawFn) -> list[dict[str, Any]]:
    names = draw(st.lists(texts(max_size=3), min_size=1, max_size=4, unique=True))
    columns = {"id": key_values(), **{name: draw(COLUMN) for name in names}}
    if draw(st.booleans()):
        columns["id"] = draw(st.sampled_from([st.integers(), st.text(max_size=2), st.dates()]))
    return draw(st.lists(of_one_shape(columns), min_size=1, max_size=12))


def of_one_shape(columns: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Rows with these columns, in this order: `fixed_dictionaries` mixes it now and then."""
    return st.tuples(*columns.values()).map(lambda values: dict(zip(columns, values, strict=True)))


def compared(outcome: Request | Exception | None) -> Any:
    if isinstance(outcome, Exception):
        return type(outcome), str(outcome), vars(outcome)
    return outcome


def one_by_one(factory: RequestFactory, elements: list[Any]) -> list[Any]:
    outcomes = []
    for place, element in enumerate(elements):
        try:
            outcomes.append(factory.request(element, place, (element, place)))
        except Exception as error:
            outcomes.append(error)
    return list(map(compared, outcomes))


def equals_its_copy(element: Any) -> bool:
    """Whether it is the same once it has travelled, as NaN and `object()` are not."""
    try:
        return bool(pickle.loads(pickle.dumps(element)) == element)
    except Exception:
        return False


def travelled(requests: Requests) -> list[Request]:
    """Requests as the process has them to which their pack goes."""
    there = Pack.from_bytes(Pack(requests).to_bytes()).requests
    pairs = zip(there, elements_of(there), strict=True)
    return [each._replace(origin=(element, *each.origin[1:])) for each, element in pairs]


def together(factory: RequestFactory, elements: list[Any], *, travel: bool = False) -> list[Any]:
    places = list(range(len(elements)))
    converted = factory.requests(elements, places, elements, places, travel=travel)
    outcomes: list[Any] = [None] * len(elements)
    requests = travelled(converted.requests) if travel else list(converted.requests)
    for request in requests:
        place = request.origin[1]
        if travel and not equals_its_copy(elements[place]):
            request = request._replace(origin=(elements[place], place))
        outcomes[place] = request
    for place, error in converted.refused:
        outcomes[place] = error
    assert outcomes.count(None) == converted.ignored
    order = [request.origin[1] for request in requests]
    assert order == sorted(order), "requests keep the order of their elements"
    return list(map(compared, outcomes))


def without_compiled_part(factory: RequestFactory) -> RequestFactory:
    """The factory of a worker on which nothing could be compiled."""
    object.__setattr__(factory, "_encoder", None)
    return factory


_FACTORIES = st.builds(
    RequestFactory,
    st.just("t"),
    st.none() | st.builds(
        TableKey, st.just(("id",)), st.sampled_from([None, *((kind,) for kind in "SNB")])
    ),
    partitioned_by=st.sampled_from([(), ("id",), ("id", "other")]),
    order_by=st.sampled_from([None, None, "v", "id"]),
    change_kind=st.sampled_from([None, None, "v", lambda row: "+I" if row["id"] else "-D"]),
    ignore_nulls=st.booleans(),
)  # fmt: skip
FACTORIES = _FACTORIES | _FACTORIES.map(without_compiled_part)


@given(factory=FACTORIES, elements=uniform_rows(), travel=st.booleans())
def test_rows_of_one_shape_become_together_what_they_become_one_by_one(
    factory: RequestFactory, elements: list[dict[str, Any]], travel: bool
) -> None:
    assert together(factory, elements, travel=travel) == one_by_one(factory, elements)


MIXED = st.one_of(
    rows(),
    rows().map(Put),
    st.builds(lambda key: Delete({"id": key}), st.integers(0, 3)),
    st.fixed_dictionaries({"id": st.integers(), "v": st.sampled_from(["+I", "-U", "-D", "x"])}),
    st.builds(Pair, st.integers(), st.text(max_size=3)),
    st.builds(Held, st.integers(), st.text(max_size=3)),
    st.sampled_from([None, 7, {}, {"": 1}, {1: 2}]),
)


@given(factory=FACTORIES, elements=st.lists(MIXED, min_size=1, max_size=40), travel=st.booleans())
def test_so_do_elements_of_all_kinds(
    factory: RequestFactory, elements: list[Any], travel: bool
) -> None:
    assert together(factory, elements, travel=travel) == one_by_one(factory, elements)


@given(elements=uniform_rows())
def test_a_block_gives_the_bytes_of_its_rows(elements: list[dict[str, Any]]) -> None:
    try:
        expected = [wire(attribute_values(row)) for row in elements]
    except Exception:
        return
    try:
        assert Block(elements).wire("<", ">") == [b"<%b>" % each for each in expected]
    except NotUniformError:
        shapes = {tuple(row) for row in elements}
        wrapped = any(isinstance(value, dict) for row in elements for value in row.values())
        assert "" in elements[0] or wrapped or len(shapes) > 1


def compiled(before: str, after: str, *readers: KeyReader) -> RowEncoder:
    encoder = row_encoder(before, after, readers)
    if encoder is None:
        pytest.skip("row_encoder was not compiled: install with a C compiler (gcc or clang)")
    return encoder


def encoded(elements: list[dict[str, Any]], *readers: KeyReader) -> Any:
    return compiled("<", ">", *readers).encode(elements)


@given(elements=uniform_rows(), types=st.sampled_from([None, ("N",), ("S",), ("B",)]))
def test_the_row_encoder_gives_what_a_block_gives(
    elements: list[dict[str, Any]], types: tuple[KeyType, ...] | None
) -> None:
    key, record = KeyReader("t", TableKey(("id",), types)), KeyReader("t", ["id"])
    try:
        block = Block(elements)
        expected = block.wire("<", ">"), [key.identities(block), record.identities(block)]
    except NotUniformError:
        try:
            others = encoded(elements, key, record)
        except Exception:  # a row before the one that differs is at fault
            return
        assert others is None
        return
    except Exception:
        with pytest.raises(Exception):  # noqa: B017, PT011 - nobody looks at it
            encoded(elements, key, record)
        return
    bodies, identities, has_nulls, is_plain, _ = encoded(elements, key, record)
    assert (bodies, identities) == expected
    assert has_nulls == any(column.has_nulls() for column in block.columns.values())
    assert is_plain >= block.is_plain
    if is_plain:
        pickle.dumps(elements)


PLAIN = {
    "text": '\u00e9\u20ac\U0001f600 "quoted" \\ \x00\x1f\x7f\b\f\n\r\t' * 9,
    "least": -(2**63),
    "most": 2**63 - 1,
    "large": 2**63,
    "share": -0.1,
    "zero": -0.0,
    "tiny": 1e-130,
    "yes": True,
    "no": False,
    "none": None,
    "blob": b"\x00\xff",
    "price": Decimal("1.50"),
}


def test_the_row_encoder_takes_all_plain_values() -> None:
    elements = [{"id": number, "sort": f"\u00e9{number}", **PLAIN} for number in range(3)]
    [bodies, [identities], *known] = encoded(elements, KeyReader("t", ["id", "sort"]))
    assert bodies == [b"<%b>" % wire(attribute_values(row)) for row in elements]
    assert identities == ["N1:0S2:\u00e90", "N1:1S2:\u00e91", "N1:2S2:\u00e92"]
    assert known == [True, True, None]


def nested(levels: int) -> Any:
    value: Any = "deep"
    for level in range(levels):
        value = [value] if level % 2 else {"in": value}
    return value


@pytest.mark.parametrize(
    "value",
    [[], {}, (), [1, [None, "\u00e9", {"a": {'b"': Decimal("1.0")}}]], {"a", "b"}, frozenset([1]),
     [dt.date(2026, 1, 1)], {"Zo\u00eb": (b"x", True)}, nested(31)],
)  # fmt: skip
def test_the_row_encoder_takes_nested_values(value: Any) -> None:
    bodies, _, has_nulls, is_plain, _ = encoded([{"id": 1, "v": value}])
    assert bodies == [b"<%b>" % wire(attribute_values({"id": 1, "v": value}))]
    assert not has_nulls
    assert is_plain == ("date" not in str(value))


@pytest.mark.parametrize(
    "value",
    [nested(32), {"": 1}, [{1, "a"}], {"n" * 65_536: 1}, [float("nan")], [object()],
     {"a": {None: 1}}],
)  # fmt: skip
def test_what_is_wrong_inside_of_a_value_the_row_encoder_does_not_take(value: Any) -> None:
    with pytest.raises(Exception):  # noqa: B017, PT011 - its row gets an error of its own
        encoded([{"id": 1, "v": value}])
    factory = RequestFactory("t", TableKey(("id",)), ("id",))
    elements = [{"id": number, "v": value} for number in range(9)]
    assert together(factory, elements) == one_by_one(factory, elements)
    assert len(factory.requests(elements, range(9), elements).refused) == 9


def test_a_name_that_is_no_text_is_taken_by_other_code() -> None:
    row = {"id": 1, "v": [{7: "seven", True: "yes"}]}
    assert encoded([row])[0] == [b"<%b>" % wire(attribute_values(row))]


@pytest.mark.parametrize(
    "elements",
    [[{"id": 1}, {"id": 1, "v": 2}], [{"a": 1, "b": 2}, {"b": 2, "a": 1}], [{"id": 1}, Pair(1, 2)],
     [{"id": {"S": "x"}}], [Pair(1, 2)]],
)  # fmt: skip
def test_the_row_encoder_leaves_other_rows_alone(elements: list[Any]) -> None:
    assert encoded(elements) is None


def test_the_row_encoder_leaves_large_rows_alone() -> None:
    encoder = compiled("", "")
    small, large = {"id": "x"}, {"id": "x" * 100}
    assert encoder.encode([large, small], 50) is None, "seen at the first one"
    assert encoder.encode([small, large, large], 50) is None, "or on the way"
    assert encoder.encode([small, large, small], 50) is not None


def test_a_row_may_change_while_it_is_encoded() -> None:
    """Conversions are other people's code: whatever they do, no memory is touched that is gone."""
    row: dict[str, Any] = {"id": 1}
    inner: dict[str, Any] = {"a": 1}

    class Changing:
        pass

    def change(_: Changing) -> Any:
        for fields in (row, inner):
            fields.clear()
            fields.update({f"new {n}": n for n in range(1_000)})
        return {"S": "changed"}

    register_value(Changing, change)
    row["v"] = Changing()
    row["w"] = "more"
    assert encoded([row]) is None
    row.clear()
    inner.clear()
    inner.update(a=Changing(), b="more")
    row.update(id=1, v=inner, w="more")
    with pytest.raises(RowError):
        encoded([row])


@pytest.mark.parametrize("kind", [dict, Pair, Held])
@pytest.mark.parametrize(
    "value", ["text", 7, 1.5, True, None, b"\x00", Decimal("1.50"), dt.date(2026, 1, 1), [1, "x"]]
)
def test_plain_rows_are_taken_together(kind: Any, value: Any) -> None:
    """Without this the tests above would pass if everything were taken one by one."""
    elements = [kind(id=number, v=value) for number in range(9)]
    factory = RequestFactory("t", TableKey(("id",), ("N",)), ("id",))
    [(places, taken)] = factory._shapes(elements)
    assert list(places) == list(range(9))
    assert factory._together(taken, places, [places]) is not None


@pytest.mark.parametrize("types", [None, ("N",)])
def test_changes_are_taken_together_but_for_the_deletes(types: tuple[KeyType, ...] | None) -> None:
    factory = RequestFactory("t", TableKey(("id",), types), ("id",), change_kind="op")
    elements = [{"id": n, "op": "-D" if n % 5 == 0 else "+U"} for n in range(40)]
    [(places, taken)] = factory._shapes(elements)
    assert len(places) == 32
    assert factory._together(taken, places, [places]) is not None


@given(elements=uniform_rows())
def test_what_a_block_vouches_for_can_be_stored(elements: list[dict[str, Any]]) -> None:
    try:
        bound = Block(elements).bound()
    except (NotUniformError, UnicodeError):
        return
    if bound is not None:
        assert len(Block(elements).wire("", "")) == bound.rows == len(elements)
        assert max(stored_size(attribute_values(row)) for row in elements) <= bound.largest


def test_rows_of_plain_values_travel_without_their_bodies() -> None:
    factory = RequestFactory("t", TableKey(("id",)), ("id",))
    elements = [
        {
            "id": n,
            "text": "words" * n * 100,
            "is": n > 7,
            "none": None,
            "blob": b"b",
            "share": n / 3,
        }
        for n in range(20)
    ]
    bodies = factory.requests(elements, range(20), elements, travel=True).requests.bodies
    assert {type(body) for body in bodies} == {Late}
    assert 4_000 < len(bodies[0]) < 6_000, "about what a row will take"
    decimals = [{**row, "price": Decimal("9.95")} for row in elements]
    bodies = factory.requests(decimals, range(20), decimals, travel=True).requests.bodies
    assert {type(body) for body in bodies} == {bytes}, "only to spell a Decimal tells if it is good"


def test_long_texts_stand_behind_what_is_pickled() -> None:
    factory = RequestFactory("t", TableKey(("id",)), ("id",))
    elements = [{"id": n, "text": f"\u00e9\n{n}" * 2_000} for n in range(20)]
    data = Pack(factory.requests(elements, range(20), elements, travel=True).requests).to_bytes()
    assert len(data) < 1.1 * sum(len(row["text"].encode()) for row in elements), "once, not twice"
    again = Pack.from_bytes(data).requests
    assert again.origins[0] == elements
    assert again.bodies == [b'{"PutRequest":{"Item":%b}}' % wire(attribute_values(row))
                            for row in elements]  # fmt: skip


# --- rows that their bodies tell -----------------------------------------------------------------


def typed(value: Any) -> Any:
    """A value with the types of all that is in it, and the order of attributes."""
    if isinstance(value, dict):
        return dict, [(name, typed(each)) for name, each in value.items()]
    if isinstance(value, list):
        return list, list(map(typed, value))
    return type(value), repr(value)


TELLING = st.recursive(
    st.one_of(
        st.text(st.characters(codec="utf-8")),
        st.sampled_from(['"', "\\", 'a"b', "\\\\", "tab\t", "\u00e9\x00", "}}", '{"S":"x"}']),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(1e-130, 1e125) | st.floats(-1e125, -1e-130) | st.sampled_from([0.0, -0.0, 1e16]),
        st.booleans(),
        st.none(),
    ),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(texts(min_size=1), inner, max_size=3)
    ),
    max_leaves=6,
)
"""Values that their JSON tells."""


@given(
    data=st.data(),
    names=st.sets(texts(min_size=1, max_size=4), min_size=1, max_size=5),
    can_compile=st.booleans(),
)
def test_a_row_is_told_by_its_body(data: st.DataObject, names: set[str], can_compile: bool) -> None:
    shape = of_one_shape({"id": st.integers(0, 99), **dict.fromkeys(names - {"id"}, TELLING)})
    elements = data.draw(st.lists(shape, min_size=1, max_size=8))
    encoder = compiled(*PUT_AROUND)
    result = encoder.encode(elements)
    assert result is not None
    bodies, _, _, _, told = result
    assert told == tuple(elements[0])
    read = encoder.row_reader(told) if can_compile else packs._row_of
    assert [typed(read(body)) for body in bodies] == list(map(typed, elements))


@pytest.mark.parametrize(
    "value",
    [(), ("tuple",), [("in a list",)], {"a": ()}, b"", Decimal(1), {1}, 2**63, dt.date(2026, 1, 1),
     [2**63], {"a": b"x"}],
)  # fmt: skip
def test_what_a_body_does_not_tell_travels_beside_it(value: Any) -> None:
    elements = [{"id": n, "v": value} for n in range(9)]
    *_, told = encoded(elements)
    assert told is None
    factory = RequestFactory("t", TableKey(("id",)), ("id",))
    requests = factory.requests(elements, range(9), elements, travel=True).requests
    assert [typed(each.origin[0]) for each in travelled(requests)] == list(map(typed, elements))


def test_a_row_that_its_body_tells_travels_once() -> None:
    factory = RequestFactory("t", TableKey(("id",)), ("id",))
    compiled("", "")
    elements = [{"id": n, "v": f"{n:09}" * 20} for n in range(50)]
    others = [{"id": n, "w": (n,)} for n in range(50)]
    here = factory.requests(elements, range(50), elements).requests
    requests = factory.requests(elements, range(50), elements, travel=True).requests
    assert here.origins[0] == elements, "what stays here is kept"
    assert requests.origin(0) == Same(Told(("id", "v")))
    assert len(Pack(requests).to_bytes()) < 0.7 * len(Pack(here).to_bytes())
    requests += factory.requests(others, range(50), others, travel=True).requests
    again = travelled(requests)
    assert [each.origin[0] for each in again] == elements + others
    assert [each.body for each in again] == requests.bodies


BODY = b'{"PutRequest":{"Item":{"id":{"N":"1"},"v":{"L":[{"S":"a\\"b"},{"NULL":true}]}}}}'


def test_a_body_that_tells_another_row_is_refused() -> None:
    read = compiled(*PUT_AROUND).row_reader(("id", "v"))
    assert read(BODY) == {"id": 1, "v": ['a"b', None]}
    for end in range(len(BODY)):
        with pytest.raises(ValueError, match="body"):
            read(BODY[:end])
    for body in (BODY.replace(b"id", b"ID"), BODY.replace(b"true", b"True"), BODY[:-1] + b"]",
                 BODY.replace(b'"1"', b'"1.x"'), BODY.replace(b'"L"', b'"X"'),
                 BODY.replace(b'"1"', b'""'), BODY.replace(b'"1"', b'"nan"'),
                 BODY.replace(b'"1"', b'"%b"' % (b"9" * 20)),
                 BODY.replace(b'{"L":[', b'{"L":[' * 100_000)):  # fmt: skip
        with pytest.raises(ValueError):  # noqa: PT011 - Python's own where it is a number
            read(body)
    assert read(BODY)["id"] == 1, "it goes on"
