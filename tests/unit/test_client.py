"""What the client asks for and how it reads answers, down to the byte."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

import boto3
import orjson
import pytest
from botocore.config import Config

from beam_dynamodb.client import Answer, Call, DynamoDB, DynamoDBChannel
from beam_dynamodb.errors import CredentialsError, OptionError, ServiceError
from beam_dynamodb.gate import Gate
from beam_dynamodb.options import SinkOptions
from beam_dynamodb.retry import Verdict, judge
from beam_dynamodb.write_requests import Request, Requests
from beam_dynamodb.writer import Writer, WriterLimits
from tests.scripted import DONE, Peer, Proxy, closed_port, header, scripted

REGION = "us-east-2"
ARN = "arn:aws:dynamodb:us-east-2:123456789012:table/visits"


def options(**given: str) -> SinkOptions:
    """Options from keywords such as `aws_endpoint`; keys with more than dots in them verbatim."""
    keys = {name if "." in name else name.replace("_", "."): value for name, value in given.items()}
    return SinkOptions.parse(
        {"connector": "dynamodb", "table-name": "visits", "aws.region": REGION, **keys}
    )


def put(key: str, **more: Any) -> bytes:
    return orjson.dumps({"PutRequest": {"Item": {"id": {"S": key}, **more}}})


def next_answer(channel: DynamoDBChannel) -> Answer:
    for _ in range(30):
        for answer in channel.poll(1.0):
            return answer
    raise AssertionError("no answer came")


def write(service: DynamoDB, *bodies: bytes, table: str = "visits") -> Answer:
    channel = service.channel()
    try:
        channel.send([Call(table, bodies or [put("a")], "tag")])
        answer = next_answer(channel)
    finally:
        channel.close()
    assert answer.tag == "tag"
    return answer


def error_of(answer: Answer) -> ServiceError:
    assert answer.error is not None, answer
    assert answer.unprocessed == ()
    return answer.error


@pytest.fixture(scope="module")
def asked() -> Iterator[Callable[..., tuple[Answer, bytes, bytes]]]:
    """Writes once to a server that answers as told; gives the answer and the request."""
    planned: list[tuple[bytes, str, dict[str, str]]] = []
    seen: list[tuple[bytes, bytes]] = []

    def script(peer: Peer) -> None:
        seen.append(peer.request())
        body, status, headers = planned.pop()
        peer.answer(body, status, Connection="close", **headers)

    with scripted(script) as server:
        given = options(aws_endpoint=f"http://127.0.0.1:{server.port}")
        service = DynamoDB(given, user_agent="sink/1")

        def ask(
            body: bytes | dict[str, Any] = DONE,
            status: str = "200 OK",
            bodies: tuple[bytes, ...] = (),
            table: str = "visits",
            **headers: str,
        ) -> tuple[Answer, bytes, bytes]:
            raw = body if isinstance(body, bytes) else orjson.dumps(body)
            planned.append((raw, status, headers))
            answer = write(service, *bodies, table=table)
            return answer, *seen.pop()

        yield ask


# --- the request ---------------------------------------------------------------------------


def test_a_batch_is_one_batch_write_item_that_asks_for_the_capacity(asked: Any) -> None:
    answer, head, body = asked(bodies=(put("a"), put("b")))
    assert answer.error is None
    assert head.startswith(b"POST / HTTP/1.1\r\n")
    assert header(head, "x-amz-target") == "DynamoDB_20120810.BatchWriteItem"
    assert header(head, "accept-encoding") == "identity"
    assert orjson.loads(body) == {
        "RequestItems": {"visits": [orjson.loads(put("a")), orjson.loads(put("b"))]},
        "ReturnConsumedCapacity": "TOTAL",
    }


@pytest.mark.parametrize("table", [ARN, "a.b-c_d"])
def test_the_table_may_be_any_name_or_arn(asked: Any, table: str) -> None:
    _, _, body = asked(table=table)
    assert list(orjson.loads(body)["RequestItems"]) == [table]


def test_the_user_agent_is_that_of_botocore_with_our_name(asked: Any) -> None:
    _, head, _ = asked()
    agent = header(head, "user-agent") or ""
    assert agent.startswith("Botocore/")
    assert "ua/2" in agent
    assert agent.endswith("sink/1")


@pytest.mark.parametrize(("path", "line"), [("/a/b", "/a/b"), ("/a%20b", "/a%20b"), ("/", "/")])
def test_an_endpoint_may_have_a_path(path: str, line: str) -> None:
    heads = []

    def script(peer: Peer) -> None:
        heads.append(peer.request()[0])
        peer.answer()

    with scripted(script) as server:
        given = options(aws_endpoint=f"http://localhost:{server.port}{path}")
        assert write(DynamoDB(given, user_agent="x")).error is None
    assert heads[0].startswith(b"POST %b HTTP/1.1\r\n" % line.encode())
    assert header(heads[0], "host") == f"localhost:{server.port}"


# --- where it goes -------------------------------------------------------------------------

ENDPOINTS: dict[str, tuple[dict[str, str], dict[str, str], str]] = {
    "regional": ({}, {}, "dynamodb.us-east-2.amazonaws.com"),
    "China": ({"aws_region": "cn-north-1"}, {}, "dynamodb.cn-north-1.amazonaws.com.cn"),
    "FIPS": ({}, {"AWS_USE_FIPS_ENDPOINT": "true"}, "dynamodb-fips.us-east-2.amazonaws.com"),
    "dual stack": ({}, {"AWS_USE_DUALSTACK_ENDPOINT": "true"}, "dynamodb.us-east-2.api.aws"),
    "account": (
        {},
        {"AWS_ACCOUNT_ID": "123456789012"},
        "123456789012.ddb.us-east-2.amazonaws.com",
    ),
    "account, unwanted": (
        {},
        {"AWS_ACCOUNT_ID": "123456789012", "AWS_ACCOUNT_ID_ENDPOINT_MODE": "disabled"},
        "dynamodb.us-east-2.amazonaws.com",
    ),
    "account of the table's ARN": (
        {"table-name": ARN.replace("123456789012", "210987654321")},
        {"AWS_ACCOUNT_ID": "123456789012"},
        "210987654321.ddb.us-east-2.amazonaws.com",
    ),
    "environment": (
        {},
        {"AWS_ENDPOINT_URL_DYNAMODB": "https://proxied.example"},
        "proxied.example",
    ),
    "option before environment": (
        {"aws_endpoint": "https://mine.example"},
        {"AWS_ENDPOINT_URL_DYNAMODB": "https://proxied.example"},
        "mine.example",
    ),
}


@pytest.mark.parametrize("case", ENDPOINTS)
def test_a_write_goes_where_botocore_would_send_it(
    monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    given, environ, host = ENDPOINTS[case]
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    proxy = Proxy(refusal="403 Forbidden")  # nothing leaves this machine
    table = given.get("table-name", "visits")
    with scripted(proxy) as between:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{between.port}")
        parsed = SinkOptions.parse(
            {"connector": "dynamodb", "table-name": table, "aws.region": REGION}
            | {key.replace("_", "."): value for key, value in given.items()}
        )
        error = error_of(write(DynamoDB(parsed, user_agent="x"), table=table))
        theirs = boto3.Session().client(
            "dynamodb",
            region_name=parsed.aws_region,
            endpoint_url=parsed.aws_endpoint,
            config=Config(retries={"total_max_attempts": 1}),
        )
        with pytest.raises(Exception, match="proxy"):
            theirs.batch_write_item(RequestItems={table: [{"DeleteRequest": {"Key": {}}}]})
        theirs.close()
    assert error.code == "ProxyError"
    assert "HTTPS_PROXY" in error.message
    assert [line.split()[:2] for line in proxy.requests] == [["CONNECT", f"{host}:443"]] * 2


def test_hosts_of_no_proxy_are_reached_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.setenv("NO_PROXY", "localhost")
    port = closed_port()
    given = options(aws_endpoint=f"https://localhost:{port}")
    error = error_of(write(DynamoDB(given, user_agent="x")))
    assert error.code == "ConnectionError"
    assert f"localhost:{port}" in error.message


@pytest.mark.parametrize("url", ["https://me:hush@proxy:3128", "socks5://me:hush@proxy", "http://"])
def test_a_proxy_that_cannot_be_used_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", url)
    with pytest.raises(OptionError, match="HTTPS_PROXY") as refused:
        DynamoDB(options(), user_agent="x")
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "localhost:{}", "//localhost:{}"])
def test_a_proxy_may_be_given_without_its_scheme(
    monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    proxy = Proxy(refusal="403 Forbidden")
    with scripted(proxy) as between:
        monkeypatch.setenv("HTTPS_PROXY", form.format(between.port))
        assert error_of(write(DynamoDB(options(), user_agent="x"))).code == "ProxyError"
    assert len(proxy.requests) == 1


@pytest.mark.parametrize(
    ("environ", "given", "told"),
    [
        ({"AWS_PROFILE": "nobodys"}, {}, "nobodys"),
        ({"AWS_CA_BUNDLE": "/nowhere/bundle.pem"}, {}, "AWS_CA_BUNDLE"),
        ({}, {"aws_endpoint": f"http://{'a' * 64}.example:8000"}, "aws.endpoint"),
    ],
)
def test_settings_without_an_endpoint_are_an_option_error(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], given: dict[str, str], told: str
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(OptionError, match=told):
        DynamoDB(options(**given), user_agent="x")


def test_plain_http_to_another_host_is_warned_of_once_in_a_process(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for host in ("db.example:8000", "other.example", "127.0.0.1:1", "[::1]:1"):
        for _ in range(2):
            DynamoDB(options(aws_endpoint=f"http://{host}"), user_agent="x")
    warnings = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 2
    assert "db.example:8000" in warnings[0]
    assert "other.example" in warnings[1]
    assert "plain http" in warnings[0]


# --- answers that are well -----------------------------------------------------------------


def test_the_consumed_capacity_is_added_up(asked: Any) -> None:
    units = [{"TableName": "visits", "CapacityUnits": 12.0}, {"CapacityUnits": 0.5}, {}]
    answer, _, _ = asked({"UnprocessedItems": {}, "ConsumedCapacity": units})
    assert (answer.error, answer.consumed, answer.unprocessed) == (None, 12.5, ())
    assert answer.seconds > 0


@pytest.mark.parametrize("name", ["visits", ARN])
def test_unprocessed_items_become_positions(asked: Any, name: str) -> None:
    bodies = tuple(put(key) for key in "abcd")
    left = [orjson.loads(bodies[3]), orjson.loads(bodies[1])]
    answer, _, _ = asked({"UnprocessedItems": {name: left}}, bodies=bodies)
    assert answer.unprocessed == (1, 3)


def test_unprocessed_items_may_come_back_in_another_spelling(asked: Any) -> None:
    bodies = (
        put("a", n={"N": "1.50"}),
        put("b", s={"SS": ["x", "y"]}),
        put("c", deep={"M": {"l": {"L": [{"NS": ["1E2", "2"]}]}}}),
        put("d"),
    )
    left = [
        {"PutRequest": {"Item": {"n": {"N": "1.5"}, "id": {"S": "a"}}}},
        {"PutRequest": {"Item": {"s": {"SS": ["y", "x"]}, "id": {"S": "b"}}}},
        {
            "PutRequest": {
                "Item": {"id": {"S": "c"}, "deep": {"M": {"l": {"L": [{"NS": ["2", "100"]}]}}}}
            }
        },
    ]
    answer, _, _ = asked({"UnprocessedItems": {"visits": left}}, bodies=bodies)
    assert answer.unprocessed == (0, 1, 2)


def test_an_unprocessed_item_that_nobody_sent_leaves_all_to_be_sent_again(asked: Any) -> None:
    left = [orjson.loads(put("who?"))]
    answer, _, _ = asked({"UnprocessedItems": {"visits": left}}, bodies=(put("a"), put("b")))
    assert answer.unprocessed == (0, 1)


def test_a_right_checksum_passes(asked: Any) -> None:
    body = b'{"UnprocessedItems":{}}'
    answer, _, _ = asked(body, X_Amz_Crc32=str(zlib.crc32(body)))
    assert answer.error is None


# --- answers that are not ------------------------------------------------------------------


@pytest.mark.parametrize("status", ["200 OK", "400 Bad Request"])
def test_a_wrong_checksum_is_found_before_anything_is_believed(asked: Any, status: str) -> None:
    body = {"__type": "ResourceNotFoundException"}
    answer, _, _ = asked(body, status, X_Amz_Crc32="1")
    error = error_of(answer)
    assert error.code == "Crc32Mismatch"
    assert judge(error) is Verdict.RETRY


@pytest.mark.parametrize(
    "body",
    [
        b"", b"<html>Login</html>", b"[]", b"null", b'{"UnprocessedItems":', b"\xff",
        b'{"UnprocessedItems":[1]}', b'{"UnprocessedItems":{"t":[7]}}',
        b'{"UnprocessedItems":{},"ConsumedCapacity":[7]}',
        b'{"UnprocessedItems":{},"ConsumedCapacity":[{"CapacityUnits":"many"}]}',
        b"{}", b'{"status":"healthy"}',
        b'{"UnprocessedItems":{"t":[{"PutRequest":{"Item":{"id":{"N":"many"}}}}]}}',
        b'{"UnprocessedItems":{"t":[{"PutRequest":{"Item":{"id":{"SS":["a",1]}}}}]}}',
    ],
)  # fmt: skip
def test_a_success_that_cannot_be_read_is_tried_again(asked: Any, body: bytes) -> None:
    answer, _, _ = asked(body)
    error = error_of(answer)
    assert (error.code, error.status) == ("BadResponse", 200)
    assert judge(error) is Verdict.RETRY


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("com.amazonaws.dynamodb.v20120810#ThrottlingException", "ThrottlingException"),
        ("com.amazon.coral.validate#ValidationException", "ValidationException"),
        ("ValidationException:http://internal.example/doc#x", "ValidationException"),
        ("a.b#Some:http://internal.example/doc", "Some"),
        ("InternalServerError", "InternalServerError"),
    ],
)
@pytest.mark.parametrize("place", ["body", "header"])
def test_the_code_stands_in_the_body_or_in_a_header(
    asked: Any, kind: str, code: str, place: str
) -> None:
    body = {"__type": kind, "Message": "so it is"} if place == "body" else {"message": "so it is"}
    headers = {} if place == "body" else {"X_Amzn_ErrorType": kind}
    answer, _, _ = asked(body, "400 Bad Request", X_Amzn_RequestId="R7", **headers)
    error = error_of(answer)
    assert (error.code, error.status, error.request_id) == (code, 400, "R7")
    assert "so it is" in error.message
    assert "'visits'" in error.message
    assert REGION in error.message


@pytest.mark.parametrize(
    ("status", "body", "verdict"),
    [
        ("503 Service Unavailable", b"<html><b>Http/1.1 Service Unavailable</b></html>", "RETRY"),
        ("500 Internal Server Error", b"", "RETRY"),
        ("502 Bad Gateway", b'"no object"', "RETRY"),
        ("413 Payload Too Large", b"", "POISON"),
        ("413 Payload Too Large", b'{"__type":"RequestEntityTooLarge"}', "POISON"),
        ("429 Too Many Requests", b"slow down", "THROTTLED"),
        ("403 Forbidden", b"<html>no</html>", "FATAL"),
        ("302 Found", b"", "FATAL"),
    ],
)
def test_an_error_without_a_code_is_judged_by_its_status(
    asked: Any, status: str, body: bytes, verdict: str
) -> None:
    answer, _, _ = asked(body, status)
    error = error_of(answer)
    assert error.status == int(status[:3])
    assert judge(error).name == verdict
    assert "<" not in error.message


@pytest.mark.parametrize("member", ["ThrottlingReasons", "throttlingReasons"])
def test_throttling_reasons_are_read_in_both_spellings(asked: Any, member: str) -> None:
    reason = {"reason": "TableWriteKeyRangeThroughputExceeded", "resource": ARN}
    body = {"__type": "ThrottlingException", "message": "slow", member: [reason, "odd", {}]}
    answer, _, _ = asked(body, "400 Bad Request", X_Amz_Retry_After="1500")
    error = error_of(answer)
    assert error.reasons == (("TableWriteKeyRangeThroughputExceeded", ARN), ("", ""))
    assert error.retry_after == 1.5


@pytest.mark.parametrize("hint", ["soon", "-5", "1.5", "\xb2", ""])
def test_a_retry_hint_that_is_no_number_is_ignored(asked: Any, hint: str) -> None:
    answer, _, _ = asked({"__type": "SlowDown"}, "503 Slow", X_Amz_Retry_After=hint)
    error = error_of(answer)
    assert (error.retry_after, error.reasons) == (None, ())


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        ("ResourceNotFoundException", "table-name"),
        ("AccessDeniedException", "dynamodb:BatchWriteItem"),
        ("AccessDeniedException", "kms:Decrypt"),
        ("SignatureDoesNotMatch", "aws.credentials.provider"),
        ("UnknownOperationException", "aws.endpoint"),
        ("UnrecognizedClientException", "aws.credentials.provider"),
        ("ExpiredTokenException", "aws.credentials.provider"),
        ("RequestExpired", "clock"),
    ],
)
def test_an_error_says_what_to_do(asked: Any, code: str, advice: str) -> None:
    answer, _, _ = asked({"__type": f"x#{code}", "message": "no"}, "400 Bad Request")
    error = error_of(answer)
    assert error.code == code
    assert advice in error.message


@pytest.mark.parametrize(
    "status",
    ["204 No Content", "302 Found", "400 Bad Request", "407 Proxy Authentication Required"],
)
def test_an_answer_from_elsewhere_says_what_to_check(asked: Any, status: str) -> None:
    body = b"" if status.startswith("204") else b"<html><body>hush</body></html>"
    answer, _, _ = asked(body, status)
    error = error_of(answer)
    assert error.code == f"HTTP {status[:3]}"
    assert "'aws.endpoint', and HTTPS_PROXY" in error.message
    assert "hush" not in error.message
    assert judge(error) is Verdict.FATAL


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        ("Input collection [hush, hush] contains duplicates.", "contains duplicates"),
        ("The parameter cannot be converted to a numeric value: hush", "numeric value"),
        (
            "1 error: Value '{visits=[WriteRequest(hush it's)]}' at 'requestItems' failed to",
            "at 'requestItems' failed",
        ),
    ],
)
def test_what_a_message_quotes_of_a_row_is_left_out(asked: Any, message: str, kept: str) -> None:
    answer, _, _ = asked({"__type": "ValidationException", "message": message}, "400 Bad")
    assert "hush" not in error_of(answer).message
    assert kept in error_of(answer).message


def test_a_refused_port_is_a_connection_error_for_its_batch() -> None:
    given = options(aws_endpoint=f"http://127.0.0.1:{closed_port()}")
    error = error_of(write(DynamoDB(given, user_agent="x")))
    assert error.code == "ConnectionError"
    assert judge(error) is Verdict.RETRY


def test_where_credentials_cannot_be_had_their_source_is_asked_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service = DynamoDB(options(), user_agent="x")
    asks: list[None] = []

    def current_credentials() -> Any:  # which may take long each time
        asks.append(None)
        raise CredentialsError("STS does not answer")

    monkeypatch.setattr(service, "current_credentials", current_credentials)
    writer = Writer(service.channel(), WriterLimits(1, 300.0, Gate(50), Gate(100)))
    requests = [Request("visits", None, str(n), 0, put(str(n))) for n in range(50)]
    with pytest.raises(ServiceError, match="STS does not answer"):
        writer.write(Requests.of(requests))
    writer.close()
    assert len(asks) == 1


@pytest.mark.parametrize("fault", [None, CredentialsError("STS does not answer")])
def test_a_look_for_newer_keys_in_vain_is_good_for_all_calls_that_are_refused_at_once(
    monkeypatch: pytest.MonkeyPatch, fault: Exception | None
) -> None:
    moment = datetime(2026, 1, 1, tzinfo=timezone.utc)
    service = DynamoDB(options(), user_agent="x", now=lambda: moment)
    looks: list[None] = []

    def refresh(*_: Any) -> bool:
        nonlocal moment
        looks.append(None)
        moment += timedelta(seconds=17)
        if fault is not None:
            raise fault
        return False

    monkeypatch.setattr("beam_dynamodb.credentials.refresh", refresh)
    used = service.current_credentials()
    refused = ServiceError("no", code="ExpiredTokenException", status=400)
    errors = [service.heal(refused, None, used, timedelta(0)) for _ in range(50)]
    assert {each.code for each in errors} == {"ExpiredTokenException"}
    assert len(looks) == 1
    moment += timedelta(seconds=17)
    service.heal(refused, None, used, timedelta(0))
    assert len(looks) == 2


# --- the clock -----------------------------------------------------------------------------

EXPIRED = "Signature expired: 20260101T000000Z is now earlier than 20260101T010000Z"
EARLY = "Signature not yet current: 20260101T000000Z is still later than 20250101T010000Z"
WRONG = "The request signature we calculated does not match the signature you provided."


@pytest.mark.parametrize(
    ("code", "message", "hours", "result"),
    [
        ("InvalidSignatureException", EXPIRED, 1, "ClockSkewCorrected"),
        ("InvalidSignatureException", EARLY, -1, "ClockSkewCorrected"),
        ("RequestTimeTooSkewed", "no", 30, "ClockSkewCorrected"),
        ("RequestExpired", "no", -1, "ClockSkewCorrected"),
        ("InvalidSignatureException", WRONG, 1, "InvalidSignatureException"),
        ("ValidationException", EXPIRED, 1, "ValidationException"),
        ("InvalidSignatureException", EXPIRED, 0.05, "InvalidSignatureException"),
        ("RequestTimeTooSkewed", "no", 0, "RequestTimeTooSkewed"),
    ],
)
def test_the_clock_is_corrected_by_the_date_of_an_answer_that_calls_it_wrong(
    code: str, message: str, hours: float, result: str
) -> None:
    date = datetime.now(timezone.utc) + timedelta(hours=hours)
    stamps = []

    def script(peer: Peer) -> None:
        head, _ = peer.request()
        stamps.append(header(head, "x-amz-date") or "")
        body = orjson.dumps({"__type": code, "message": message})
        peer.answer(body, "400 Bad Request", Date=format_datetime(date, usegmt=True))

    with scripted(script) as server:
        given = options(aws_endpoint=f"http://127.0.0.1:{server.port}")
        service = DynamoDB(given, user_agent="x")
        assert error_of(write(service)).code == result
        # What the corrected clock did not help is not corrected again.
        assert error_of(write(service)).code == code
    signed = datetime.strptime(stamps[1], "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
    off = timedelta(hours=hours) if result == "ClockSkewCorrected" else timedelta(0)
    assert abs(signed - datetime.now(timezone.utc) - off) < timedelta(minutes=1)


@pytest.mark.parametrize("date", [None, "", "yesterday"])
def test_a_date_header_that_tells_nothing_corrects_nothing(asked: Any, date: str | None) -> None:
    headers = {} if date is None else {"Date": date}
    answer, _, _ = asked({"__type": "RequestExpired"}, "400 Bad Request", **headers)
    assert error_of(answer).code == "RequestExpired"


def test_a_date_header_without_a_zone_is_taken_as_utc() -> None:
    def script(peer: Peer) -> None:
        peer.request()
        date = "Thu, 01 Jan 1970 00:00:00 -0000"
        peer.answer(b'{"__type":"RequestExpired"}', "400 Bad Request", Date=date)

    with scripted(script) as server:
        given = options(aws_endpoint=f"http://127.0.0.1:{server.port}")
        service = DynamoDB(given, user_agent="x")
        assert error_of(write(service)).code == "ClockSkewCorrected"
        assert abs(service.now() - datetime(1970, 1, 1, tzinfo=timezone.utc)).days == 0
