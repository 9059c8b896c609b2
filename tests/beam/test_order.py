"""A runner may shuffle what one step sends to the next: the newest of a key stays all the same."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterable
from typing import Any, ClassVar

import apache_beam as beam
import pytest

from beam_dynamodb.to_request import ToRequest
from beam_dynamodb.write_steps import WriteLatest
from tests.beam.helpers import FN_API, TWO_WORKERS, counters, given, pipeline, serving, sink, stored

ROWS, KEYS = 3_000, 70


def sent(step: ToRequest, rows: Iterable[dict[str, Any]]) -> list[Any]:
    """The packs that one bundle sends, in order."""
    step.start_bundle()
    outputs: list[Any] = []
    for row in rows:
        outputs += given(step, row)
    outputs += step.finish_bundle()
    return [each.value for each in outputs]


@pytest.mark.parametrize("shards", [1, 2, 32])
@pytest.mark.parametrize("bundles", [1, 3])
@pytest.mark.parametrize("seed", range(4))
def test_packs_in_any_order_end_with_the_newest_of_each_key(
    seed: int, bundles: int, shards: int
) -> None:
    rows = [{"id": n % KEYS, "v": n} for n in range(ROWS)]
    with serving() as server:
        write = sink(
            server, primary_key=["id"], partitioned_by=["id"], sink_requests_max_buffered=250
        )
        first, second = (
            ToRequest(write._settings, None, shards, travel=True),
            WriteLatest(write._settings, None),
        )
        first.setup()
        second.setup()
        packs = sent(first, rows)
        assert len(packs) > 10 * shards
        rng = random.Random(seed)
        cut = len(packs) // bundles + 1
        for start in range(0, len(packs), cut):
            bundle = packs[start : start + cut]
            rng.shuffle(bundle)
            second.start_bundle()
            for pack in bundle:
                list(second.process(pack))
            list(second.finish_bundle())
        second.teardown()
        assert stored(server) == {n % KEYS: str(n) for n in range(ROWS)}


class Changes(beam.DoFn):
    """Makes the changes of some keys, and notes on which thread."""

    threads: ClassVar[set[int]] = set()

    def process(self, keys: range) -> Iterable[dict[str, Any]]:
        self.threads.add(threading.get_ident())
        for n in range(20):
            for key in keys:
                yield {"id": key, "v": n}


class Written(beam.DoFn):
    threads: ClassVar[set[int]] = set()

    def process(self, row: dict[str, Any]) -> None:
        self.threads.add(threading.get_ident())


@pytest.mark.parametrize("local_workers", [1, 2])
def test_all_workers_of_the_direct_runner_write(local_workers: int) -> None:
    begin = pipeline(FN_API, *(TWO_WORKERS if local_workers == 2 else ()))
    for each in (Changes, Written):
        each.threads.clear()
    with serving() as server, begin:
        starts = begin | beam.Create([range(n, n + 50) for n in range(0, KEYS * 10, 50)])
        rows = starts | beam.ParDo(Changes())
        written = rows | sink(server, primary_key=["id"], partitioned_by=["id"])
        _ = written.written | beam.ParDo(Written())
    assert stored(server) == dict.fromkeys(range(KEYS * 10), "19")
    totals = counters(begin.result)
    assert totals["written"] + totals["superseded"] == totals["received"] == KEYS * 10 * 20
    assert (len(Changes.threads), len(Written.threads)) == (local_workers, local_workers)
