"""The fake server as its clients see it: botocore's client, and a bare socket."""

from __future__ import annotations

import contextlib
import functools
import json
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import botocore.session
import pytest
import trustme
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    ReadTimeoutError,
    SSLError,
)

from beam_dynamodb.testing import (
    AccessDenied,
    ClockSkew,
    Delayed,
    Expired,
    FakeDynamoDB,
    FakeServer,
    Fault,
    Faults,
    HalfAnswer,
    Hang,
    InvalidCredentials,
    Rejected,
    Reset,
    ServerError,
    Slow,
    TableGone,
    Throttle,
    Unprocessed,
    WrongCrc32,
)

REASON = ("TableWriteKeyRangeThroughputExceeded", "arn:aws:dynamodb:us-east-1:1:table/tab")


def a_server(*script: Fault | None, faults: Faults | None = None, **options: Any) -> FakeServer:
    db = FakeDynamoDB()
    db.create_table("tab", {"pk": "S"})
    return FakeServer(db, faults=faults or Faults.script(script), **options)


@functools.cache
def a_session() -> Any:
    return boto3.session.Session()


def a_client(server: FakeServer, *, read_timeout: float = 10, **options: Any) -> Any:
    settings = {
        "region_name": "us-east-1",
        "aws_access_key_id": "AKID",
        "aws_secret_access_key": "secret",
        "config": Config(retries={"total_max_attempts": 1}, read_timeout=read_timeout),
        **options,
    }
    return a_session().client("dynamodb", endpoint_url=server.endpoint, **settings)


def put(pk: str) -> dict[str, Any]:
    return {"PutRequest": {"Item": {"pk": {"S": pk}}}}


def write(client: Any, *pks: str) -> Any:
    return client.batch_write_item(RequestItems={"tab": [put(pk) for pk in pks]})


def written(server: FakeServer) -> list[str]:
    return [item["pk"]["S"] for item in server.db.items("tab")]


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 5
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


class Wire:
    """A bare connection that shows what botocore hides."""

    def __init__(self, server: FakeServer) -> None:
        parts = urlsplit(server.endpoint)
        self.socket = socket.create_connection((parts.hostname, parts.port), timeout=5)

    def send(self, *pks: str, **headers: str) -> None:
        body = json.dumps({"RequestItems": {"tab": [put(pk) for pk in pks]}}).encode()
        fields = {
            "Host": "127.0.0.1",
            "X-Amz-Target": "DynamoDB_20120810.BatchWriteItem",
            "Content-Length": str(len(body)),
            **headers,
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self.socket.sendall(f"POST / HTTP/1.1\r\n{head}\r\n".encode() + body)

    def answer(self) -> tuple[int, dict[str, str], bytes, str]:
        """The status, headers, body as far as it came, and how it ended: whole, closed, reset."""
        data, end = b"", "whole"
        while not _is_whole(data):
            try:
                chunk = self.socket.recv(65536)
            except ConnectionResetError:
                end = "reset"
                break
            if not chunk:
                end = "closed"
                break
            data += chunk
        return *_parsed(data), end

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


def _parsed(data: bytes) -> tuple[int, dict[str, str], bytes]:
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(first.split()[1]) if first else 0, headers, body


def _is_whole(data: bytes) -> bool:
    if b"\r\n\r\n" not in data:
        return False
    _, headers, body = _parsed(data)
    return len(body) >= int(headers["content-length"])


# --- answers -------------------------------------------------------------------------------


def test_answer_has_the_headers_of_the_service() -> None:
    with a_server() as server, Wire(server) as wire:
        wire.send("a")
        status, headers, body, end = wire.answer()
    assert (status, body, end) == (200, b'{"UnprocessedItems":{}}', "whole")
    assert headers["content-type"] == "application/x-amz-json-1.0"
    assert int(headers["x-amz-crc32"]) == zlib.crc32(body)
    assert len(headers["x-amzn-requestid"]) == 52
    age = datetime.now(timezone.utc) - parsedate_to_datetime(headers["date"])
    assert timedelta(0) <= age < timedelta(seconds=5)


def test_connection_is_kept_and_pipelined_requests_are_answered_in_order() -> None:
    with a_server(Slow(0.05), Throttle(), None) as server, Wire(server) as wire:
        for pk in "abc":
            wire.send(pk)
        data = b""
        while len(statuses := re.findall(rb"HTTP/1.1 (\d+)", data)) < 3:
            data += wire.socket.recv(65536)
        assert statuses == [b"200", b"400", b"200"]
        assert server.stats().connections == 1
        assert written(server) == ["a", "c"]


def test_client_may_ask_to_close() -> None:
    with a_server() as server, Wire(server) as wire:
        wire.send("a", Connection="close")
        _, headers, _, _ = wire.answer()
        assert headers["connection"] == "close"
        assert wire.socket.recv(1) == b""


@pytest.mark.parametrize("body", [b"{", b"[]", b"null", b"", b'{"a": "\xff"}'])
def test_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    with a_server() as server:
        request = urllib.request.Request(
            server.endpoint,
            data=body,
            headers={"X-Amz-Target": "DynamoDB_20120810.BatchWriteItem"},
        )
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request)
        with caught.value as answer:
            assert answer.code == 400
            assert "SerializationException" in json.load(answer)["__type"]


