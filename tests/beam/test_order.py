"""A runner may shuffle what one step sends to the next: the newest of a key stays all the same."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import pytest
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import create as windowed_value

from beam_dynamodb.steps import ToRequest, WriteLatest
from tests.beam.helpers import serving, sink, stored

ROWS, KEYS = 3_000, 70


def sent(step: ToRequest, rows: Iterable[dict[str, Any]]) -> list[Any]:
    """The packs that one bundle sends, in order."""
    step.start_bundle()
    outputs: list[Any] = []
    for row in rows:
        outputs += step.process(row, windowed_value(row, 0, (GlobalWindow(),))) or ()
    outputs += step.finish_bundle()
    return [each.value for each in outputs]


@pytest.mark.parametrize("bundles", [1, 3])
@pytest.mark.parametrize("seed", range(4))
def test_packs_in_any_order_end_with_the_newest_of_each_key(seed: int, bundles: int) -> None:
    rows = [{"id": n % KEYS, "v": n} for n in range(ROWS)]
    with serving() as server:
        write = sink(
            server, primary_key=["id"], partitioned_by=["id"], sink_requests_max_buffered=250
        )
        first, second = ToRequest(write._settings, None), WriteLatest(write._settings, None)
        first.setup()
        second.setup()
        packs = sent(first, rows)
        assert len(packs) > 300
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
