"""The stub endpoint of the benchmarks: what it answers, and what it counts."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator

import boto3
import pytest
import urllib3

from benchmarks.rows import KEY, TABLE
from benchmarks.stub import Stub, stub


@pytest.fixture
def running() -> Iterator[Stub]:
    with stub() as started:
        yield started


def client(url: str):
    return boto3.client("dynamodb", endpoint_url=url, region_name="us-east-2")


def put(number: int) -> dict:
    return {"PutRequest": {"Item": {KEY: {"N": str(number)}, "v": {"S": "PutRequest"}}}}


def test_it_counts_requests_items_and_keys(running):
    dynamodb = client(running.url)
    for numbers in ([0, 1, 2], [2, 3], [70_000]):
        answer = dynamodb.batch_write_item(RequestItems={TABLE: [put(each) for each in numbers]})
        assert answer["UnprocessedItems"] == {}
        assert "ConsumedCapacity" not in answer
    dynamodb.put_item(TableName=TABLE, Item={KEY: {"N": "71000"}})
    dynamodb.close()
    counts = running.counts()
    assert (counts.requests, counts.items, counts.keys) == (4, 7, 6)
    assert counts.cpu_seconds > 0


def test_it_tells_the_consumed_capacity_where_it_is_asked_for(running):
    dynamodb = client(running.url)
    answer = dynamodb.batch_write_item(
        RequestItems={TABLE: [put(1), put(2)]}, ReturnConsumedCapacity="TOTAL"
    )
    assert answer["ConsumedCapacity"] == [{"TableName": TABLE, "CapacityUnits": 2.0}]
    dynamodb.close()


def test_it_describes_its_table_and_refuses_what_it_has_not(running):
    dynamodb = client(running.url)
    described = dynamodb.describe_table(TableName=TABLE)["Table"]
    assert described["KeySchema"] == [{"AttributeName": KEY, "KeyType": "HASH"}]
    with pytest.raises(dynamodb.exceptions.ClientError, match="UnknownOperation"):
        dynamodb.list_tables()
    dynamodb.close()


def test_the_checksum_fits_the_body(running):
    with urllib3.PoolManager() as pool:
        answer = pool.request(
            "POST",
            running.url,
            body=b'{"RequestItems":{}}',
            headers={"X-Amz-Target": "DynamoDB_20120810.BatchWriteItem"},
        )
    assert answer.headers["x-amz-crc32"] == str(zlib.crc32(answer.data))


def test_a_request_in_pieces_is_one_request(running):
    with urllib3.PoolManager() as pool:
        body = b'{"RequestItems":{"t":[{"PutRequest":{"Item":{"user_id":{"N":"7"}}}}]}}'
        pool.request(
            "POST",
            running.url,
            body=iter([body[:30], body[30:]]),
            headers={
                "X-Amz-Target": "DynamoDB_20120810.BatchWriteItem",
                "Content-Length": str(len(body)),
            },
        )
    counts = running.counts()
    assert (counts.requests, counts.items, counts.keys) == (1, 1, 1)


def test_late_answers_are_late_by_no_less_than_asked_for():
    with stub(late_ms=50) as late:
        dynamodb = client(late.url)
        dynamodb.describe_table(TableName=TABLE)
        began = time.monotonic()
        dynamodb.describe_table(TableName=TABLE)
        assert time.monotonic() - began >= 0.05
        dynamodb.close()
