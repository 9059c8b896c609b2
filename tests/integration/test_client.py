"""The client against servers that check signatures, throttle, break, and run fast or slow."""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from beam_dynamodb.client import Answer, Call, DynamoDB
from beam_dynamodb.credentials import FrozenCredentials
from beam_dynamodb.errors import CredentialsError, ServiceError
from beam_dynamodb.retry import Verdict, judge
from beam_dynamodb.table import TableKey
from beam_dynamodb.testing import (
    AccessDenied,
    ClockSkew,
    Expired,
    FakeDynamoDB,
    FakeServer,
    Fault,
    Faults,
    HalfAnswer,
    Hang,
    Rejected,
    Reset,
    ServerError,
    Slow,
    TableGone,
    Throttle,
    Unprocessed,
    WrongCrc32,
)
from tests.integration.aws_standins import MARK, Sts, serve, sts_error, utc_now
from tests.scripted import Peer, Proxy, closed_port, scripted
from tests.unit.test_client import error_of, next_answer, options, put, write

SECRET = f"{MARK}-secret"
BASIC = {
    "aws.credentials.provider": "BASIC",
    "aws.credentials.basic.accesskeyid": "AKIDTEST",
    "aws.credentials.basic.secretkey": SECRET,
}
ARN = "arn:aws:iam::123456789012:role/writer"


def role(sts_url: str) -> dict[str, str]:
    """A role whose credentials come from our STS, numbered from 1 on."""
    return {
        "aws.credentials.provider": "ASSUME_ROLE",
        "aws.credentials.role.arn": ARN,
        "aws.credentials.role.sessionName": "writer",
        "aws.credentials.role.stsEndpoint": sts_url,
        "aws.credentials.role.provider": "BASIC",
        "aws.credentials.role.provider.basic.accesskeyid": "AKIDTEST",
        "aws.credentials.role.provider.basic.secretkey": SECRET,
    }


ROLE_KEYS = {f"ASIA{number}": f"{MARK}-key-{number}" for number in range(1, 9)}


@pytest.fixture
def db() -> FakeDynamoDB:
    made = FakeDynamoDB()
    made.create_table("visits", {"id": "S"})
    return made


@contextmanager
def served(
    db: FakeDynamoDB, faults: Faults | None = None, **given: Any
) -> Iterator[tuple[FakeServer, Callable[..., DynamoDB]]]:
    """A server, and what makes clients of it."""
    with FakeServer(db, faults=faults, **given) as server:

        def client(**more: str) -> DynamoDB:
            return DynamoDB(options(aws_endpoint=server.endpoint, **more), user_agent="test")

        yield server, client


def write_at_once(service: DynamoDB, batches: int, at_once: int) -> list[Answer]:
    """Writes batches of 25 on one channel, so many in flight; the answers by their numbers."""
    channel = service.channel()
    found: dict[int, Answer] = {}
    sent = 0
    try:
        while len(found) < batches:
            while sent < batches and sent - len(found) < at_once and channel.room:
                bodies = [put(f"{sent}-{number}") for number in range(25)]
                channel.send([Call("visits", bodies, sent)])
                sent += 1
            for answer in channel.poll(10.0):
                assert isinstance(answer.tag, int)
                found[answer.tag] = answer
    finally:
        channel.close()
    return [found[number] for number in range(batches)]


# --- writing -------------------------------------------------------------------------------


def test_fifty_batches_in_flight_all_land(db: FakeDynamoDB) -> None:
    with served(db, latency=0.02, credentials={"AKIDTEST": SECRET}) as (server, client):
        answers = write_at_once(client(**BASIC), 200, 50)
        stats = server.stats()
    assert [answer.error for answer in answers] == [None] * 200
    assert sum(answer.consumed for answer in answers) == 200 * 25
    assert len(db.items("visits")) == 200 * 25
    assert stats.max_in_flight > 10
    assert stats.connections <= 50


def test_the_pool_size_is_an_option(db: FakeDynamoDB) -> None:
    with served(db, latency=0.005) as (server, client):
        service = client(**{"sink.http-client.max-concurrency": "3"})
        write_at_once(service, 30, 30)
        stats = server.stats()
    assert stats.connections <= 3
    assert stats.max_in_flight <= 3


