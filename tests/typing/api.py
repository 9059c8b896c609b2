"""The public face as a type checker sees it; checked by mypy, never run."""

from __future__ import annotations

from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.pvalue import PCollection
from typing_extensions import assert_type

from beam_dynamodb import Delete, FailedRecord, OptionError, Put, WriteResult, WriteToDynamoDB


class Visit(NamedTuple):
    """A row."""

    user_id: int
    page: str


def table_of(visit: Visit) -> str:
    """The table for a row."""
    return f"visits_{visit.user_id % 2}"


def writes(rows: PCollection[Any]) -> None:
    """All ways to make a sink, and what comes out of it."""
    sink = WriteToDynamoDB("visits", aws_region="us-east-2", partitioned_by=["user_id"])
    assert_type(sink, WriteToDynamoDB)
    assert_type(sink.with_exception_handling(threshold=0.1), WriteToDynamoDB)
    assert_type(sink.with_error_handler(None), WriteToDynamoDB)
    WriteToDynamoDB(table_of, aws_region="us-east-2", sink_batch_max_size=10)
    WriteToDynamoDB(table_name="visits", aws_region="us-east-2")
    WriteToDynamoDB(table_name=table_of, aws_region="us-east-2")
    WriteToDynamoDB.from_options({"connector": "dynamodb", "table-name": "visits"})
    assert_type(WriteToDynamoDB.from_ddl("CREATE TABLE …", options={}), WriteToDynamoDB)
    result = sink.expand(rows)
    assert_type(result, WriteResult)
    assert_type(result.failed, PCollection[FailedRecord] | None)


def elements(pipeline: beam.Pipeline) -> None:
    """What may be written."""
    Put({"user_id": 1, "page": "a"})
    Put(Visit(1, "a"))
    Delete({"user_id": 1})


def errors() -> None:
    """Facts stand beside the message."""
    try:
        WriteToDynamoDB("visits", aws_region="us-east-2", sink_batch_max_size=26)
    except OptionError as error:
        assert_type(error.option, str | None)
        assert_type(error.message, str)
