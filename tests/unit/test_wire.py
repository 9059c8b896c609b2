"""HTTP on kept-alive connections, against real sockets that behave and misbehave."""

from __future__ import annotations

import gc
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_dynamodb.connection import Connection, Reply, Target
from beam_dynamodb.wire import Wire
from tests.fakes import FakeClock
from tests.scripted import (
    Peer,
    Scripted,
    answer,
    answer_all,
    closed_port,
    goes_stale,
    half_an_answer,
    scripted,
    unreachable,
)

LONG = 30.0
"""Seconds after which a test that still waits has failed."""


def head(body: bytes = b"") -> bytes:
    return b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: %d\r\n\r\n" % len(body)


@pytest.fixture
def connect() -> Iterator[Callable[..., Wire]]:
    with ExitStack() as stack:

        def make(server: Scripted | int, host: str = "127.0.0.1", **given: Any) -> Wire:
            port = server if isinstance(server, int) else server.port
            settings = {"max_connections": 50, "read_timeout": LONG, **given}
            wire = Wire(Target(host, port), **settings)
            stack.callback(wire.close)
            return wire

        yield make


def replies(wire: Wire, number: int = 1) -> list[Reply]:
    """So many replies; fails where they do not come."""
    found: list[Reply] = []
    until = time.monotonic() + LONG
    while len(found) < number:
        assert time.monotonic() < until, f"only {len(found)} of {number} replies came"
        found += wire.poll(1.0)
    return found


def ask(wire: Wire, body: bytes = b"x", tag: object = None) -> Reply:
    wire.send([head(body), body], tag)
    [reply] = replies(wire)
    return reply


def poll_until(wire: Wire, condition: Callable[[], bool], most: int = 1_000) -> None:
    for _ in range(most):
        if condition():
            return
        assert wire.poll(0.01) == []
    raise AssertionError("it never came to this")


def passing(wire: Wire, clock: FakeClock, seconds: float) -> list[Reply]:
    """What comes while so much time passes, polled all along."""
    found: list[Reply] = []
    until = clock.now + seconds
    while clock.now < until:
        clock.now = min(clock.now + 0.4, until)
        found += wire.poll(0.0)
    return found


def failure(reply: Reply) -> tuple[str, str]:
    assert reply.error is not None, reply
    assert reply.status == 0
    return reply.error.code, str(reply.error)


@pytest.mark.parametrize("moment", range(1, 8))
def test_a_request_that_an_exception_cuts_off_is_never_taken_for_answered(
    connect: Any, moment: int
) -> None:
    # A KeyboardInterrupt can come anywhere; the clock is where this one does.
    calls = 0

    def clock() -> float:
        nonlocal calls
        calls += 1
        if calls == moment:
            raise KeyboardInterrupt
        return time.monotonic()

    found: list[Reply] = []
    with scripted(answer_all) as server:
        wire = connect(server, clock=clock, read_timeout=0.3)
        try:
            wire.send([head(b"x"), b"x"], None)
            found += replies(wire)
        except KeyboardInterrupt:
            for _ in range(10):
                found += wire.poll(0.05)
    assert calls > moment, "the exception came too late to matter"
    assert all(reply.error is not None or reply.status == 200 for reply in found)


def test_the_answer_before_is_never_taken_for_that_of_a_request_that_was_cut_off(
    connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: object) -> bool:
        raise KeyboardInterrupt

    with scripted(answer_all) as server:
        wire = connect(server, clock=FakeClock(), read_timeout=0.3)  # so it asks who is open
        assert ask(wire).status == 200
        monkeypatch.setattr(Connection, "is_open", interrupted)
        with pytest.raises(KeyboardInterrupt):
            wire.send([head(b"y"), b"y"], "cut off")
        monkeypatch.undo()
    [reply] = [reply for _ in range(10) for reply in wire.poll(0.05)]
    assert reply.tag == "cut off"
    assert reply.error is not None


# --- answers -------------------------------------------------------------------------------


def test_a_reply_holds_tag_status_lowercase_headers_body_and_time(connect: Any) -> None:
    def script(peer: Peer) -> None:
        peer.request()
        peer.answer(b"teapot", "418 I'm a teapot", X_Amzn_RequestId="7")

    with scripted(script) as server:
        reply = ask(connect(server), tag="mine")
    assert (reply.tag, reply.status, reply.body) == ("mine", 418, b"teapot")
    assert reply.headers["x-amzn-requestid"] == "7"
    assert reply.error is None
    assert reply.seconds > 0