def test_the_read_timeout_is_an_option(db: FakeDynamoDB) -> None:
    with served(db, Faults.script([Hang()])) as (_, client):
        service = client(**{"sink.http-client.read-timeout": "50"})
        assert error_of(write(service)).code == "ReadTimeout"
        assert write(service).error is None


def test_a_wrong_secret_is_fatal_and_does_not_touch_the_clock(db: FakeDynamoDB) -> None:
    faults = Faults.always(ClockSkew(0))
    with served(db, faults, credentials={"AKIDTEST": "another"}) as (_, client):
        service = client(**BASIC)
        error = error_of(write(service))
    assert error.code == "InvalidSignatureException"
    assert judge(error) is Verdict.FATAL
    assert service.skew == timedelta(0)
    assert MARK not in error.message


def test_moto_takes_what_we_send(moto_endpoint: str, create_table: Callable[..., Any]) -> None:
    table = create_table(moto_endpoint, (("id", "S"), ("at", "N")))
    service = DynamoDB(options(aws_endpoint=moto_endpoint), user_agent="test")
    assert service.table_key(table.name) == TableKey(("id", "at"), ("S", "N"))
    bodies = [put("a", at={"N": "1"}), put("a", at={"N": "2"})]
    answer = write(service, *bodies, table=table.name)
    assert (answer.error, answer.unprocessed) == (None, ())
    delete = orjson.dumps({"DeleteRequest": {"Key": {"id": {"S": "a"}, "at": {"N": "1"}}}})
    assert write(service, delete, table=table.name).error is None
    assert table.items() == [{"id": {"S": "a"}, "at": {"N": "2"}}]


# --- faults --------------------------------------------------------------------------------

FAULTS: dict[Fault, tuple[str, Verdict]] = {
    Reset("before"): ("NoAnswer", Verdict.RETRY),
    Reset("within"): ("NoAnswer", Verdict.RETRY),
    Reset("after"): ("NoAnswer", Verdict.RETRY),
    HalfAnswer(): ("NoAnswer", Verdict.RETRY),
    WrongCrc32(): ("Crc32Mismatch", Verdict.RETRY),
    ServerError(): ("InternalServerError", Verdict.RETRY),
    ServerError(503): ("ServiceUnavailable", Verdict.RETRY),
    ServerError(503, html=True): ("HTTP 503", Verdict.RETRY),
    Throttle(): ("ProvisionedThroughputExceededException", Verdict.THROTTLED),
    Rejected(): ("ValidationException", Verdict.POISON),
    Rejected("SomethingNew", 418): ("SomethingNew", Verdict.FATAL),
    AccessDenied(): ("AccessDeniedException", Verdict.FATAL),
    TableGone(): ("ResourceNotFoundException", Verdict.FATAL),
}


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
def test_a_fault_ends_its_batch_only(db: FakeDynamoDB, fault: Fault) -> None:
    code, verdict = FAULTS[fault]
    with served(db, Faults.script([fault])) as (_, client):
        service = client()
        error = error_of(write(service))
        assert (error.code, judge(error)) == (code, verdict)
        assert write(service).error is None


@pytest.mark.parametrize("fault", [Reset("before"), Reset("after"), HalfAnswer(), ServerError()])
def test_a_fault_among_many_in_flight_ends_its_batch_only(db: FakeDynamoDB, fault: Fault) -> None:
    faults = Faults.script([None] * 30 + [fault] * 2)
    with served(db, faults, latency=0.002) as (_, client):
        answers = write_at_once(client(), 60, 10)
    assert sum(answer.error is not None for answer in answers) == 2
    assert len(db.items("visits")) >= 58 * 25


@pytest.mark.parametrize("by_arn", [False, True])
def test_unprocessed_items_are_told_by_position(db: FakeDynamoDB, by_arn: bool) -> None:
    faults = Faults.script([Unprocessed(positions=(0, 3), by_arn=by_arn)])
    with served(db, faults) as (_, client):
        answer = write(client(), *[put(key) for key in "abcde"])
    assert (answer.error, answer.unprocessed) == (None, (0, 3))
    assert sorted(item["id"]["S"] for item in db.items("visits")) == ["b", "c", "e"]


