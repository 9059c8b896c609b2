"""Pipelines that end in the sink, configured by the documented keys, and where they read from."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.test_stream import TestStream

from beam_dynamodb import WriteToDynamoDB
from beam_dynamodb.testing import FakeDynamoDB

TABLE = "user_behavior"
REGION = "us-east-2"


def options(endpoint: str, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The documentation's example at a local endpoint, with more options or other ones."""
    example = {"connector": "dynamodb", "table-name": TABLE, "aws.region": REGION}
    return {**example, "aws.endpoint": endpoint, **(given or {})}


def behavior(user: int, what: str = "buy", item: int = 1) -> dict[str, Any]:
    """A row of the documentation's example table."""
    return {"user_id": user, "item_id": item, "category_id": 7, "behavior": what}


def behaviors(count: int) -> list[dict[str, Any]]:
    """So many rows of different users."""
    return [behavior(user) for user in range(count)]


def user_behavior(kind: type[FakeDynamoDB] = FakeDynamoDB, *, name: str = TABLE) -> FakeDynamoDB:
    """A DynamoDB that has the example's table, whose key is the user's id."""
    db = kind()
    db.create_table(name, {"user_id": "N"})
    return db


def write(rows: Iterable[Any], given: Mapping[str, Any], **keywords: Any) -> None:
    """Writes rows, in one bundle and in their order, through a sink with these options."""
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        bundle = pipeline | beam.Create([list(rows)], reshuffle=False) | beam.FlatMap(_each)
        _ = bundle | WriteToDynamoDB.from_options(given, **keywords)


def write_counted(name: str, count: int, given: Mapping[str, Any], **keywords: Any) -> None:
    """As `write`, from a source whose progress `pulled[name]` tells."""
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        source = pipeline | beam.Create([(name, count)], reshuffle=False) | beam.FlatMap(_pull)
        _ = source | WriteToDynamoDB.from_options(given, **keywords)


def write_stream(stream: TestStream, given: Mapping[str, Any], **keywords: Any) -> None:
    """Writes unbounded input, on the one in-process runner whose clock a test can move."""
    streaming = PipelineOptions(streaming=True)
    with beam.Pipeline(runner="BundleBasedDirectRunner", options=streaming) as pipeline:
        _ = pipeline | stream | WriteToDynamoDB.from_options(given, **keywords)


pulled: Counter[str] = Counter()
"""How many rows were taken from each source of `write_counted`; its worker is a thread of ours."""

_pulling = threading.Lock()


def _each(rows: list[Any]) -> Iterator[Any]:
    yield from rows


def _pull(source: tuple[str, int]) -> Iterator[Any]:
    name, count = source
    for user in range(count):
        with _pulling:
            pulled[name] += 1
        yield behavior(user)