def test_the_request_arrives_byte_for_byte(connect: Any) -> None:
    seen = []

    def script(peer: Peer) -> None:
        seen.append(peer.request())
        peer.answer()

    with scripted(script) as server:
        ask(connect(server), b"\x00\xff body")
    assert seen == [(head(b"\x00\xff body"), b"\x00\xff body")]


FRAMES: dict[str, tuple[bytes, bytes]] = {
    "told length": (answer(b"hello"), b"hello"),
    "chunks": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x\r\nllo\r\n0\r\n\r\n",
        b"hello",
    ),
    "until the end": (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello", b"hello"),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\nServer: x\r\n\r\nhello", b"hello"),
    "100 Continue before it": (
        b"HTTP/1.1 100 Continue\r\nA: b\r\n\r\n" + answer(b"hello"),
        b"hello",
    ),
    "no body": (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    "nothing in it": (answer(b""), b""),
}


@pytest.mark.parametrize("frame", FRAMES)
def test_every_way_to_frame_a_body_is_understood(connect: Any, frame: str) -> None:
    raw, body = FRAMES[frame]

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(raw)

    with scripted(script) as server:
        reply = ask(connect(server))
    assert reply.error is None
    assert reply.body == body
    assert "a" not in reply.headers


@settings(max_examples=25)
@given(frame=st.sampled_from(sorted(FRAMES)), cuts=st.lists(st.integers(1, 120), max_size=6))
def test_an_answer_may_arrive_in_any_pieces(frame: str, cuts: list[int]) -> None:
    raw, body = FRAMES[frame]
    edges = sorted({0, len(raw), *(cut for cut in cuts if cut < len(raw))})
    pieces = [raw[start:end] for start, end in zip(edges, edges[1:], strict=False)]

    def script(peer: Peer) -> None:
        peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer.request()
        for piece in pieces:
            peer.send(piece)
            time.sleep(0.001)

    with scripted(script) as server:
        wire = Wire(Target("127.0.0.1", server.port), max_connections=1, read_timeout=LONG)
        try:
            reply = ask(wire)
        finally:
            wire.close()
    assert (reply.error, reply.body) == (None, body)


@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        answer(b"one") + answer(b"two"),
    ],
)
def test_what_is_no_answer_is_a_bad_response(connect: Any, raw: bytes) -> None:
    def script(peer: Peer) -> None:
        peer.request()
        peer.send(raw)
        peer.wait_for_end()

    with scripted(script) as server:
        code, text = failure(ask(connect(server)))
    assert code == "BadResponse"
    assert "not HTTP" in text


@pytest.mark.parametrize("size", [0, 1, 65_536, 16 * 1024 * 1024])
def test_bodies_of_any_size_go_both_ways(connect: Any, size: int) -> None:
    body = os.urandom(size)
    with scripted(answer_all) as server:
        wire = connect(server)
        for _ in range(2):
            reply = ask(wire, body)
            assert reply.error is None
            assert reply.body == body


def test_a_large_body_does_not_hold_up_another_request(connect: Any) -> None:
    may_read = threading.Event()

    def reads_late(peer: Peer) -> None:
        assert may_read.wait(LONG)
        answer_all(peer)

    with scripted(reads_late, answer_all) as server:
        wire = connect(server)
        large = bytes(16 * 1024 * 1024)
        wire.send([head(large), large], "large")
        poll_until(wire, lambda: server.connections == 1)
        assert ask(wire, b"small", "small").tag == "small"
        may_read.set()
        [reply] = replies(wire)
    assert (reply.tag, reply.body) == ("large", large)


@pytest.mark.parametrize("gathers", [True, False])
def test_a_body_in_many_parts_arrives_as_one(
    connect: Any, monkeypatch: pytest.MonkeyPatch, gathers: bool
) -> None:
    monkeypatch.setattr("beam_dynamodb.connection._GATHERS", gathers)
    parts = [b"%d" % n * (n * n) for n in range(200)]  # the first one is empty
    body = b"".join(parts)
    with scripted(answer_all) as server:
        wire = connect(server)
        wire.send([head(body), *parts, b""], "parts")
        [reply] = replies(wire)
    assert (reply.tag, reply.body) == ("parts", body)