def test_two_large_batches_at_once_are_both_signed(db: FakeDynamoDB) -> None:
    with served(db, credentials={"AKIDTEST": SECRET}) as (_, client):
        channel = client(**BASIC).channel()
        sizes = {"a": 200_000, "b": 300_017}
        bodies = [put(key, text={"S": key * size}) for key, size in sizes.items()]
        channel.send([Call("visits", [body], key) for key, body in zip(sizes, bodies, strict=True)])
        answers: list[Answer] = []
        while len(answers) < len(sizes):
            answers += channel.poll(10.0)
        channel.close()
    assert {answer.tag: answer.error for answer in answers} == dict.fromkeys(sizes)
    assert {item["id"]["S"]: len(item["text"]["S"]) for item in db.items("visits")} == sizes


def test_a_slow_answer_does_not_hold_up_the_others(db: FakeDynamoDB) -> None:
    with served(db, Faults.script([Slow(0.3)])) as (_, client):
        channel = client().channel()
        order = []
        channel.send([Call("visits", [put("slow")], "slow")])
        while len(order) < 6:
            if len(order) < 5:
                channel.send([Call("visits", [put("quick")], "quick")])
            order += [answer.tag for answer in [next_answer(channel)]]
        channel.close()
    assert order == ["quick"] * 5 + ["slow"]


# --- the table's key -----------------------------------------------------------------------


def test_the_key_comes_with_its_types_and_the_partition_key_first(db: FakeDynamoDB) -> None:
    db.create_table("typed", {"zone": "N", "at": "B"})
    with served(db) as (_, client):
        service = client()
        assert service.table_key("typed") == TableKey(("zone", "at"), ("N", "B"))
        assert service.table_key("visits") == TableKey(("id",), ("S",))


def test_a_table_is_described_once_for_all_threads(db: FakeDynamoDB) -> None:
    with served(db, latency=0.02) as (server, client):
        service = client()
        keys: list[TableKey | None] = []
        asking = [
            threading.Thread(target=lambda: keys.append(service.table_key("visits")))
            for _ in range(8)
        ]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
        calls = server.stats().calls
    assert keys == [TableKey(("id",), ("S",))] * 8
    assert calls == {"DescribeTable": 1}


def test_without_the_permission_there_is_no_key_and_nobody_asks_again(db: FakeDynamoDB) -> None:
    faults = Faults.always(AccessDenied(), operations=["DescribeTable"])
    with served(db, faults) as (server, client):
        service = client()
        assert [service.table_key("visits") for _ in range(3)] == [None] * 3
        assert server.stats().calls == {"DescribeTable": 1}
        assert write(service).error is None


def test_the_longest_timeout_that_an_option_may_have_is_one(db: FakeDynamoDB) -> None:
    with served(db) as (_, client):
        service = client(**{"sink.http-client.read-timeout": str(2**31 - 1)})
        assert service.table_key("visits") == TableKey(("id",), ("S",))
        assert write(service).error is None


def test_a_missing_table_is_an_error_that_says_what_to_check(db: FakeDynamoDB) -> None:
    with served(db) as (_, client), pytest.raises(ServiceError) as missing:
        client().table_key("nowhere")
    assert missing.value.code == "ResourceNotFoundException"
    assert missing.value.status == 400
    assert "'nowhere'" in missing.value.message
    assert "aws.region" in missing.value.message


def test_the_same_table_is_missing_when_it_is_written(db: FakeDynamoDB) -> None:
    with served(db) as (_, client):
        error = error_of(write(client(), table="nowhere"))
    assert error.code == "ResourceNotFoundException"
    assert "'nowhere'" in error.message


