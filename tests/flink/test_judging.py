"""The judge of the tests on Flink sees what it is there for."""

from __future__ import annotations

import json
from pathlib import Path

from beam_dynamodb.testing import Write
from tests.beam.helpers import TABLE
from tests.flink.changes import ChangeLog, judged


def writes(*written: int | None) -> list[Write]:
    """Writes of key 7, by version; None is a delete."""
    return [
        Write(number, 0.0, TABLE, ("7",), None if version is None else data_of(version))
        for number, version in enumerate(written)
    ]


def data_of(version: int) -> bytes:
    return json.dumps({"id": {"N": "7"}, "v": {"N": str(version)}}).encode()


def log_of(folder: Path, *deletes: int) -> ChangeLog:
    log = ChangeLog(folder)
    log.deletes[7] = list(deletes)
    return log


def test_what_came_in_order_was_never_rewound(tmp_path: Path) -> None:
    seen = judged(writes(1, 2, None, 9, 9, None), log_of(tmp_path, 5, 12))
    assert (seen.rewinds, seen.twice) == (0, 1)


def test_an_older_write_after_a_newer_one_is_seen(tmp_path: Path) -> None:
    assert judged(writes(1, 3, 2), log_of(tmp_path)).rewinds == 1
    assert judged(writes(1, 3, 2, 3, 2), log_of(tmp_path)).rewinds == 2


def test_a_delete_that_no_later_row_explains_is_seen(tmp_path: Path) -> None:
    assert judged(writes(1, 9, None), log_of(tmp_path, 5)).rewinds == 1
