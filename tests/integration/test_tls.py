"""TLS on non-blocking sockets, and tunnels through proxies, against real TLS servers."""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import trustme

from beam_dynamodb.client import Call, DynamoDB
from beam_dynamodb.connection import Reply, Target
from beam_dynamodb.errors import OptionError, ServiceError
from beam_dynamodb.options import SinkOptions
from beam_dynamodb.testing import FakeDynamoDB, FakeServer
from beam_dynamodb.wire import Wire
from tests.fakes import FakeClock
from tests.scripted import (
    Peer,
    Proxy,
    Scripted,
    answer_all,
    closed_port,
    goes_stale,
    half_an_answer,
    scripted,
)
from tests.unit.test_wire import LONG, ask, failure, head, passing, poll_until, replies


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    return serving(authority.issue_cert("127.0.0.1", "localhost"))


def serving(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


@pytest.fixture
def connect(authority: trustme.CA) -> Iterator[Callable[..., Wire]]:
    with ExitStack() as stack:

        def make(
            server: Scripted | int, host: str = "127.0.0.1", proxy: str | None = None, **given: Any
        ) -> Wire:
            port = server if isinstance(server, int) else server.port
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            authority.configure_trust(tls)
            settings = {"max_connections": 50, "read_timeout": LONG, **given}
            wire = Wire(Target(host, port, tls, proxy), **settings)
            stack.callback(wire.close)
            return wire

        yield make


# --- the conversation ----------------------------------------------------------------------


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("size", [1, 16 * 1024 * 1024])
def test_bodies_of_any_size_go_both_ways(
    connect: Any, server_tls: ssl.SSLContext, version: ssl.TLSVersion, size: int
) -> None:
    server_tls.minimum_version = server_tls.maximum_version = version
    body = os.urandom(size)
    with scripted(answer_all, tls=server_tls) as server:
        wire = connect(server)
        assert [ask(wire, body).body == body for _ in range(2)] == [True, True]
        assert server.connections == 1


def test_many_requests_are_in_flight_on_one_thread(
    connect: Any, server_tls: ssl.SSLContext
) -> None:
    all_there = threading.Barrier(20, timeout=LONG)

    def script(peer: Peer) -> None:
        _, body = peer.request()
        all_there.wait()
        peer.answer(body)

    with scripted(script, tls=server_tls) as server:
        wire = connect(server)
        for number in range(20):
            wire.send([head(b"%d" % number), b"%d" % number], number)
        found = replies(wire, 20)
    assert {reply.tag: reply.body for reply in found} == {n: b"%d" % n for n in range(20)}


def test_session_tickets_do_not_end_an_idle_connection(
    connect: Any, server_tls: ssl.SSLContext
) -> None:
    server_tls.minimum_version = ssl.TLSVersion.TLSv1_3
    server_tls.num_tickets = 5
    with scripted(answer_all, tls=server_tls) as server:
        wire = connect(server)
        for _ in range(5):
            assert ask(wire, b"x").body == b"x"
            for _ in range(5):
                assert wire.poll(0.005) == []
        assert server.connections == 1


def test_an_idle_connection_that_the_server_ends_is_replaced(
    connect: Any, server_tls: ssl.SSLContext
) -> None:
    def says_goodbye(peer: Peer) -> None:
        peer.request()
        peer.answer(b"first")
        assert isinstance(peer.sock, ssl.SSLSocket)
        peer.sock.unwrap()  # close_notify; the TCP connection stays open until we answer it
        peer.wait_for_end()

    with scripted(says_goodbye, answer_all, tls=server_tls) as server:
        wire = connect(server)
        assert ask(wire).body == b"first"
        for _ in range(10):
            assert wire.poll(0.005) == []
        assert ask(wire, b"second").body == b"second"
        assert server.connections == 2


def test_a_stale_connection_is_replaced(connect: Any, server_tls: ssl.SSLContext) -> None:
    closed = threading.Event()
    with scripted(goes_stale(closed), answer_all, tls=server_tls) as server:
        wire = connect(server)
        assert ask(wire).body == b"first"
        assert closed.wait(10)
        assert ask(wire, b"second").body == b"second"
        assert server.connections == 2


def _close_notify_within_the_body(peer: Peer) -> None:
    half_an_answer(peer)
    assert isinstance(peer.sock, ssl.SSLSocket)
    peer.sock.unwrap()


def _cut_without_close_notify(peer: Peer) -> None:
    # Nobody can tell this end of a body of untold length from an attacker's.
    peer.request()
    peer.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello")


@pytest.mark.parametrize(
    "script", [half_an_answer, _close_notify_within_the_body, _cut_without_close_notify]
)
def test_an_answer_that_was_cut_short_is_none(
    connect: Any, server_tls: ssl.SSLContext, script: Any
) -> None:
    with scripted(script, tls=server_tls) as server:
        assert failure(ask(connect(server)))[0] == "NoAnswer"


def test_a_body_that_ends_with_close_notify_is_whole(
    connect: Any, server_tls: ssl.SSLContext
) -> None:
    def script(peer: Peer) -> None:
        _cut_without_close_notify(peer)
        assert isinstance(peer.sock, ssl.SSLSocket)
        peer.sock.unwrap()

    with scripted(script, tls=server_tls) as server:
        assert ask(connect(server)).body == b"hello"


# --- handshakes that fail ------------------------------------------------------------------


def test_a_certificate_for_another_host_is_refused(connect: Any, authority: trustme.CA) -> None:
    with scripted(answer_all, tls=serving(authority.issue_cert("example.org"))) as server:
        code, text = failure(ask(connect(server)))
    assert code == "TlsError"
    assert "127.0.0.1" in text
    assert "aws.endpoint" in text


def test_an_expired_certificate_is_refused(connect: Any, authority: trustme.CA) -> None:
    yesterday = datetime.now(timezone.utc) - timedelta(days=1)
    expired = authority.issue_cert("127.0.0.1", not_after=yesterday)
    with scripted(answer_all, tls=serving(expired)) as server:
        code, text = failure(ask(connect(server)))
    assert code == "TlsError"
    assert "expired" in text


def test_a_port_without_tls_is_a_tls_error_that_names_the_endpoint(connect: Any) -> None:
    def speaks_plainly(peer: Peer) -> None:
        peer.sock.recv(65_536)
        peer.answer(b"this is http", "400 Bad Request")
        peer.wait_for_end()

    with scripted(speaks_plainly) as server:
        code, text = failure(ask(connect(server)))
    assert code == "TlsError"
    assert "aws.endpoint" in text


def test_no_common_version_is_a_tls_error(connect: Any, server_tls: ssl.SSLContext) -> None:
    server_tls.minimum_version = ssl.TLSVersion.TLSv1_3
    with scripted(answer_all, tls=server_tls) as server:
        wire = connect(server)
        assert wire.target.tls is not None
        wire.target.tls.maximum_version = ssl.TLSVersion.TLSv1_2
        assert failure(ask(wire))[0] == "TlsError"


@pytest.mark.parametrize("ending", [Peer.reset, lambda peer: None])
def test_a_connection_that_breaks_during_the_handshake_may_be_tried_again(
    connect: Any, ending: Any
) -> None:
    def script(peer: Peer) -> None:
        peer.sock.recv(65_536)
        ending(peer)

    with scripted(script) as server:
        assert failure(ask(connect(server)))[0] == "ConnectionError"


def test_a_handshake_that_never_ends_is_a_connect_timeout(connect: Any) -> None:
    clock = FakeClock()
    with scripted(Peer.wait_for_end) as server:
        wire = connect(server, clock=clock)
        wire.send([head(), b""], None)
        poll_until(wire, lambda: server.connections == 1)
        wire.poll(0.02)
        assert failure(passing(wire, clock, 10.5)[0])[0] == "ConnectTimeout"


def test_time_in_which_nobody_polls_is_no_time_that_the_server_took(
    connect: Any, server_tls: ssl.SSLContext
) -> None:
    clock = FakeClock()
    with scripted(answer_all, tls=server_tls) as server:
        wire = connect(server, host="localhost", clock=clock, read_timeout=60.0)
        wire.send([head(b"x"), b"x"], None)
        found: list[Reply] = []
        for _ in range(20):
            clock.now += 11.0  # a source that is slow
            time.sleep(0.02)
            found += wire.poll(0.0)
        assert [reply.body for reply in found] == [b"x"]


def test_a_server_that_did_not_wait_while_nobody_polled_is_connected_to_again(
    connect: Any, server_tls: ssl.SSLContext
) -> None:
    clock, is_tired = FakeClock(), threading.Event()
    tires = scripted(lambda _: bool(is_tired.wait(LONG)))
    with tires as tired, scripted(answer_all, tls=server_tls) as server:
        ports = [tired.port, server.port]

        def lookup(*_: object, **__: object) -> list[Any]:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", ports.pop(0)))]

        wire = connect(server, host="localhost", clock=clock, lookup=lookup)
        wire.send([head(b"x"), b"x"], None)
        poll_until(wire, lambda: tired.connections == 1)
        assert wire.poll(0.02) == []
        clock.now += 3.0
        is_tired.set()
        time.sleep(0.05)
        assert [reply.body for reply in replies(wire)] == [b"x"]


def test_a_handshake_has_all_the_time_that_is_left(connect: Any) -> None:
    clock = FakeClock()
    with scripted(Peer.wait_for_end) as server:
        address = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port))
        wire = connect(server, clock=clock, lookup=lambda *_, **__: [address] * 4)
        wire.send([head(), b""], None)
        poll_until(wire, lambda: server.connections == 1)
        wire.poll(0.02)
        assert passing(wire, clock, 9.5) == []  # far more than the first address's share
        assert failure(passing(wire, clock, 1.0)[0])[0] == "ConnectTimeout"
        assert server.connections == 1


