"""What DynamoDB's answer to a BatchWriteItem means: why it failed, or what it left unwritten.

Knows an answer as `connection` gives it; no credentials, nor what comes next.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from beam_dynamodb.connection import Reply
from beam_dynamodb.errors import ServiceError
from beam_dynamodb.numbers import canonical_number

__all__ = ["NO_MESSAGE", "content_of", "fault_of", "in_words", "matching"]

NO_MESSAGE = "no message"
"""What an error of DynamoDB says that comes without a text, or as another's page."""


def fault_of(reply: Reply, explain: Callable[..., ServiceError]) -> ServiceError | None:
    """The error that a reply tells of; None for an answer that can be taken as it is.

    Args:
        reply: What came of the request.
        explain: Makes an error of its code, its message and its other attributes.
    """
    if reply.error is not None:
        error = explain(reply.error.code, str(reply.error))
        error.__cause__ = reply.error
        return error
    checksum = reply.header(b"x-amz-crc32")
    if checksum is not None and checksum != b"%d" % zlib.crc32(reply.body):
        return explain("Crc32Mismatch", "the answer was damaged on its way", status=reply.status)
    if reply.status == 200:
        return None
    try:
        content = orjson.loads(reply.body)
    except orjson.JSONDecodeError:  # a load balancer's page, or nothing
        content = {}
    return _explained(reply, content if isinstance(content, dict) else {}, explain)


def _explained(
    reply: Reply, content: dict[str, Any], explain: Callable[..., ServiceError]
) -> ServiceError:
    code = str(content.get("__type") or reply.headers.get("x-amzn-errortype") or "")
    # A namespace may stand before it, a URL behind it.
    code = code.partition(":")[0].rpartition("#")[2].strip() or f"HTTP {reply.status}"
    reasons = content.get("ThrottlingReasons") or content.get("throttlingReasons")
    hint = reply.headers.get("x-amz-retry-after", "")
    return explain(
        code,
        str(content.get("message") or content.get("Message") or NO_MESSAGE),
        status=reply.status,
        retry_after=int(hint) / 1000 if hint.isdecimal() else None,
        reasons=tuple(
            (str(each.get("reason", "")), str(each.get("resource", "")))
            for each in (reasons if isinstance(reasons, list) else ())
            if isinstance(each, dict)
        ),
        request_id=reply.headers.get("x-amzn-requestid"),
    )


def content_of(body: bytes) -> tuple[list[dict[str, Any]], float]:
    """What a BatchWriteItem left unprocessed, under whatever name of the table, and consumed.

    DynamoDB always tells what is left, be it nothing (API reference, *BatchWriteItem*). Another
    service behind a wrong endpoint does not, and has written nothing.

    Raises:
        AttributeError, KeyError, TypeError, ValueError: It is no answer to a BatchWriteItem.
    """
    content = orjson.loads(body)
    tables = content["UnprocessedItems"] or {}
    returned = [dict(each) for items in tables.values() for each in items]
    consumed = content.get("ConsumedCapacity") or ()
    return returned, sum(float(each.get("CapacityUnits") or 0.0) for each in consumed)


def matching(bodies: Sequence[bytes], returned: Sequence[Mapping[str, Any]]) -> tuple[int, ...]:
    """The positions of the bodies that DynamoDB gave back as unprocessed.

    DynamoDB may write a number or the order of a set in another way than it was sent, so both
    sides are compared in one normal form. If anything given back can't be found, all positions
    are returned: to write twice is harmless, to lose is not.
    """
    wanted = {_normal(each) for each in returned}
    positions = tuple(
        position for position, body in enumerate(bodies) if _normal(orjson.loads(body)) in wanted
    )
    return positions if len(positions) >= len(wanted) else tuple(range(len(bodies)))


def _normal(value: Any) -> bytes:
    return orjson.dumps(_normalised(value), option=orjson.OPT_SORT_KEYS)


def _normalised(value: Any) -> Any:
    if isinstance(value, list):
        return [_normalised(each) for each in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        [(tag, content)] = value.items()
        if tag == "N" and isinstance(content, str):
            return {tag: canonical_number(content)}
        if tag == "NS" and isinstance(content, list):
            return {tag: sorted(canonical_number(each) for each in content)}
        if tag in ("SS", "BS") and isinstance(content, list):
            return {tag: sorted(content)}
    return {name: _normalised(each) for name, each in value.items()}


# --- in words that say what to do ----------------------------------------------------------


def in_words(code: str, message: str, where: str) -> str:
    """What an error of DynamoDB says, and what to do.

    Args:
        code: AWS's error code, or our own.
        message: What AWS said.
        where: Which table, and where it is.
    """
    told = f"{code} for {where}: {_without_contents(message)}"
    advice = _NOT_AWS if _FOREIGN.fullmatch(code) else _ADVICE.get(code)
    return f"{told.rstrip('.')}. {advice}" if advice else told


_NOT_AWS = (
    "That is no answer of DynamoDB's: check 'aws.endpoint', and HTTPS_PROXY, HTTP_PROXY and "
    "NO_PROXY."
)
_FOREIGN = re.compile(r"HTTP (?!408|413|429)[234]\d\d")
"""The codes of answers without a code of AWS, where they are no faults that pass."""

_DENIED = (
    "Allow dynamodb:BatchWriteItem on the table, and kms:Decrypt on a key of its own, "
    "to the identity that 'aws.credentials.provider' gives."
)
_UNKNOWN_KEY = "AWS does not know the access key: check 'aws.credentials.provider' and its options."
_BAD_SIGNATURE = (
    "The secret key does not fit the access key, or this machine's clock is wrong: check "
    "'aws.credentials.provider' and its options."
)
_NOT_RENEWED = (
    "The credentials expired and no newer ones could be had: check 'aws.credentials.provider'."
)
_ADVICE = {
    "ResourceNotFoundException": (
        "Create the table, or check 'table-name', 'aws.region' and 'aws.endpoint'."
    ),
    "AccessDeniedException": _DENIED,
    "AccessDenied": _DENIED,
    "UnrecognizedClientException": _UNKNOWN_KEY,
    "InvalidClientTokenId": _UNKNOWN_KEY,
    "InvalidSignatureException": _BAD_SIGNATURE,
    "SignatureDoesNotMatch": _BAD_SIGNATURE,
    "RequestTimeTooSkewed": "Set this machine's clock.",
    "RequestExpired": "Set this machine's clock.",
    "ConnectionError": "Check 'aws.endpoint', 'aws.region' and the network.",
    "ProxyError": "Check HTTPS_PROXY, HTTP_PROXY and NO_PROXY.",
    "BadResponse": _NOT_AWS,
    "UnknownOperationException": _NOT_AWS,
    "ExpiredTokenException": _NOT_RENEWED,
    "ExpiredToken": _NOT_RENEWED,
}

_CONTENTS = re.compile(r"\[.*\]|\{.*\}|(?<=Value )'.*'(?= at ')|(?<=numeric value: ).*")


def _without_contents(message: str) -> str:
    """AWS's message without what must not be shown.

    A refused signature comes, from the second line on, with the signed headers, the session token
    among them; a refused value may be quoted.
    """
    lines = message.strip().splitlines() or [""]
    return _CONTENTS.sub("…", lines[0])[:500]