# --- many at once --------------------------------------------------------------------------


def test_fifty_requests_are_in_flight_on_one_thread(connect: Any) -> None:
    all_there = threading.Barrier(50, timeout=LONG)

    def script(peer: Peer) -> None:
        _, body = peer.request()
        all_there.wait()  # no answer before the last request
        peer.answer(body)

    with scripted(script) as server:
        wire = connect(server)
        for number in range(50):
            assert wire.room
            wire.send([head(b"%d" % number), b"%d" % number], number)
        assert wire.in_flight == 50
        found = replies(wire, 50)
    assert {reply.tag: reply.body for reply in found} == {n: b"%d" % n for n in range(50)}
    assert wire.in_flight == 0


def test_answers_may_overtake_each_other(connect: Any) -> None:
    second_is_answered = threading.Event()

    def slow(peer: Peer) -> None:
        peer.request()
        assert second_is_answered.wait(LONG)
        peer.answer(b"first")

    with scripted(slow, answer_all) as server:
        wire = connect(server)
        wire.send([head(b""), b""], 1)
        poll_until(wire, lambda: server.connections == 1)
        assert ask(wire, b"second", 2).tag == 2
        second_is_answered.set()
        assert replies(wire)[0].tag == 1


def test_the_pool_never_has_more_connections_than_told(connect: Any) -> None:
    with scripted(answer_all) as server:
        wire = connect(server, max_connections=3)
        asked = answered = 0
        while answered < 40:
            while wire.room and asked < 40:
                wire.send([head(b""), b""], asked)
                asked += 1
            answered += len(wire.poll(1.0))
        assert server.connections <= 3


def test_there_is_no_room_while_all_connections_are_busy(connect: Any) -> None:
    go_on = threading.Event()

    def script(peer: Peer) -> None:
        peer.request()
        assert go_on.wait(LONG)
        peer.answer()

    with scripted(script) as server:
        wire = connect(server, max_connections=2)
        wire.send([head(), b""], 1)
        assert wire.room
        wire.send([head(), b""], 2)
        assert not wire.room
        go_on.set()
        replies(wire, 2)
        assert wire.room


# --- kept-alive connections ----------------------------------------------------------------


def test_one_connection_serves_one_request_after_the_other(connect: Any) -> None:
    with scripted(answer_all) as server:
        wire = connect(server)
        assert [ask(wire, b"%d" % n).body for n in range(20)] == [b"%d" % n for n in range(20)]
        assert server.connections == 1


@pytest.mark.parametrize("frame", ["until the end", "HTTP/1.0"])
def test_a_connection_that_the_server_will_close_is_not_used_again(
    connect: Any, frame: str
) -> None:
    def script(peer: Peer) -> None:
        peer.request()
        peer.send(FRAMES[frame][0])

    with scripted(script) as server:
        wire = connect(server)
        assert [ask(wire).body for _ in range(3)] == [b"hello"] * 3
        assert server.connections == 3


def test_an_idle_connection_that_the_server_closes_is_dropped_in_silence(connect: Any) -> None:
    def script(peer: Peer) -> None:
        peer.request()
        peer.answer(b"bye")

    with scripted(script) as server:
        wire = connect(server)
        before = _open_files()
        ask(wire)
        poll_until(wire, lambda: _open_files() <= before)
        assert ask(wire).body == b"bye"
        assert server.connections == 2


def test_a_forgotten_wire_closes_its_connections_in_silence() -> None:
    """As a runner forgets the steps of a job that it cancels; pytest would fail for a warning."""

    def script(peer: Peer) -> None:
        peer.request()
        peer.answer(b"x")
        peer.request()  # and no answer

    with scripted(script) as server:
        before = _open_files()
        wire = Wire(Target("127.0.0.1", server.port), max_connections=2, read_timeout=LONG)
        ask(wire)
        wire.send([head(), b""], "on the connection that had an answer, and has none now")
        wire.send([head(), b""], "on a new one, which is idle afterwards")
        replies(wire)
        circle: list[Any] = [wire]
        circle.append(circle)  # which only the garbage collector ends
        del wire, circle
        gc.collect()
        until = time.monotonic() + LONG
        while _open_files() > before:  # the server's ends follow
            assert time.monotonic() < until
            time.sleep(0.01)


