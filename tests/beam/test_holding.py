"""How many rows wait to be packed: few where it only costs memory, many where it spares writes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pipeline import AppliedPTransform, PipelineVisitor
from apache_beam.transforms.external import ExternalTransform

from beam_dynamodb import WriteToDynamoDB, holding, to_request
from beam_dynamodb.errors import WriteError
from beam_dynamodb.to_request import ToRequest
from beam_dynamodb.write_steps import WriteLatestOfShard
from tests.beam.helpers import FN_API, REGION, TABLE, given, pipeline, serving, sink


def step(shards: int = 1, **options: Any) -> ToRequest:
    """The first step, in a bundle. It makes packs without a call of DynamoDB."""
    write = WriteToDynamoDB(TABLE, aws_region=REGION, primary_key=["id"], **options)
    made = ToRequest(write._settings, None, shards, travel=shards > 1)
    made.setup()
    made.start_bundle()
    return made


def sent(made: ToRequest, ids: Iterable[int]) -> Iterator[tuple[int, int]]:
    """After each row how many rows the step was given, and how many went on in packs."""
    taken = gone = 0
    for number in ids:
        gone += sum(map(rows_of, given(made, {"id": number, "v": taken})))
        taken += 1
        yield taken, gone
    yield taken, gone + sum(map(rows_of, made.finish_bundle()))


def rows_of(output: Any) -> int:
    pack = output.value[1] if isinstance(output.value, tuple) else output.value
    return len(pack.requests)


def most_held(made: ToRequest, ids: Iterable[int]) -> int:
    return max(taken - gone for taken, gone in sent(made, ids))


def written(made: ToRequest, ids: Iterable[int]) -> int:
    return list(sent(made, ids))[-1][1]


@pytest.mark.parametrize("lost", [None, 0, 2])
def test_a_group_that_lacks_a_pack_fails_the_bundle(lost: int | None) -> None:
    with serving() as server:
        write = sink(server, TABLE, partitioned_by=["id"])
        made = ToRequest(write._settings, None, 1, travel=True)
        made.setup()
        made.start_bundle()
        rows = [given(made, {"id": number, "v": 0}) for number in range(1_500)]
        packs = [each.value[1] for each in chain(*rows, made.finish_bundle())]
        assert len(packs) == 4
        writing = WriteLatestOfShard(write._settings, None)
        writing.setup()
        writing.start_bundle()
        out = list(writing.process((0, [each for n, each in enumerate(packs) if n != lost])))
        if lost is None:
            out += writing.finish_bundle()
            assert len(out) == len(server.db.items(TABLE)) == 1_500
            return
        with pytest.raises(WriteError, match="Beam lost rows") as raised:
            writing.finish_bundle()
        assert raised.value.code == "LostRows"
        assert len(server.db.items(TABLE)) < 1_500


@pytest.mark.parametrize("shards", [1, 4, 32])
def test_no_more_than_max_buffered_are_held(shards: int) -> None:
    made = step(shards, partitioned_by=["id"], sink_requests_max_buffered=2_000)
    assert 1_000 < most_held(made, range(10_000)) <= 2_000


@pytest.mark.parametrize("shards", [1, 2])
def test_rows_of_other_keys_each_do_not_wait_for_long(shards: int) -> None:
    made = step(shards, partitioned_by=["id"])
    list(sent(made, range(20_000)))  # looks for rows that supersede each other
    made.start_bundle()
    assert most_held(made, range(20_000)) <= shards * to_request._PACK_ROWS


def test_no_pack_has_more_rows_than_the_others_wait_for() -> None:
    made = step(partitioned_by=["id"])
    ids = [n % 2_000 for n in range(30_000)]
    outputs = [each for n in ids for each in given(made, {"id": n, "v": 0})]
    assert max(map(rows_of, [*outputs, *made.finish_bundle()])) == to_request._PACK_ROWS


@pytest.mark.parametrize("bundles", [1, 4])
def test_rows_that_supersede_each_other_wait_as_long_as_they_may(bundles: int) -> None:
    made = step(partitioned_by=["id"])
    for _ in range(bundles):  # the few rows at the end of one say nothing about the next
        made.start_bundle()
        assert written(made, [n % 2_000 for n in range(10_500)]) <= 2_000 + 700


def test_where_another_order_than_that_of_arrival_counts_rows_wait_for_older_ones() -> None:
    made = step(partitioned_by=["id"], order_by="v")
    list(sent(made, range(20_000)))
    made.start_bundle()
    assert most_held(made, range(20_000)) > 9_000


def test_it_is_noticed_when_rows_begin_to_supersede_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(holding, "_LOOK_AGAIN", 3)
    ids = [*range(20_000), *(n % 2_000 for n in range(40_000))]
    gone = written(step(partitioned_by=["id"]), ids) - 20_000
    assert gone <= 24_000  # at most some 12,000 rows go before it is noticed


def test_to_look_for_rows_that_supersede_each_other_stops_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(holding, "_LOOK_AGAIN", 3)
    made = step(partitioned_by=["id"])
    list(sent(made, range(20_000)))
    made.start_bundle()
    assert most_held(made, range(100_000)) <= to_request._PACK_ROWS


def test_without_keys_rows_wait_for_a_pack_only() -> None:
    made = step()
    assert most_held(made, range(10_000)) <= to_request._PACK_ROWS
    made.start_bundle()
    assert [gone for _, gone in sent(made, range(3))][-1] == 3


# --- shards --------------------------------------------------------------------------------


CORES = os.cpu_count() or 1


def shards_of(begin: beam.Pipeline, **options: Any) -> int:
    rows = begin | beam.Create([{"id": 1}])
    _ = rows | WriteToDynamoDB(TABLE, aws_region=REGION, primary_key=["id"], **options)
    found: list[int] = []

    class Visitor(PipelineVisitor):
        def visit_transform(self, node: AppliedPTransform) -> None:
            made = getattr(node.transform, "fn", None)
            if isinstance(made, ToRequest):
                found.append(made._shards)

    begin.visit(Visitor())
    [shards] = found
    return shards


@pytest.mark.parametrize(
    ("flags", "shards"),
    [
        ([], 1),
        (["--direct_num_workers=3", "--direct_running_mode=multi_threading"], 12),
        (
            ["--direct_num_workers=0", "--direct_running_mode=multi_threading"],
            4 * CORES if CORES > 1 else 1,
        ),
    ],
)
def test_on_the_direct_runner_each_worker_has_its_shards(flags: list[str], shards: int) -> None:
    assert shards_of(pipeline(FN_API, *flags), partitioned_by=["id"]) == shards


def test_elsewhere_there_are_shards_for_many_workers() -> None:
    begin = beam.Pipeline(options=PipelineOptions(["--runner=FlinkRunner"]))
    assert shards_of(begin, partitioned_by=["id"]) == 32


def test_an_expansion_service_does_not_know_where_the_pipeline_runs() -> None:
    with ExternalTransform.outer_namespace("java"):
        assert shards_of(pipeline(FN_API), partitioned_by=["id"]) == 32