def test_garbage_ends_the_connection_and_harms_nobody_else() -> None:
    with a_server() as server, Wire(server) as wire:
        wire.socket.sendall(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
        assert wire.socket.recv(1) == b""
        write(a_client(server), "a")
        assert written(server) == ["a"]


def test_stats_tell_calls_items_connections_and_bytes() -> None:
    with a_server(latency=0.3) as server, contextlib.ExitStack() as stack:
        wires = [stack.enter_context(Wire(server)) for _ in range(3)]
        for wire in wires:
            wire.send("a", "b")
        assert {wire.answer()[0] for wire in wires} == {200}
        wires[0].send("c", **{"X-Amz-Target": "DynamoDB_20120810.ListTables"})
        wires[0].answer()
        stats = server.stats()
    assert stats.calls == {"BatchWriteItem": 3, "ListTables": 1}
    assert (stats.items, stats.connections, stats.in_flight) == (6, 3, 0)
    assert stats.max_in_flight > 1
    assert stats.bytes_received > 600 < stats.bytes_sent


def test_server_can_go_away_and_come_back_at_the_same_address() -> None:
    server = a_server()
    with server:
        client = a_client(server)
        write(client, "a")
        endpoint = server.endpoint
    with pytest.raises(EndpointConnectionError):
        write(a_client(server), "b")
    with server:
        assert server.endpoint == endpoint
        write(a_client(server), "c")
    assert written(server) == ["a", "c"]


def test_clock_of_the_server_can_be_set() -> None:
    with a_server(clock=lambda: 1_000_000_000.0) as server:
        answer = write(a_client(server), "a")
        headers = answer["ResponseMetadata"]["HTTPHeaders"]
        assert headers["date"] == "Sun, 09 Sep 2001 01:46:40 GMT"
        assert [entry.time for entry in server.db.writes] == [1_000_000_000.0]


def test_taken_port_is_an_error() -> None:
    with a_server() as server, pytest.raises(OSError, match="in use"):
        a_server(port=server.port).start()


def test_pages_tell_another_process_what_happened() -> None:
    with a_server(Throttle(), None) as server:
        client = a_client(server)
        with contextlib.suppress(ClientError):
            write(client, "a")
        write(client, "b")
        pages = {}
        for page in ("/", "/stats", "/writes"):
            with urllib.request.urlopen(server.endpoint + page) as answer:
                pages[page] = answer.read()
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"{server.endpoint}/other")
        caught.value.close()
    assert pages["/"].startswith(b"healthy")
    stats = json.loads(pages["/stats"])
    assert (stats["calls"], stats["accepted"]) == ({"BatchWriteItem": 2}, 1)
    assert stats["faults"]["Throttle"] == 1
    [entry] = map(json.loads, pages["/writes"].splitlines())
    assert (entry["sequence"], entry["key"], entry["item"]) == (1, ["b"], {"pk": {"S": "b"}})


# --- faults --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "code", "status", "is_written"),
    [
        (Throttle(), "ProvisionedThroughputExceededException", 400, False),
        (Throttle("ThrottlingException"), "ThrottlingException", 400, False),
        (Throttle("RequestLimitExceeded"), "RequestLimitExceeded", 400, False),
        (ServerError(), "InternalServerError", 500, False),
        (ServerError(written=True), "InternalServerError", 500, True),
        (ServerError(503), "ServiceUnavailable", 503, False),
        (ServerError(503, html=True), "503", 503, False),
        (Expired(), "ExpiredTokenException", 400, False),
        (InvalidCredentials(), "UnrecognizedClientException", 400, False),
        (AccessDenied(), "AccessDeniedException", 400, False),
        (TableGone(), "ResourceNotFoundException", 400, False),
        (Rejected("ReplicatedWriteConflictException", 409), "ReplicatedWriteConflictException",
         409, False),
        (Delayed(0.0001, ServerError()), "InternalServerError", 500, True),
    ],
    ids=str,
)  # fmt: skip
def test_error_answer(fault: Fault, code: str, status: int, is_written: bool) -> None:
    with a_server(fault) as server:
        client = a_client(server)
        with pytest.raises(ClientError) as caught:
            write(client, "a")
        answer = caught.value.response
        assert answer["Error"]["Code"] == code
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == status
        assert eventually(lambda: server.stats().delayed == 0)
        assert written(server) == (["a"] if is_written else [])
        write(client, "b")
        assert server.faults.counts[type(fault).__name__] == 1


