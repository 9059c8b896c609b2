"""Writes data into Amazon DynamoDB from Apache Beam pipelines."""

from __future__ import annotations

from beam_dynamodb.errors import (
    CredentialsError,
    DeadLetterError,
    DynamoDBSinkError,
    OptionError,
    RowError,
    ServiceError,
    SourceNotSupportedError,
    SqlError,
    WriteError,
)
from beam_dynamodb.options import SinkOptions
from beam_dynamodb.replay import ReadDeadLetters, WriteDeadLetters, table_of
from beam_dynamodb.requests import Delete, Put
from beam_dynamodb.results import FailedRecord, WriteResult
from beam_dynamodb.transform import ReadFromDynamoDB, WriteToDynamoDB
from beam_dynamodb.version import __version__

__all__ = [
    "CredentialsError",
    "DeadLetterError",
    "Delete",
    "DynamoDBSinkError",
    "FailedRecord",
    "OptionError",
    "Put",
    "ReadDeadLetters",
    "ReadFromDynamoDB",
    "RowError",
    "ServiceError",
    "SinkOptions",
    "SourceNotSupportedError",
    "SqlError",
    "WriteDeadLetters",
    "WriteError",
    "WriteResult",
    "WriteToDynamoDB",
    "__version__",
    "table_of",
]
