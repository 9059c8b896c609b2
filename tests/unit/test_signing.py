"""The heads of signed requests, against AWS's published example and its rules."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from beam_dynamodb.signing import Identity, Signer
from beam_dynamodb.testing.attributes import Refused
from beam_dynamodb.testing.signatures import check_signature
from tests.properties.test_signing import headers_of

NOW = datetime(2026, 3, 1, 23, 59, 59, tzinfo=timezone.utc)


def signer(**given: Any) -> Signer:
    settings: dict[str, Any] = {
        "host": "dynamodb.us-east-2.amazonaws.com",
        "path": "/",
        "request_target": "/",
        "region": "us-east-2",
        "target": "DynamoDB_20120810.BatchWriteItem",
        "identity": Identity("AKID", "hush", "hush-token"),
        "headers": {"User-Agent": "test/1"},
        **given,
    }
    return Signer(**settings)


def head_of(signing: Signer, body: bytes, now: datetime = NOW) -> bytes:
    [head] = signing.heads([[body]], now)
    return head


def test_a_head_is_a_complete_http_request_head() -> None:
    head = head_of(signer(), b"{}")
    assert head.startswith(b"POST / HTTP/1.1\r\n")
    assert head.endswith(b"\r\n\r\n")
    headers = headers_of(head)
    assert headers["Host"] == "dynamodb.us-east-2.amazonaws.com"
    assert headers["X-Amz-Date"] == "20260301T235959Z"
    assert headers["X-Amz-Security-Token"] == "hush-token"
    assert headers["Content-Type"] == "application/x-amz-json-1.0"
    assert headers["Content-Length"] == "2"
    assert headers["User-Agent"] == "test/1"
    assert "20260301/us-east-2/dynamodb/aws4_request" in headers["Authorization"]
    assert "hush" not in headers["Authorization"]


def test_without_a_token_no_token_is_sent_or_signed() -> None:
    head = head_of(signer(identity=Identity("AKID", "hush")), b"{}")
    assert b"oken" not in head


def test_the_request_line_names_what_it_was_told() -> None:
    head = head_of(signer(request_target="http://db:8000/x"), b"")
    assert head.startswith(b"POST http://db:8000/x HTTP/1.1\r\n")


@pytest.mark.parametrize("path", ["/", "/a/b", "/a//b/../c/", "/%41 b"])
def test_a_server_that_checks_signatures_accepts_ours(path: str) -> None:
    headers = headers_of(head_of(signer(path=path), b'{"a":1}'))
    lower = {name.lower(): value for name, value in headers.items()}
    check_signature("POST", path, lower, b'{"a":1}', {"AKID": "hush"})
    with pytest.raises(Refused):
        check_signature("POST", path, lower, b'{"a":2}', {"AKID": "hush"})
    with pytest.raises(Refused):
        check_signature("POST", path, lower, b'{"a":1}', {"AKID": "other"})


def test_the_signing_key_follows_the_day_of_the_request() -> None:
    one = signer()
    before = head_of(one, b"")
    head_of(one, b"", NOW.replace(month=4))
    assert head_of(one, b"") == before


@pytest.mark.parametrize(
    ("identity", "name"),
    [
        (Identity("AKID\n", "s"), "Authorization"),
        (Identity("AKID\r\nX-Evil: 1", "s"), "Authorization"),
        (Identity("AKID", "s", "hush\n"), "X-Amz-Security-Token"),
        (Identity("AKID", "s", "hush-é-\N{SNOWMAN}"), "X-Amz-Security-Token"),
    ],
)
def test_credentials_that_no_header_can_carry_are_refused_by_name(
    identity: Identity, name: str
) -> None:
    with pytest.raises(ValueError, match=name) as refused:
        signer(identity=identity)
    assert "hush" not in str(refused.value)


def test_an_identity_shows_no_secret() -> None:
    assert "hush" not in repr(Identity("AKID", "hush", "hush-token"))
    assert "hush" not in repr(signer())
