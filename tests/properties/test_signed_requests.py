"""A batch goes out as boto3 would send it: same place, same headers, same signature, same items."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any
from urllib.parse import urlsplit

import botocore.loaders
import botocore.session
import orjson
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.config import Config
from botocore.credentials import Credentials
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from beam_dynamodb.client import Call, DynamoDB
from beam_dynamodb.options import SinkOptions
from beam_dynamodb.requests import Delete, RequestFactory
from tests.properties.strategies import rows

REGIONS = ["us-east-1", "us-east-2", "eu-central-1", "us-gov-west-1", "cn-north-1"]
ENDPOINTS = [None, None, "http://127.0.0.1:8000", "https://ddb.example:8443", "http://[::1]:8000/"]
TABLES = ["user_behavior", "a.b-c_D", "arn:aws:dynamodb:{}:123456789012:table/user_behavior"]
TOKENS = st.none() | st.text("abcXYZ019+/=", min_size=1, max_size=400)
TOKEN_HEADER = "X-Amz-Security-Token"


LOADER = botocore.loaders.create_loader()
"""Its files are read once for all clients."""


class Recorder:
    """A wire that keeps what it is given."""

    room = 1

    def send(self, request: Sequence[bytes], tag: object) -> None:
        self.parts = len(request)
        head, _, self.body = b"".join(request).partition(b"\r\n\r\n")
        self.line, *fields = head.decode("latin-1").split("\r\n")
        self.headers = dict(field.split(": ", 1) for field in fields)

    def close(self) -> None:
        """There is nothing to close."""


@contextmanager
def environment(access_key: str, secret: str, token: str | None) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", access_key)
        patch.setenv("AWS_SECRET_ACCESS_KEY", secret)
        if token is None:
            patch.delenv("AWS_SESSION_TOKEN", raising=False)
        else:
            patch.setenv("AWS_SESSION_TOKEN", token)
        yield


def sent_by_botocore(table: str, writes: list[Any], endpoint: str | None, region: str) -> Any:
    """The request that boto3's own client is about to send."""
    prepared: list[Any] = []

    def intercept(request: Any, **_: Any) -> AWSResponse:
        prepared.append(request)
        return AWSResponse(request.url, 200, {}, _Empty())

    session = botocore.session.Session()
    session.register_component("data_loader", LOADER)
    client = session.create_client(
        "dynamodb", region_name=region, endpoint_url=endpoint, config=Config(user_agent_extra="us")
    )
    client.meta.events.register("before-send.dynamodb.BatchWriteItem", intercept)
    client.batch_write_item(RequestItems={table: writes}, ReturnConsumedCapacity="TOTAL")
    [request] = prepared
    return request


class _Empty:
    def stream(self, **_: Any) -> Iterator[bytes]:
        yield b"{}"


def text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def signed_by_botocore(url: str, recorder: Recorder, region: str) -> str:
    """The signature that botocore gives our request."""
    names = ("Content-Type", "X-Amz-Target", "Host", TOKEN_HEADER)
    headers = {name: recorder.headers[name] for name in names if name in recorder.headers}
    request = AWSRequest("POST", url, headers=headers, data=recorder.body)
    request.context["timestamp"] = recorder.headers["X-Amz-Date"]
    request.headers["X-Amz-Date"] = recorder.headers["X-Amz-Date"]
    auth: Any = SigV4Auth(Credentials("AKIDEXAMPLE", "the-secret"), "dynamodb", region)
    to_sign = auth.string_to_sign(request, auth.canonical_request(request))
    return str(auth.signature(to_sign, request))


@settings(max_examples=25, phases=[Phase.generate])  # each makes two clients
@given(
    items=st.lists(rows(), min_size=1, max_size=5), table=st.sampled_from(TABLES), token=TOKENS,
    region=st.sampled_from(REGIONS), endpoint=st.sampled_from(ENDPOINTS), second=st.integers(0, 59),
    large=st.booleans(),
)  # fmt: skip
def test_a_batch_goes_out_as_boto3_would_send_it(
    items: list[dict[str, Any]], table: str, token: str | None, region: str, endpoint: str | None,
    second: int, large: bool,
) -> None:  # fmt: skip
    table = table.format(region)
    factory = RequestFactory(table)
    items = [*items, {"id": "large", "text": "x" * 200_000}] if large else items
    elements = [*items, Delete({"id": items[0]["id"]})]
    bodies = factory.requests(elements, [0] * len(elements)).requests.bodies
    now = datetime(2026, 11, 24, 12, 0, second, 999_999, tzinfo=timezone.utc)
    given_options = {"connector": "dynamodb", "table-name": table, "aws.region": region}
    if endpoint is not None:
        given_options["aws.endpoint"] = endpoint
    recorder = Recorder()
    with environment("AKIDEXAMPLE", "the-secret", token):
        service = DynamoDB(SinkOptions.parse(given_options), user_agent="us", now=lambda: now)
        channel = service.channel()
        channel._wire = recorder  # type: ignore[assignment]
        channel.send([Call(table, each, None) for each in (bodies[:1], bodies)])  # the last counts
        theirs = sent_by_botocore(table, [_plain(body) for body in bodies], endpoint, region)

    assert (recorder.parts > 1) == large, "what is large is not copied together"
    place = urlsplit(theirs.url)
    assert recorder.line == f"POST {place.path or '/'} HTTP/1.1"
    assert recorder.headers["Host"] == place.netloc
    assert recorder.headers["Content-Length"] == str(len(recorder.body))
    for name in ("Content-Type", "X-Amz-Target", TOKEN_HEADER):
        told = text(theirs.headers[name]) if name in theirs.headers else None
        assert recorder.headers.get(name) == told
    assert orjson.loads(recorder.body) == orjson.loads(theirs.body)
    ours, botocores = recorder.headers["Authorization"], text(theirs.headers["Authorization"])
    scope = ours.partition("/")[2].partition(",")[0].partition("/")[2]
    assert scope == botocores.partition("/")[2].partition(",")[0].partition("/")[2]
    assert "us" in recorder.headers["User-Agent"].split()
    assert recorder.headers["User-Agent"].startswith("Botocore/")
    [signing_region, *_] = scope.split("/")
    assert ours.endswith(f"Signature={signed_by_botocore(theirs.url, recorder, signing_region)}")


def _plain(body: bytes) -> Any:
    """A write as boto3 takes it: with bytes instead of base64."""
    return _with_bytes(orjson.loads(body))


def _with_bytes(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_bytes(each) for each in value]
    if not isinstance(value, dict):
        return value
    [(tag, content), *others] = value.items() if value else [(None, None)]
    if not others and tag == "B" and isinstance(content, str):
        return {tag: base64.b64decode(content)}
    if not others and tag == "BS" and isinstance(content, list):
        return {tag: [base64.b64decode(each) for each in content]}
    return {name: _with_bytes(each) for name, each in value.items()}