def test_a_describe_table_that_fails_in_passing_is_tried_again(db: FakeDynamoDB) -> None:
    faults = Faults.script([ServerError(), Reset("after")], operations=["DescribeTable"])
    with served(db, faults) as (server, client):
        assert client().table_key("visits") == TableKey(("id",), ("S",))
        assert server.stats().calls["DescribeTable"] == 3


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Hang(), "ReadTimeout"),
        (HalfAnswer(), "BadResponse"),
        (Rejected("UnrecognizedClientException"), "UnrecognizedClientException"),
        (Expired(), "ExpiredTokenException"),
    ],
)
def test_a_describe_table_that_keeps_failing_is_a_clear_error(
    db: FakeDynamoDB, fault: Fault, code: str
) -> None:
    faults = Faults.always(fault, operations=["DescribeTable"])
    with served(db, faults) as (_, client), pytest.raises(ServiceError) as failed:
        client(**{"sink.http-client.read-timeout": "20"}).table_key("visits")
    assert failed.value.code == code
    assert "'visits'" in failed.value.message


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        ("200 OK", b"<html>Log in here</html>", "BadResponse"),
        ("200 OK", b"[]", "BadResponse"),
        ("200 OK", b'{"Table":"Log in here"}', "BadResponse"),
        ("200 OK", b"\x1f\x8b\x08", "BadResponse"),
        ("400 Bad Request", b'["Log in here"]', "BadResponse"),
        ("400 Bad Request", b'{"__type":4,"message":5}', "BadResponse"),
        ("302 Found", b"", "HTTP 302"),
        ("403 Forbidden", b"<html>Log in here</html>", "HTTP 403"),
    ],
)
def test_a_describe_table_answered_by_no_dynamodb_is_a_clear_error(
    status: str, body: bytes, code: str
) -> None:
    def captive_portal(peer: Peer) -> None:
        while peer.request()[0]:
            peer.answer(body, status)

    with scripted(captive_portal) as server:
        given = options(aws_endpoint=f"http://127.0.0.1:{server.port}")
        service = DynamoDB(given, user_agent="test")
        with pytest.raises(ServiceError) as failed:
            service.table_key("visits")
    assert failed.value.code == code
    assert "check 'aws.endpoint', and HTTPS_PROXY" in failed.value.message
    assert "Log in" not in failed.value.message


def test_a_refused_port_is_a_clear_error() -> None:
    given = options(aws_endpoint=f"http://127.0.0.1:{closed_port()}")
    with pytest.raises(ServiceError) as failed:
        DynamoDB(given, user_agent="test").table_key("visits")
    assert failed.value.code == "ConnectionError"


# --- credentials ---------------------------------------------------------------------------


def test_expired_credentials_are_renewed_once_and_the_batch_may_go_again(
    db: FakeDynamoDB,
) -> None:
    sts = Sts()
    with (
        serve(sts) as url,
        served(db, Faults.script([Expired()]), credentials=ROLE_KEYS) as (_, client),
    ):
        service = client(**role(url))
        error = error_of(write(service))
        assert (error.code, judge(error)) == ("CredentialsRefreshed", Verdict.RETRY)
        assert service.current_credentials().access_key == "ASIA2"
        assert write(service).error is None
    assert len(sts.calls) == 2


def test_credentials_that_are_refused_anew_are_fatal(db: FakeDynamoDB) -> None:
    sts = Sts()
    with serve(sts) as url, served(db, Faults.always(Expired())) as (_, client):
        service = client(**role(url))
        codes = [error_of(write(service)).code for _ in range(4)]
    assert codes == ["CredentialsRefreshed", "ExpiredTokenException"] * 2
    assert len(sts.calls) == 3


def test_credentials_that_served_well_are_renewed_again_when_they_expire(
    db: FakeDynamoDB,
) -> None:
    sts = Sts()
    faults = Faults.script([Expired(), None, Expired(), None])
    with serve(sts) as url, served(db, faults) as (_, client):
        service = client(**role(url))
        errors = [write(service).error for _ in range(4)]
        codes = [error and error.code for error in errors]
    assert codes == ["CredentialsRefreshed", None] * 2
    assert len(sts.calls) == 3


def test_many_batches_that_meet_expired_credentials_renew_them_once(db: FakeDynamoDB) -> None:
    sts = Sts()
    faults = Faults.script([Expired()] * 20)
    with serve(sts) as url, served(db, faults, latency=0.05) as (_, client):
        answers = write_at_once(client(**role(url)), 20, 20)
    assert {answer.error and answer.error.code for answer in answers} == {"CredentialsRefreshed"}
    assert len(sts.calls) == 2


def test_fixed_credentials_that_expired_are_fatal(db: FakeDynamoDB) -> None:
    with served(db, Faults.always(Expired())) as (_, client):
        error = error_of(write(client(**BASIC)))
    assert (error.code, judge(error)) == ("ExpiredTokenException", Verdict.FATAL)
    assert "aws.credentials.provider" in error.message


def test_a_renewal_that_fails_is_an_answer_and_no_exception(db: FakeDynamoDB) -> None:
    sts = Sts()
    with serve(sts) as url, served(db, Faults.always(Expired())) as (_, client):
        service = client(**role(url))
        sts.refusal = sts_error(403, "AccessDenied", "not this role")
        error = error_of(write(service))
    assert error.code == "ExpiredTokenException"
    assert "not this role" in error.message
    assert isinstance(error.__cause__, CredentialsError)