def test_bytes_that_nobody_asked_for_end_an_idle_connection(connect: Any) -> None:
    idle = threading.Event()

    def script(peer: Peer) -> None:
        peer.request()
        peer.answer(b"one")
        assert idle.wait(LONG)
        peer.send(answer(b"forged"))
        peer.wait_for_end()

    with scripted(script, answer_all) as server:
        wire = connect(server)
        before = _open_files()
        ask(wire)
        idle.set()
        poll_until(wire, lambda: _open_files() <= before)
        assert ask(wire, b"mine").body == b"mine"


def test_a_connection_that_went_stale_is_replaced(connect: Any) -> None:
    closed = threading.Event()
    with scripted(goes_stale(closed), answer_all) as server:
        wire = connect(server)
        assert ask(wire, b"a").body == b"first"
        assert closed.wait(LONG)
        assert ask(wire, b"b").body == b"b"
        assert ask(wire, b"c").body == b"c"
        assert server.connections == 2


@pytest.mark.parametrize(("seconds", "connections"), [(59.0, 1), (61.0, 2)])
def test_a_connection_that_was_idle_for_long_is_not_used_again(
    connect: Any, seconds: float, connections: int
) -> None:
    # A gateway in between may have forgotten it: then nothing comes back, not even a reset.
    clock = FakeClock()
    with scripted(answer_all) as server:
        wire = connect(server, clock=clock)
        assert ask(wire, b"a").body == b"a"
        clock.now += seconds
        assert wire.poll(0.0) == []
        assert ask(wire, b"b").body == b"b"
        assert ask(wire, b"c").body == b"c"
        assert server.connections == connections


@pytest.mark.parametrize("ending", ["closed", "reset", "closed within the answer"])
def test_a_request_that_the_server_may_have_got_is_not_sent_again(
    connect: Any, ending: str
) -> None:
    # Its caller must know: the first one could be carried out after the second one's answer.
    def script(peer: Peer) -> None:
        peer.request()
        peer.answer()
        peer.request()
        if ending == "reset":
            peer.reset()
        elif ending == "closed within the answer":
            peer.send(answer(b"hello")[:-2])

    with scripted(script) as server:
        wire = connect(server)
        ask(wire)
        assert failure(ask(wire))[0] == "NoAnswer"
        assert server.connections == 1


def test_the_second_connection_for_a_stale_one_has_its_own_time_to_connect(connect: Any) -> None:
    clock = FakeClock()

    def script(peer: Peer) -> None:
        peer.request()
        peer.answer()

    with scripted(script) as server, unreachable() as nowhere:
        ports = [server.port, nowhere]
        wire = connect(
            server, clock=clock, lookup=lambda *_, **__: [_ipv4(ports.pop(0))], read_timeout=60.0
        )
        before = _open_files()
        ask(wire)
        poll_until(wire, lambda: _open_files() <= before)
        wire.send([head(), b""], None)
        assert not ports
        code, text = failure(passing(wire, clock, 10.5)[0])
    assert code == "ConnectTimeout"
    assert "10 s" in text


# --- what breaks ---------------------------------------------------------------------------


def _before(peer: Peer) -> None:
    peer.head()
    peer.reset()


def _within_the_head(peer: Peer) -> None:
    peer.request()
    peer.send(b"HTTP/1.1 200 OK\r\nContent-")
    time.sleep(0.02)
    peer.reset()


def _within_the_body(peer: Peer) -> None:
    peer.request()
    peer.send(answer(b"hello world")[:-4])
    time.sleep(0.02)
    peer.reset()


def _half_of_chunks(peer: Peer) -> None:
    peer.request()
    peer.send(FRAMES["chunks"][0][:-7])


def _only_continue(peer: Peer) -> None:
    peer.request()
    peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")


def _nothing(peer: Peer) -> None:
    peer.request()


@pytest.mark.parametrize(
    "script",
    [
        _before,
        _within_the_head,
        _within_the_body,
        half_an_answer,
        _half_of_chunks,
        _only_continue,
        _nothing,
    ],
)
def test_a_connection_that_breaks_gives_no_answer(connect: Any, script: Any) -> None:
    with scripted(script) as server:
        wire = connect(server)
        code, text = failure(ask(wire, bytes(300_000)))
    assert code == "NoAnswer"
    assert f"127.0.0.1:{server.port}" in text
    assert wire.room