# --- through a proxy -----------------------------------------------------------------------


def test_a_tunnel_leads_through_the_proxy(connect: Any, server_tls: ssl.SSLContext) -> None:
    proxy = Proxy()
    with scripted(answer_all, tls=server_tls) as server, scripted(proxy) as between:
        wire = connect(server, host="localhost", proxy=f"http://127.0.0.1:{between.port}")
        assert [ask(wire, b"%d" % n).body for n in range(3)] == [b"0", b"1", b"2"]
    assert proxy.requests == [f"CONNECT localhost:{server.port} HTTP/1.1"]
    assert proxy.passwords == [None]


def test_the_password_goes_to_the_proxy_and_not_to_the_server(
    connect: Any, server_tls: ssl.SSLContext
) -> None:
    heads = []

    def script(peer: Peer) -> None:
        heads.append(peer.request()[0])
        peer.answer()

    proxy = Proxy(authorization="Basic bWU6aHVzaA==")
    with scripted(script, tls=server_tls) as server, scripted(proxy) as between:
        wire = connect(server, proxy=f"http://me:hush@127.0.0.1:{between.port}")
        assert ask(wire).status == 200
    assert proxy.passwords == ["Basic bWU6aHVzaA=="]
    assert b"roxy" not in heads[0]


def test_the_certificate_is_checked_behind_the_proxy_too(
    connect: Any, authority: trustme.CA
) -> None:
    forged = serving(authority.issue_cert("example.org"))
    with scripted(answer_all, tls=forged) as server, scripted(Proxy()) as between:
        wire = connect(server, proxy=f"http://127.0.0.1:{between.port}")
        assert failure(ask(wire))[0] == "TlsError"