@pytest.mark.parametrize(
    ("code", "member"),
    [
        ("ProvisionedThroughputExceededException", "ThrottlingReasons"),
        ("ThrottlingException", "throttlingReasons"),
    ],
)
def test_throttle_tells_its_reasons_and_when_to_come_back(code: str, member: str) -> None:
    throttle = Throttle(code, reasons=(REASON,), retry_after_ms=1500)
    with a_server(throttle) as server, pytest.raises(ClientError) as caught:
        write(a_client(server), "a")
    answer = caught.value.response
    assert answer[member] == [{"reason": REASON[0], "resource": REASON[1]}]
    assert answer["ResponseMetadata"]["HTTPHeaders"]["x-amz-retry-after"] == "1500"


@pytest.mark.parametrize("by_arn", [False, True])
def test_unprocessed_writes_come_back_under_the_name_or_the_arn(by_arn: bool) -> None:
    with a_server(Unprocessed((0, 2), by_arn=by_arn)) as server:
        answer = write(a_client(server), "a", "b", "c")
        name = server.db.arn("tab") if by_arn else "tab"
        assert answer["UnprocessedItems"] == {name: [put("a"), put("c")]}
        assert written(server) == ["b"]


def test_violation_is_refused_whatever_would_come_back() -> None:
    with a_server(Unprocessed((0,))) as server, pytest.raises(ClientError, match="duplicates"):
        write(a_client(server), "a", "a")


def test_fault_of_a_key_meets_it_every_time() -> None:
    faults = Faults().on_keys(lambda _table, key: key["pk"]["S"] == "bad", Rejected())
    with a_server(faults=faults) as server:
        client = a_client(server)
        for _ in range(2):
            with pytest.raises(ClientError, match="ValidationException"):
                write(client, "a", "bad")
        write(client, "a")
        assert written(server) == ["a"]


@pytest.mark.parametrize(
    ("fault", "is_written", "some_body"),
    [(Reset("before"), False, False), (Reset("within"), True, True), (Reset("after"), True, False)],
    ids=str,
)
def test_connection_is_reset(fault: Fault, is_written: bool, some_body: bool) -> None:
    with a_server(fault) as server, Wire(server) as wire:
        wire.send("a")
        _, headers, body, end = wire.answer()
        assert end == "reset"
        assert bool(body) == bool(headers) == some_body
        assert written(server) == (["a"] if is_written else [])


@pytest.mark.parametrize("when", ["before", "within", "after"])
def test_botocore_sees_a_reset_as_a_closed_connection(when: Any) -> None:
    with a_server(Reset(when)) as server:
        client = a_client(server)
        with pytest.raises(ConnectionClosedError):
            write(client, "a")
        write(client, "b")
        assert "b" in written(server)


def test_half_an_answer_ends_orderly_in_the_middle_of_its_body() -> None:
    with a_server(HalfAnswer()) as server, Wire(server) as wire:
        wire.send("a")
        status, headers, body, end = wire.answer()
        assert (status, end) == (200, "closed")
        assert 0 < len(body) < int(headers["content-length"])
        assert written(server) == ["a"]


def test_wrong_crc32_does_not_fit_the_body() -> None:
    with a_server(WrongCrc32()) as server, Wire(server) as wire:
        wire.send("a")
        _, headers, body, _ = wire.answer()
        assert int(headers["x-amz-crc32"]) != zlib.crc32(body)
        assert written(server) == ["a"]


@pytest.mark.parametrize("is_written", [False, True])
def test_hang_is_a_read_timeout(is_written: bool) -> None:
    with a_server(Hang(written=is_written)) as server:
        with pytest.raises(ReadTimeoutError):
            write(a_client(server, read_timeout=0.3), "a")
        assert written(server) == (["a"] if is_written else [])


