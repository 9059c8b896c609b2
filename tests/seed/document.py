"""The options table of the documentation of Flink's DynamoDB SQL connector, row by row."""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """One row: the heading it stands under, and its columns without the description."""

    group: str
    key: str
    required: bool
    default: str | None
    type_name: str


_COMMON = "Common Options"
_AUTH = "Authentication Options"
_SINK = "Sink Options"
_HTTP = "HTTP Client Options"

ROWS = (
    Row(_COMMON, "connector", True, None, "String"),
    Row(_COMMON, "table-name", True, None, "String"),
    Row(_COMMON, "aws.region", True, None, "String"),
    Row(_COMMON, "aws.endpoint", False, None, "String"),
    Row(_COMMON, "aws.trust.all.certificates", False, "false", "Boolean"),
    Row(_AUTH, "aws.credentials.provider", False, "AUTO", "String"),
    Row(_AUTH, "aws.credentials.basic.accesskeyid", False, None, "String"),
    Row(_AUTH, "aws.credentials.basic.secretkey", False, None, "String"),
    Row(_AUTH, "aws.credentials.profile.path", False, None, "String"),
    Row(_AUTH, "aws.credentials.profile.name", False, None, "String"),
    Row(_AUTH, "aws.credentials.role.arn", False, None, "String"),
    Row(_AUTH, "aws.credentials.role.sessionName", False, None, "String"),
    Row(_AUTH, "aws.credentials.role.externalId", False, None, "String"),
    Row(_AUTH, "aws.credentials.role.provider", False, None, "String"),
    Row(_AUTH, "aws.credentials.webIdentityToken.file", False, None, "String"),
    Row(_SINK, "sink.batch.max-size", False, "25", "Integer"),
    Row(_SINK, "sink.requests.max-inflight", False, "50", "Integer"),
    Row(_SINK, "sink.requests.max-buffered", False, "10000", "String"),
    Row(_SINK, "sink.flush-buffer.timeout", False, "5000", "Long"),
    Row(_SINK, "sink.fail-on-error", False, "false", "Boolean"),
    Row(_HTTP, "sink.http-client.max-concurrency", False, "10000", "Integer"),
    Row(_HTTP, "sink.http-client.read-timeout", False, "360000", "Integer"),
)