def test_a_batch_without_valid_credentials_is_an_answer_and_no_exception(
    db: FakeDynamoDB,
) -> None:
    sts = Sts(lifetime=timedelta(seconds=50))  # renewed at every use
    with serve(sts) as url, served(db) as (server, client):
        service = client(**role(url))
        sts.refusal = sts_error(403, "AccessDenied", "not this role")
        channel = service.channel()
        channel.send([Call("visits", [put("a")], 1)])
        channel.send([Call("visits", [put("b")], 2)])
        answers = channel.poll(10.0)
        assert [answer.tag for answer in answers] == [1, 2]
        assert {error_of(answer).code for answer in answers} == {"ExpiredTokenException"}
        assert "not this role" in error_of(answers[0]).message
        with pytest.raises(ServiceError, match="not this role"):
            service.table_key("visits")
        sts.refusal = None
        channel.send([Call("visits", [put("c")], 3)])
        assert next_answer(channel).error is None
        channel.close()
        assert server.stats().calls["BatchWriteItem"] == 1


def test_a_token_with_a_line_break_is_an_answer_that_does_not_show_it(
    db: FakeDynamoDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(db) as (_, client):
        service = client(**{"aws.credentials.provider": "ENV_VAR"})
        monkeypatch.setenv("AWS_SESSION_TOKEN", f"{MARK}\r\nX-Evil: 1")
        broken = service._credentials.renew()
        assert broken
        error = error_of(write(service))
        with pytest.raises(ServiceError) as described:
            service.table_key("visits")
    assert judge(error) is Verdict.FATAL
    for each in (error, described.value):
        assert "X-Amz-Security-Token" in each.message
        assert MARK not in _everything(each)


def test_describe_table_renews_expired_credentials_too(db: FakeDynamoDB) -> None:
    sts = Sts()
    faults = Faults.script([Expired()], operations=["DescribeTable"])
    with serve(sts) as url, served(db, faults) as (_, client):
        assert client(**role(url)).table_key("visits") == TableKey(("id",), ("S",))
    assert len(sts.calls) == 2


def test_keys_that_others_have_replaced_are_looked_up_again(
    db: FakeDynamoDB, tmp_path: Path
) -> None:
    profile = tmp_path / "credentials"

    def keys(number: int) -> str:
        return (
            f"[default]\naws_access_key_id = AKIA{number}\n"
            f"aws_secret_access_key = {MARK}-{number}\n"
        )

    profile.write_text(keys(1))
    with served(db, credentials={"AKIA2": f"{MARK}-2"}) as (_, client):
        service = client(
            **{
                "aws.credentials.provider": "PROFILE",
                "aws.credentials.profile.path": str(profile),
            }
        )
        assert error_of(write(service)).code == "UnrecognizedClientException"
        profile.write_text(keys(2))
        assert error_of(write(service)).code == "CredentialsRefreshed"
        assert write(service).error is None


def test_a_source_that_keeps_every_look_waiting_does_not_take_all_of_the_time(
    db: FakeDynamoDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    time, looks = [utc_now()], []

    with served(db) as (server, _):
        service = DynamoDB(
            options(aws_endpoint=server.endpoint), user_agent="test", now=lambda: time[0]
        )
        given = service.current_credentials()

        def look() -> FrozenCredentials:
            looks.append(time[0])
            time[0] += timedelta(seconds=15)
            return given

        monkeypatch.setattr(service, "current_credentials", look)
        channel = service.channel()
        for _ in range(100):
            channel.send([Call("visits", [put("a")], 1)])
            assert next_answer(channel).error is None
            time[0] += timedelta(seconds=1)
        channel.close()
    assert len(looks) == 1


# --- the clock -----------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["InvalidSignatureException", "RequestTimeTooSkewed"])
@pytest.mark.parametrize("seconds", [-3600.0, 600.0, 86_400.0])
def test_a_wrong_clock_is_corrected_once_for_all_batches_in_flight(
    db: FakeDynamoDB, seconds: float, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    faults = Faults.always(ClockSkew(seconds, code))
    with served(db, faults, latency=0.05, credentials={"AKIDTEST": SECRET}) as (_, client):
        service = client(**BASIC)
        first = write_at_once(service, 10, 10)
        second = write_at_once(service, 10, 10)
    assert {error_of(answer).code for answer in first} == {"ClockSkewCorrected"}
    assert judge(error_of(first[0])) is Verdict.RETRY
    assert [answer.error for answer in second] == [None] * 10
    assert abs(service.skew.total_seconds() - seconds) < 60
    assert sum("clock differs" in record.message for record in caplog.records) == 1


def test_describe_table_allows_for_a_wrong_clock_too(db: FakeDynamoDB) -> None:
    faults = Faults.always(ClockSkew(3600), operations=["DescribeTable", "BatchWriteItem"])
    with served(db, faults, credentials={"AKIDTEST": SECRET}) as (_, client):
        service = client(**BASIC)
        assert service.table_key("visits") == TableKey(("id",), ("S",))
        assert write(service).error is None


# --- secrets -------------------------------------------------------------------------------


def _everything(error: BaseException | None) -> str:
    """All that a log could print of an error and of what it came from."""
    texts = []
    while error is not None:
        texts += [str(error), repr(error), repr(vars(error)), *traceback.format_exception(error)]
        error = error.__cause__ or error.__context__
    return "\n".join(texts)


def test_no_secret_is_in_any_error_repr_or_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """AWS quotes the canonical request, session token included, when it refuses a signature."""

    def refuses(peer: Peer) -> None:
        while True:
            head, _ = peer.request()
            if not head:
                return
            message = (
                "The request signature we calculated does not match.\n\nThe Canonical String for "
                f"this request should have been\n'{head.decode('latin-1')}'"
            )
            body = {"__type": "x#InvalidSignatureException", "message": message}
            peer.answer(orjson.dumps(body), "400 Bad Request")

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDTEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", f"{MARK}-token")
    caplog.set_level(logging.DEBUG)
    with scripted(refuses) as server:
        given = options(aws_endpoint=f"http://127.0.0.1:{server.port}")
        service = DynamoDB(given, user_agent="test")
        error = error_of(write(service))
        with pytest.raises(ServiceError) as described:
            service.table_key("visits")
    assert error.code == described.value.code == "InvalidSignatureException"
    assert "does not match" in error.message
    shown = [_everything(error), _everything(described.value), repr(service), caplog.text]
    shown += [repr(vars(service)), repr(service.current_credentials())]
    shown.append(repr(service.signer(service.current_credentials())))
    assert [MARK in text for text in shown] == [False] * len(shown)


# --- plain http through a proxy ------------------------------------------------------------


def test_plain_http_goes_through_the_proxy_with_its_whole_url_and_password(
    db: FakeDynamoDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = Proxy(authorization="Basic bWU6aHVzaA==")
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    with (
        served(db, credentials={"AKIDTEST": SECRET}) as (server, client),
        scripted(proxy) as between,
    ):
        monkeypatch.setenv("HTTP_PROXY", f"http://me:hush@127.0.0.1:{between.port}")
        monkeypatch.setenv("http_proxy", f"http://me:hush@127.0.0.1:{between.port}")
        service = client(**BASIC)
        answers = write_at_once(service, 3, 1)
        assert service.table_key("visits") == TableKey(("id",), ("S",))
    assert [answer.error for answer in answers] == [None] * 3
    assert set(proxy.requests) == {f"POST {server.endpoint}/ HTTP/1.1"}
    assert set(proxy.passwords) == {"Basic bWU6aHVzaA=="}


# --- threads -------------------------------------------------------------------------------


def test_threads_share_the_service_each_with_a_channel_of_its_own(db: FakeDynamoDB) -> None:
    sts = Sts()
    # Expiry in the midst of it: every thread is told, and one renewal serves all.
    faults = Faults.script([None] * 20 + [Expired()] * 4)
    found: list[Answer] = []
    with (
        serve(sts) as url,
        served(db, faults, latency=0.005, credentials=ROLE_KEYS) as (
            _,
            client,
        ),
    ):
        service = client(**role(url))

        def work() -> None:
            service.table_key("visits")
            found.extend(write_at_once(service, 20, 5))

        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    errors = [answer.error.code for answer in found if answer.error]
    assert len(found) == 120
    assert errors == ["CredentialsRefreshed"] * 4
    assert len(sts.calls) == 2