def test_slow_answer_is_overtaken_by_a_later_one() -> None:
    with a_server(Slow(0.8), None) as server, Wire(server) as slow, Wire(server) as quick:
        slow.send("a")
        assert eventually(lambda: written(server) == ["a"])
        quick.send("b")
        assert quick.answer()[0] == 200
        assert server.stats().in_flight == 1
        assert slow.answer()[0] == 200


def test_delayed_write_lands_after_a_newer_one() -> None:
    with a_server(Delayed(0.2, Reset("after")), None) as server:
        client = a_client(server)
        with pytest.raises(ConnectionClosedError):
            write(client, "a")
        assert (written(server), server.stats().delayed) == ([], 1)
        client.delete_item(TableName="tab", Key={"pk": {"S": "a"}})
        assert eventually(lambda: written(server) == ["a"])
        assert [entry.is_delete for entry in server.db.writes] == [True, False]


@pytest.mark.parametrize(
    ("seconds", "message"), [(900.0, "Signature expired"), (-900.0, "not yet current")]
)
def test_clock_skew_refuses_what_is_dated_otherwise(seconds: float, message: str) -> None:
    with a_server(faults=Faults.always(ClockSkew(seconds))) as server:
        with pytest.raises(ClientError, match=message) as caught:
            write(a_client(server), "a")
        answer = caught.value.response
        assert answer["Error"]["Code"] == "InvalidSignatureException"
        date = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
        assert abs((date - datetime.now(timezone.utc)).total_seconds() - seconds) < 5
        assert written(server) == []


def test_client_that_corrects_its_clock_gets_through() -> None:
    with a_server(faults=Faults.always(ClockSkew(900.0))) as server, Wire(server) as wire:
        wire.send("a", **{"X-Amz-Date": f"{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}"})
        _, headers, body, _ = wire.answer()
        assert b"InvalidSignatureException" in body
        corrected = parsedate_to_datetime(headers["date"])
        wire.send("a", **{"X-Amz-Date": f"{corrected:%Y%m%dT%H%M%SZ}"})
        assert wire.answer()[0] == 200


def test_skewed_request_may_be_told_that_it_expired() -> None:
    skew = ClockSkew(900.0, "RequestExpired")
    with a_server(skew) as server, pytest.raises(ClientError, match="RequestExpired"):
        write(a_client(server), "a")


def test_table_can_go_mid_run() -> None:
    with a_server(faults=Faults.script([None], then=TableGone())) as server:
        client = a_client(server)
        write(client, "a")
        for _ in range(2):
            with pytest.raises(client.exceptions.ResourceNotFoundException):
                write(client, "b")


def test_same_seed_gives_the_same_run() -> None:
    def run(seed: int) -> list[str]:
        faults = Faults.random(seed, {ServerError(): 0.2, Reset("after"): 0.2}, unprocessed=0.3)
        outcomes = []
        with a_server(faults=faults) as server:
            client = a_client(server)
            for n in range(20):
                try:
                    left = write(client, f"{n}-a", f"{n}-b", f"{n}-c")["UnprocessedItems"]
                    outcomes.append(str([r["PutRequest"] for r in left.get("tab", [])]))
                except (ClientError, ConnectionClosedError) as error:
                    outcomes.append(type(error).__name__)
            return [*outcomes, *written(server)]

    assert run(1) == run(1)
    assert run(1) != run(2)


# --- signatures and TLS --------------------------------------------------------------------


def test_signature_of_botocore_is_valid() -> None:
    with a_server(credentials={"AKID": "secret"}) as server:
        write(a_client(server), "a")
        write(a_client(server, aws_session_token="token"), "b")
        assert written(server) == ["a", "b"]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"aws_secret_access_key": "wrong"}, "InvalidSignatureException"),
        ({"aws_access_key_id": "OTHER"}, "UnrecognizedClientException"),
    ],
)
def test_wrong_credentials_are_refused(options: dict[str, str], code: str) -> None:
    with a_server(credentials={"AKID": "secret"}) as server:
        with pytest.raises(ClientError) as caught:
            write(a_client(server, **options), "a")
        assert caught.value.response["Error"]["Code"] == code
        assert "secret" not in str(caught.value.response["Error"])
        assert written(server) == []


def _signed(server: FakeServer, body: bytes, service: str = "dynamodb") -> dict[str, str]:
    request = AWSRequest(
        "POST",
        f"{server.endpoint}/",
        headers={"X-Amz-Target": "DynamoDB_20120810.ListTables"},
        data=body,
    )
    SigV4Auth(Credentials("AKID", "secret"), service, "us-east-1").add_auth(request)
    return dict(request.headers.items())