@pytest.mark.parametrize(
    ("refusal", "code"),
    [
        ("407 Proxy Authentication Required", "ProxyError"),
        ("403 Forbidden", "ProxyError"),
        ("503 Service Unavailable", "ConnectionError"),
        ("504 Gateway Timeout", "ConnectionError"),
        ("429 Too Many Requests", "ConnectionError"),
    ],
)
def test_a_proxy_that_refuses_is_named_with_its_reason(
    connect: Any, refusal: str, code: str
) -> None:
    with scripted(Proxy(refusal=refusal)) as between:
        wire = connect(1, host="db.example", proxy=f"http://me:hush@127.0.0.1:{between.port}")
        found, text = failure(ask(wire))
    assert found == code
    assert refusal in text
    assert "db.example:1" in text
    assert "hush" not in text


def test_a_proxy_that_hangs_up_or_is_not_there_is_a_connection_error(connect: Any) -> None:
    with scripted(Peer.head) as between:  # type: ignore[arg-type]
        wire = connect(1, proxy=f"http://127.0.0.1:{between.port}")
        assert failure(ask(wire))[0] == "ConnectionError"
    port = closed_port()
    code, text = failure(ask(connect(1, proxy=f"http://me:hush@127.0.0.1:{port}")))
    assert code == "ConnectionError"
    assert f"127.0.0.1:{port}" in text
    assert "hush" not in text