def test_a_reset_after_the_answer_harms_nobody(connect: Any) -> None:
    def script(peer: Peer) -> None:
        peer.request()
        peer.answer(b"done")
        time.sleep(0.02)
        peer.reset()

    with scripted(script) as server:
        wire = connect(server)
        before = _open_files()
        for _ in range(3):
            assert ask(wire).body == b"done"
            poll_until(wire, lambda: _open_files() <= before)


def test_an_answer_that_comes_before_the_request_was_read_is_taken(connect: Any) -> None:
    def too_large(peer: Peer) -> None:
        peer.head()
        peer.answer(b"too large", "413 Payload Too Large")

    with scripted(too_large) as server:
        wire = connect(server)
        body = bytes(16 * 1024 * 1024)
        reply = ask(wire, body)
        assert (reply.status, reply.body) == (413, b"too large")
        ask(wire, body)
        assert server.connections == 2


def test_an_answer_is_taken_while_the_server_reads_no_more_of_the_request(connect: Any) -> None:
    done = threading.Event()

    def refuses(peer: Peer) -> None:
        peer.head()
        peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        peer.answer(b"too large", "413 Payload Too Large")
        done.wait(LONG)

    with scripted(refuses, answer_all) as server:
        wire = connect(server)
        reply = ask(wire, bytes(16 * 1024 * 1024))
        assert (reply.status, reply.body) == (413, b"too large")
        assert ask(wire, b"next").body == b"next", "the connection is not used again"
        assert server.connections == 2
        done.set()


def test_a_server_that_hangs_up_while_it_reads_no_more_is_no_answer(connect: Any) -> None:
    done = threading.Event()

    def hangs_up(peer: Peer) -> None:
        peer.head()
        peer.sock.shutdown(socket.SHUT_WR)
        done.wait(LONG)

    with scripted(hangs_up) as server:
        wire = connect(server)
        assert failure(ask(wire, bytes(16 * 1024 * 1024)))[0] == "NoAnswer"
        done.set()


def test_a_port_that_refuses_is_a_connection_error(connect: Any) -> None:
    code, text = failure(ask(connect(closed_port())))
    assert code == "ConnectionError"
    assert "refused" in text


@pytest.mark.parametrize(
    "fault",
    [
        socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
        PermissionError(1, "Operation not permitted"),
        UnicodeError("label empty or too long"),
        OSError(24, "Too many open files"),
    ],
)
def test_a_host_that_cannot_be_looked_up_is_an_error_of_the_reply(
    connect: Any, fault: Exception
) -> None:
    def lookup(*_: Any, **__: Any) -> list[Any]:
        raise fault

    wire = connect(1, lookup=lookup)
    wire.send([head(), b""], "tag")
    [reply] = replies(wire)
    code, text = failure(reply)
    assert (reply.tag, code) == ("tag", "ConnectionError")
    assert str(fault) in text


def test_a_lookup_that_failed_is_not_repeated_for_each_connection(connect: Any) -> None:
    # Each may take many seconds, one after the other.
    clock = FakeClock()
    began: list[float] = []

    def lookup(*_: Any, **__: Any) -> list[Any]:
        began.append(clock.now)
        clock.now += 10.0
        if len(began) < 3:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return [_ipv4(server.port)]

    with scripted(answer_all) as server:
        wire = connect(server, lookup=lookup, clock=clock)
        start = clock.now
        for wait in (0.0, 1.5):
            clock.now += wait
            for _ in range(50):
                wire.send([head(), b""], None)
            for reply in replies(wire, 50):
                assert "Temporary failure in name resolution" in failure(reply)[1]
        clock.now += 1.5
        assert ask(wire, b"there").body == b"there"
    assert [round(each - start, 1) for each in began] == [0.0, 11.5, 23.0]


def test_a_host_that_can_be_no_name_is_an_error_of_the_reply(connect: Any) -> None:
    assert failure(ask(connect(1, host="a..b")))[0] == "ConnectionError"


# --- several addresses ---------------------------------------------------------------------


def _ipv4(port: int) -> tuple[Any, ...]:
    return socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", port)


def _ipv6(port: int) -> tuple[Any, ...]:
    return socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("::1", port, 0, 0)