@pytest.mark.parametrize(
    ("change", "body", "code"),
    [
        ({}, b"{}", "ok"),
        ({}, b'{"Limit": 1}', "InvalidSignatureException"),
        ({"X-Amz-Target": "DynamoDB_20120810.DescribeTable"}, b"{}", "InvalidSignatureException"),
        ({"X-Amz-Date": "20200101T000000Z"}, b"{}", "InvalidSignatureException"),
        ({"Authorization": "Basic YTpi"}, b"{}", "IncompleteSignatureException"),
        ({"Authorization": None}, b"{}", "MissingAuthenticationTokenException"),
    ],
    ids=["valid", "body", "header", "date", "scheme", "none"],
)
def test_signature_covers_all_of_the_request(
    change: dict[str, str | None], body: bytes, code: str
) -> None:
    with a_server(credentials={"AKID": "secret"}) as server:
        headers = {**_signed(server, b"{}"), **change}
        assert _code(server, body, headers) == code


def test_signature_for_another_service_is_refused() -> None:
    with a_server(credentials={"AKID": "secret"}) as server:
        headers = _signed(server, b"{}", service="s3")
        assert _code(server, b"{}", headers) == "InvalidSignatureException"


def _code(server: FakeServer, body: bytes, headers: dict[str, Any]) -> str:
    given = {name: value for name, value in headers.items() if value is not None}
    request = urllib.request.Request(f"{server.endpoint}/", data=body, headers=given)
    try:
        with urllib.request.urlopen(request) as answer:
            return "ok" if answer.status == 200 else str(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return str(json.load(error)["__type"].rpartition("#")[2])


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, tuple[str, str]]:
    """The path of an authority's certificate, and those of a certificate it made and its key."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    server = authority.issue_cert("127.0.0.1", "localhost")
    server.cert_chain_pems[0].write_to_path(str(folder / "server.pem"))
    server.private_key_pem.write_to_path(str(folder / "server.key"))
    return str(folder / "ca.pem"), (str(folder / "server.pem"), str(folder / "server.key"))


def test_https_with_a_certificate(certificates: tuple[str, tuple[str, str]]) -> None:
    authority, tls = certificates
    with a_server(tls=tls) as server:
        assert server.endpoint.startswith("https://")
        write(a_client(server, verify=authority), "a")
        with pytest.raises(SSLError):
            write(a_client(server), "b")
        assert written(server) == ["a"]


@pytest.mark.parametrize("fault", [Reset("before"), Reset("after"), HalfAnswer()], ids=str)
def test_faults_of_the_network_under_tls(
    certificates: tuple[str, tuple[str, str]], fault: Fault
) -> None:
    authority, tls = certificates
    with a_server(fault, tls=tls) as server:
        with contextlib.suppress(BotoCoreError):
            assert "UnprocessedItems" not in write(a_client(server, verify=authority), "a")
        write(a_client(server, verify=authority), "b")
        assert "b" in written(server)


def test_missing_certificate_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        a_server(tls=(str(tmp_path / "none.pem"), str(tmp_path / "none.key"))).start()


# --- a process of its own ------------------------------------------------------------------


@contextlib.contextmanager
def a_process(*arguments: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    command = [sys.executable, "-m", "beam_dynamodb.testing", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip(), process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_server_as_a_process_of_its_own() -> None:
    arguments = ["--table", "tab:pk=S", "--fault", "Throttle,code=ThrottlingException", "1"]
    with a_process(*arguments) as (endpoint, process):
        client = botocore.session.get_session().create_client(
            "dynamodb",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id="AKID",
            aws_secret_access_key="secret",
            config=Config(retries={"total_max_attempts": 1}),
        )
        assert client.list_tables()["TableNames"] == ["tab"]
        with pytest.raises(ClientError, match="ThrottlingException"):
            write(client, "a")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0


def test_process_is_told_the_place_in_its_arns() -> None:
    place = ["--region", "eu-west-1", "--account", "123456789012"]
    with a_process(*place, "--table", "tab:pk=S") as (endpoint, _):
        target = {"X-Amz-Target": "DynamoDB_20120810.DescribeTable"}
        body = b'{"TableName": "arn:aws:dynamodb:eu-west-1:123456789012:table/tab"}'
        request = urllib.request.Request(endpoint, body, target)
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert json.load(answer)["Table"]["TableName"] == "tab"
