"""Which requests of a batch come back unprocessed, however DynamoDB spells them."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from beam_dynamodb.answers import matching


def put(**item: Any) -> dict[str, Any]:
    return {"PutRequest": {"Item": item}}


DELETED = {"DeleteRequest": {"Key": {"id": {"N": "3"}}}}
BODIES = [
    orjson.dumps(put(id={"N": "1.0"}, tags={"SS": ["b", "a"]})),
    orjson.dumps(put(id={"N": "2"}, m={"M": {"N": {"S": "x"}}})),
    orjson.dumps(DELETED),
]


@pytest.mark.parametrize(
    ("returned", "positions"),
    [
        ([put(tags={"SS": ["a", "b"]}, id={"N": "1"})], (0,)),
        ([put(id={"N": "2E0"}, m={"M": {"N": {"S": "x"}}})], (1,)),
        ([DELETED, put(id={"N": "2"}, m={"M": {"N": {"S": "x"}}})], (1, 2)),
        ([put(id={"N": "9"})], (0, 1, 2)),
        ([put(id={"N": "3"})], (0, 1, 2)),
    ],
    ids=["respelled", "number", "two", "unknown", "a put is no delete"],
)
def test_what_comes_back_unprocessed_is_found(
    returned: list[Any], positions: tuple[int, ...]
) -> None:
    assert matching(BODIES, returned) == positions
