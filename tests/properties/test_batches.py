"""Cutting loses nothing; keeping the latest equals replaying everything."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_dynamodb.batches import cut_size, keep_latest
from beam_dynamodb.packs import Order, Pack, Sender
from beam_dynamodb.write_requests import Request, Requests


def request(identity: str | None, order: Any, body: bytes = b"{}", *origin: Any) -> Request:
    return Request("events", identity, identity, order, body, origin)


def cut(requests: list[Request], max_count: int, max_bytes: int) -> list[list[Request]]:
    """The batches that come of taking off one after the other, as a lane does."""
    batches = []
    while requests:
        size = cut_size([each.body for each in requests], max_count, max_bytes)
        batches.append(requests[:size])
        requests = requests[size:]
    return batches


BODIES = st.lists(st.integers(1, 400).map(lambda size: b"x" * size), max_size=80)


@given(bodies=BODIES, max_count=st.integers(1, 25), max_bytes=st.integers(1_030, 4_000))
def test_a_cut_loses_nothing_and_keeps_to_count_and_bytes(
    bodies: list[bytes], max_count: int, max_bytes: int
) -> None:
    requests = [request(None, 0, body, number) for number, body in enumerate(bodies)]
    batches = cut(requests, max_count, max_bytes)
    assert [each for batch in batches for each in batch] == requests
    for number, batch in enumerate(batches):
        size = 1_024 + sum(len(each.body) + 1 for each in batch)
        assert len(batch) == 1 or (len(batch) <= max_count and size <= max_bytes)
        if number + 1 < len(batches):  # only what does not fit is left to the next one
            following = batches[number + 1][0]
            assert len(batch) == max_count or size + len(following.body) + 1 > max_bytes


@given(bodies=BODIES)
def test_the_first_body_always_fits(bodies: list[bytes]) -> None:
    assert cut_size(bodies, 25, 1) == min(1, len(bodies))


RECORDS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5)), max_size=40)


@given(records=RECORDS, splits=st.lists(st.integers(0, 40), max_size=4))
def test_the_latest_is_the_greatest_order_then_the_later_arrival(
    records: list[tuple[str, int]], splits: list[int]
) -> None:
    arrived = [request(key, order, b"{}", n) for n, (key, order) in enumerate(records)]
    expected: dict[str, Request] = {}
    for each in arrived:
        key = str(each.identity)
        if key not in expected or each.order >= expected[key].order:
            expected[key] = each
    held = Requests()
    edges = [0, *sorted(min(split, len(arrived)) for split in splits), len(arrived)]
    for start, end in zip(edges, edges[1:], strict=False):  # however the arrivals are split
        held += Requests.of(arrived[start:end])
        held = keep_latest(held)
    assert list(held) == list(expected.values())


@given(records=st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xyz")), max_size=20))
def test_the_last_one_kept_of_an_item_is_its_latest_whatever_identities_it_had(
    records: list[tuple[str, str]],
) -> None:
    arrived = [
        Request("events", f"{item}{other}", item, 0, b"%d" % place)
        for place, (item, other) in enumerate(records)
    ]
    kept = keep_latest(Requests.of(arrived))
    assert {each.fence: each for each in kept} == {each.fence: each for each in arrived}


ELEMENTS = st.recursive(st.none() | st.booleans() | st.text(), st.lists, max_leaves=4)


@given(records=RECORDS, elements=st.lists(ELEMENTS, min_size=1), same=st.booleans())
def test_a_pack_comes_back_from_its_bytes(
    records: list[tuple[str, int]], elements: list[Any], same: bool
) -> None:
    requests = [
        request(key, order, b"{}", elements[n % len(elements)], 7 if same else order, (1,))
        for n, (key, order) in enumerate(records)
    ]
    pack = Pack(Requests.of(requests))
    for again in (
        Pack.from_bytes(pack.to_bytes()),
        Pack.from_stamped(pack.to_stamped()),
        pickle.loads(pickle.dumps(pack)),
    ):
        assert list(again.requests) == requests
        assert repr(list(again.requests)) == repr(requests), "True is not 1"
    joined = Pack.joined([pack.to_bytes(), pack.to_bytes()])
    assert list(joined) == requests * 2
    joined += pack.requests
    assert list(joined) == requests * 3, "no two columns are one list"


def test_a_pack_of_another_version_is_refused() -> None:
    with pytest.raises(ValueError, match="another version"):
        Pack.from_bytes(b"1" + pickle.dumps([]))


def pack_of(text: str) -> Pack:
    return Pack(Requests.of([request(text, 0)]))


def text_of(pack: Pack) -> str:
    return str(pack.requests[0].identity)


@given(
    sent=st.lists(st.sampled_from([b"sender A", b"sender B"]), max_size=12),
    data=st.data(),
    lost=st.sets(st.integers(0, 11)),
)
def test_packs_come_in_the_order_of_their_senders_however_they_are_shuffled(
    sent: list[bytes], data: st.DataObject, lost: set[int]
) -> None:
    senders = {name: Sender(name) for name in sent}
    packs = []
    for n, name in enumerate(sent):
        packs.append(pack_of(f"{name!r} {n}"))
        senders[name].stamp(7, packs[-1])
        senders[name].stamp(8, pack_of("for another shard, which has an order of its own"))
    arriving = [
        Pack.from_stamped(pack.to_stamped()) for n, pack in enumerate(packs) if n not in lost
    ]
    order = Order()
    got: list[str] = []
    for pack in data.draw(st.permutations(arriving)):
        got += map(text_of, order.arrived(pack))
    if not lost.intersection(range(len(sent))):
        assert len(got) == len(sent), "nothing waits when all have come"
    assert order.has_gap is (len(got) < len(arriving))
    got += map(text_of, order.rest())
    assert sorted(got) == sorted(map(text_of, arriving))
    for name in senders:
        numbers = [int(each.split()[-1]) for each in got if each.startswith(repr(name))]
        assert numbers == sorted(numbers)


COLUMNS = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 9)), max_size=30)


@given(rows=COLUMNS, more=COLUMNS, data=st.data())
def test_columns_of_requests_are_a_list_of_requests(
    rows: list[tuple[str, int]], more: list[tuple[str, int]], data: st.DataObject
) -> None:
    model = [request(key, n, b"%d" % n, key, n) for key, n in rows]
    added = [request(key, n, b"%d" % n, key, n) for key, n in more]
    columns = Requests.of(model)
    columns += Requests.of(added)
    model += added
    assert (list(columns), len(columns), bool(columns)) == (model, len(model), bool(model))
    if not model:
        return
    place = data.draw(st.integers(0, len(model) - 1))
    places = data.draw(st.lists(st.integers(0, len(model) - 1)))
    assert columns[place] == model[place]
    assert list(columns.part(place)) == model[place:]
    assert list(columns.part(0, place)) == model[:place]
    assert list(columns.select(places)) == [model[each] for each in places]
    model[place] = columns[place] = request("new", 3, b"3", "new", 3)
    assert list(columns) == model