def test_the_next_address_is_tried_where_one_refuses(connect: Any) -> None:
    with scripted(answer_all) as server:
        addresses = [_ipv6(server.port), _ipv4(closed_port()), _ipv4(server.port)]
        wire = connect(server, lookup=lambda *_, **__: addresses)
        assert ask(wire, b"there").body == b"there"


def test_the_next_address_is_tried_where_one_cannot_even_be_tried(connect: Any) -> None:
    with scripted(answer_all) as server:
        unknown = (12_345, socket.SOCK_STREAM, 0, "", ("127.0.0.1", server.port))
        wire = connect(server, lookup=lambda *_, **__: [unknown, _ipv4(server.port)])
        assert ask(wire, b"there").body == b"there"


def test_the_next_address_is_tried_after_its_share_of_the_time(connect: Any) -> None:
    clock = FakeClock()
    with scripted(answer_all) as server, unreachable() as nowhere:
        addresses = [_ipv4(nowhere), _ipv4(server.port)]
        wire = connect(server, clock=clock, lookup=lambda *_, **__: addresses)
        wire.send([head(b"there"), b"there"], None)
        assert passing(wire, clock, 4.9) == []
        assert server.connections == 0
        clock.now += 0.2
        assert replies(wire)[0].body == b"there"


def test_the_last_address_tells_why_none_answers(connect: Any) -> None:
    addresses = [_ipv6(closed_port()), _ipv4(closed_port())]
    code, text = failure(ask(connect(1, lookup=lambda *_, **__: addresses)))
    assert code == "ConnectionError"
    assert "refused" in text


# --- time ----------------------------------------------------------------------------------


def test_no_answer_within_the_read_timeout_is_a_read_timeout(connect: Any) -> None:
    clock = FakeClock()
    with scripted(Peer.wait_for_end) as server:
        wire = connect(server, clock=clock, read_timeout=60.0)
        wire.send([head(), b""], "tag")
        poll_until(wire, lambda: server.connections == 1)
        wire.poll(0.05)
        clock.now += 59.0
        assert wire.poll(0.0) == []
        clock.now += 1.5
        [reply] = wire.poll(0.0)
    code, text = failure(reply)
    assert (code, reply.tag) == ("ReadTimeout", "tag")
    assert "60 s" in text
    assert "sink.http-client.read-timeout" in text
    assert reply.seconds == 60.5


def test_each_byte_that_arrives_starts_the_read_timeout_anew(connect: Any) -> None:
    clock = FakeClock()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        wire = connect(listener.getsockname()[1], clock=clock, read_timeout=60.0)
        wire.send([head(), b""], None)
        server, _ = listener.accept()
        with server:
            assert wire.poll(LONG) == []
            assert server.recv(65_536) == head()
            found: list[Reply] = []
            for byte in answer(b"slow"):
                clock.now += 50.0
                server.send(bytes([byte]))
                found += wire.poll(LONG)
    assert [(reply.error, reply.body) for reply in found] == [(None, b"slow")]


def test_a_connection_that_never_stands_is_a_connect_timeout(connect: Any) -> None:
    clock = FakeClock()
    with unreachable() as port:
        wire = connect(port, clock=clock)
        wire.send([head(), b""], None)
        assert passing(wire, clock, 9.9) == []
        code, text = failure(passing(wire, clock, 0.2)[0])
    assert code == "ConnectTimeout"
    assert f"127.0.0.1:{port}" in text
    assert wire.room


@pytest.mark.parametrize("pause", [0.6, 3.0, 11.0])
def test_a_server_that_is_not_there_times_out_also_where_nobody_polls_for_long(
    connect: Any, pause: float
) -> None:
    clock = FakeClock()
    with unreachable() as port:
        wire = connect(port, clock=clock)
        wire.send([head(), b""], None)
        began, found = clock.now, wire.poll(0.0)
        while not found:
            clock.now += pause
            found = wire.poll(0.0)
        assert failure(found[0])[0] == "ConnectTimeout"
        assert clock.now - began <= 10.0 + pause