def test_an_ipv6_host_stands_in_brackets_in_front_of_its_port(connect: Any) -> None:
    proxy = Proxy(refusal="403 Forbidden")
    with scripted(proxy) as between:
        ask(connect(8443, host="::1", proxy=f"http://127.0.0.1:{between.port}"))
    assert proxy.requests == ["CONNECT [::1]:8443 HTTP/1.1"]


# --- what a user sets ----------------------------------------------------------------------


@pytest.fixture
def db() -> FakeDynamoDB:
    made = FakeDynamoDB()
    made.create_table("visits", {"id": "S"})
    return made


@pytest.fixture
def files(authority: trustme.CA, tmp_path: Path) -> tuple[str, str]:
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(
        str(tmp_path / "both.pem")
    )
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    return str(tmp_path / "both.pem"), str(tmp_path / "authority.pem")


def written(server: FakeServer, **given: str) -> ServiceError | None:
    options = SinkOptions.parse(
        {
            "connector": "dynamodb",
            "table-name": "visits",
            "aws.region": "us-east-2",
            "aws.endpoint": server.endpoint,
            **{name.replace("_", "."): value for name, value in given.items()},
        }
    )
    channel = DynamoDB(options, user_agent="test").channel()
    try:
        channel.send([Call("visits", [b'{"PutRequest":{"Item":{"id":{"S":"a"}}}}'], None)])
        while True:
            for done in channel.poll(1.0):
                return done.error
    finally:
        channel.close()


def test_a_self_signed_certificate_is_refused_by_default_with_advice(
    db: FakeDynamoDB, files: tuple[str, str]
) -> None:
    with FakeServer(db, tls=(files[0], files[0])) as server:
        error = written(server)
    assert error is not None
    assert error.code == "TlsError"
    assert "AWS_CA_BUNDLE" in error.message
    assert "aws.trust.all.certificates" in error.message
    assert not db.items("visits")


def test_a_self_signed_certificate_is_accepted_when_all_are_trusted(
    db: FakeDynamoDB, files: tuple[str, str]
) -> None:
    with FakeServer(db, tls=(files[0], files[0])) as server:
        assert written(server, aws_trust_all_certificates="true") is None
    assert len(db.items("visits")) == 1


@pytest.mark.parametrize("variable", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
def test_the_bundle_of_the_environment_is_trusted(
    db: FakeDynamoDB, files: tuple[str, str], monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, files[1])
    with FakeServer(db, tls=(files[0], files[0])) as server:
        assert written(server) is None
    assert len(db.items("visits")) == 1


def test_a_bundle_that_cannot_be_read_is_named(
    db: FakeDynamoDB, files: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", "/nowhere/bundle.pem")
    with FakeServer(db, tls=(files[0], files[0])) as server, pytest.raises(OptionError) as refused:
        written(server)
    assert "AWS_CA_BUNDLE" in str(refused.value)
    assert "/nowhere/bundle.pem" in str(refused.value)


def test_describe_table_trusts_what_writes_trust(
    db: FakeDynamoDB, files: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {
        "connector": "dynamodb", "table-name": "visits", "aws.region": "us-east-2",
    }  # fmt: skip
    with FakeServer(db, tls=(files[0], files[0])) as server:
        given = SinkOptions.parse({**options, "aws.endpoint": server.endpoint})
        with pytest.raises(ServiceError) as refused:
            DynamoDB(given, user_agent="test").table_key("visits")
        assert refused.value.code == "TlsError"
        assert "AWS_CA_BUNDLE" in refused.value.message
        monkeypatch.setenv("AWS_CA_BUNDLE", files[1])
        assert str(DynamoDB(given, user_agent="test").table_key("visits")) == "id"


def test_the_address_family_of_the_server_does_not_matter(
    connect: Any, server_tls: ssl.SSLContext
) -> None:
    with scripted(answer_all, tls=server_tls) as server:
        addresses = [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", server.port, 0, 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port)),
        ]
        wire = connect(server, host="localhost", lookup=lambda *_, **__: addresses)
        assert ask(wire, b"there").body == b"there"