def test_a_late_answer_never_reaches_the_next_request(connect: Any) -> None:
    clock = FakeClock()
    late = threading.Event()

    def answers_late(peer: Peer) -> None:
        peer.request()
        assert late.wait(LONG)
        peer.answer(b"late")

    with scripted(answers_late, answer_all) as server:
        wire = connect(server, clock=clock, max_connections=1, read_timeout=60.0)
        wire.send([head(), b""], None)
        poll_until(wire, lambda: server.connections == 1)
        wire.poll(0.05)
        clock.now += 61.0
        assert failure(replies(wire)[0])[0] == "ReadTimeout"
        late.set()
        assert ask(wire, b"mine").body == b"mine"


def test_poll_comes_back_by_the_next_deadline_however_long_it_may_wait(connect: Any) -> None:
    with scripted(Peer.wait_for_end) as server:
        wire = connect(server, read_timeout=0.05)
        wire.send([head(), b""], None)
        found = []
        for _ in range(50):
            found += wire.poll(3600.0)
            if found:
                break
    assert failure(found[0])[0] == "ReadTimeout"


def _states() -> dict[str, Callable[[Peer], None]]:
    def stalls_within_the_answer(peer: Peer) -> None:
        peer.request()
        peer.send(answer(b"hello")[:-2])
        peer.wait_for_end()

    def does_not_read(_: Peer) -> None:
        held.wait(LONG)

    held = threading.Event()
    does_not_read.release = held.set  # type: ignore[attr-defined]
    return {"waiting": Peer.wait_for_end, "half": stalls_within_the_answer, "full": does_not_read}


@pytest.mark.parametrize("state", ["nothing", "idle", "waiting", "half", "full", "connecting"])
def test_poll_never_spins(connect: Any, state: str) -> None:
    scripts = _states()
    script = scripts.get(state, answer_all)
    with scripted(script) as server, unreachable() as nowhere:
        wire = connect(nowhere if state == "connecting" else server)
        if state == "idle":
            ask(wire)
        elif state != "nothing":
            body = bytes(16 * 1024 * 1024 if state == "full" else 1)
            wire.send([head(body), body], None)
        polls, until = 0, time.monotonic() + 0.5
        while time.monotonic() < until:
            assert wire.poll(0.1) == []
            polls += 1
        getattr(script, "release", lambda: None)()
    # Five times the wait, and a few more for what happens on the way there.
    assert polls < 50


# --- the end -------------------------------------------------------------------------------


def _open_files() -> int:
    return len(os.listdir("/dev/fd"))


def test_close_leaves_no_file_open_whatever_was_on_its_way() -> None:
    with scripted(answer_all, Peer.wait_for_end) as server, unreachable() as nowhere:
        gc.collect()
        before = _open_files()
        wires = [
            Wire(Target("127.0.0.1", port), max_connections=9, read_timeout=LONG)
            for port in (server.port, server.port, nowhere)
        ]
        ask(wires[0])
        for wire in wires:
            for _ in range(3):
                wire.send([head(bytes(10_000_000)), bytes(10_000_000)], None)
            wire.poll(0.02)
        for wire in wires:
            wire.close()
            wire.close()
        del wire, wires
        gc.collect()  # a socket that nobody closed would raise its ResourceWarning here
        poll = 0
        while _open_files() > before and poll < 500:  # the server closes its own ends
            time.sleep(0.01)
            poll += 1
        assert _open_files() <= before


def test_addresses_that_failed_leave_no_file_open(connect: Any) -> None:
    with scripted(answer_all) as server:
        addresses = [*[_ipv4(closed_port()) for _ in range(5)], _ipv4(server.port)]
        plain = connect(server)
        ask(plain)
        one_connection = _open_files()
        plain.close()
        wire = connect(server, lookup=lambda *_, **__: addresses)
        ask(wire)
        assert _open_files() <= one_connection


def test_the_password_of_a_proxy_is_in_no_repr() -> None:
    target = Target("db", 443, proxy="http://me:hush@proxy:3128")
    assert "hush" not in repr(target)
    assert target.address == ("proxy", 3128)
    assert target.proxy_authorization == "Basic bWU6aHVzaA=="


def test_the_user_of_a_proxy_may_be_percent_encoded() -> None:
    target = Target("db", 443, proxy="http://a%40b:p%3Aw@proxy")
    assert target.address == ("proxy", 80)
    assert target.proxy_authorization == "Basic YUBiOnA6dw=="
    assert Target("db", 443, proxy="http://proxy").proxy_authorization is None
    assert Target("db", 443).proxy_authorization is None
