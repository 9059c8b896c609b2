"""One kept-alive connection: a request on it, the answer, and all that happens on the way.

Knows sockets, TLS, proxies and HTTP/1.1, and nothing of what DynamoDB means by a request. A
connection never waits: it is a generator that says what it waits for, and `wire` lets it go on.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import os
import selectors
import socket
import ssl
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import httptools

__all__ = ["PAUSE", "UNTRUSTED_ADVICE", "Connection", "Reply", "Target", "WireError"]

UNTRUSTED_ADVICE = (
    "Check 'aws.endpoint'; set AWS_CA_BUNDLE to the certificate of its authority, or, for a test "
    "endpoint only, 'aws.trust.all.certificates'."
)
"""What to do where a server's certificate is not trusted."""

_LONGEST_IDLE = 60.0
"""Seconds after which an idle connection is not used again, as in AWS's own clients: what stands
between may have forgotten it without a word, and then no answer comes until the read timeout."""

PAUSE = 0.5
"""Seconds without a poll from which on a server that is ready then is not blamed for them."""

_READ = selectors.EVENT_READ
_WRITE = selectors.EVENT_WRITE
_EITHER = _READ | _WRITE
_RECEIVE_BYTES = 65_536
_GATHERS = hasattr(socket.socket, "sendmsg")  # not on Windows
_FIRST_FINAL = 200
"""The first status of an answer that is not followed by another one."""

_MOST_PARTS = 64
"""How many parts one call of the system gets; Linux and macOS take 1,024."""

_IN_PROGRESS = frozenset([errno.EINPROGRESS, errno.EWOULDBLOCK])
"""A connection is being made (the second is Windows' word for it)."""

_TOLD_LENGTH = (b"content-length", b"transfer-encoding")
_WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

Waits = Generator[int, None, None]
"""A step of a conversation: yields the events its socket waits for."""


class WireError(Exception):
    """A request got no answer.

    Attributes:
        code: `ConnectionError`, `ConnectTimeout`, `TlsError` or `ProxyError` where nothing of the
            request was sent; `NoAnswer`, `ReadTimeout` or `BadResponse` where the server may
            have got it.
    """

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class Reply(NamedTuple):
    """What came of one request.

    Attributes:
        tag: What `Wire.send` was given with the request.
        status: The HTTP status; 0 where there was no answer.
        fields: The answer's headers as received, name and value.
        body: The answer's body as received.
        error: Why there was no answer, else None.
        seconds: From `Wire.send` to the end of the answer.
        sending: From `Wire.send` until all of the request was on its way, connecting included;
            0 if it never was.
    """

    tag: object
    status: int = 0
    fields: Sequence[tuple[bytes, bytes]] = ()
    body: bytes = b""
    error: WireError | None = None
    seconds: float = 0.0
    sending: float = 0.0

    @property
    def headers(self) -> dict[str, str]:
        """The answer's headers, names in lower case."""
        return {
            name.decode("latin-1").lower(): each.decode("latin-1") for name, each in self.fields
        }

    def header(self, name: bytes) -> bytes | None:
        """One header's value; the name in lower case."""
        for each, value in self.fields:
            if each.lower() == name:
                return value
        return None


@dataclass(frozen=True, slots=True)
class Target:
    """Where connections lead, and how.

    Attributes:
        host: The server's name or address; an IPv6 address without brackets.
        port: Its port.
        tls: The TLS context, or None for plain HTTP.
        proxy: The `http://` URL of a proxy in between, or None. A request over TLS goes through
            a tunnel that the proxy opens (CONNECT); a plain one must name the whole URL in its
            request line and hold `proxy_authorization`.
    """

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    proxy: str | None = field(default=None, repr=False)  # it may hold a password

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to connect to: the server's own, or the proxy's."""
        if self.proxy is None:
            return self.host, self.port
        parts = urlsplit(self.proxy)
        return parts.hostname or "", parts.port or 80

    @property
    def proxy_authorization(self) -> str | None:
        """The Proxy-Authorization header's value, if the proxy's URL holds a user."""
        parts = urlsplit(self.proxy or "")
        if not parts.username:
            return None
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        return "Basic " + base64.b64encode(user.encode()).decode()


class Connection:
    """One connection: the request on it, and how far it got.

    Attributes:
        started: When its request began.
        idle_since: When its last request was done; set by who keeps it.
        events: What it waits for, as a selector has it.
        watched: The socket that a selector watches for it, and for which events; set by who does.
        deadline: When it has waited for too long.
        reusable: Whether another request can follow.
    """

    def __init__(
        self,
        target: Target,
        timeouts: tuple[float, float],
        clock: Callable[[], float],
        lookup: Callable[..., list[Any]],
    ) -> None:
        """Opens nothing yet.

        Args:
            target: Where to connect to.
            timeouts: Seconds until it must stand, and without a byte in either direction.
            clock: Seconds that only go forward.
            lookup: Gives a host's addresses, as `socket.getaddrinfo`.
        """
        self._target = target
        self._connect_timeout, self._read_timeout = timeouts
        self._clock = clock
        self._lookup = lookup
        self._socket: socket.socket | None = None
        self._retired: list[socket.socket] = []
        self._steps: Waits | None = None
        self._answer = _Answer()
        self._connected = False
        self._connected_by = 0.0
        self._is_cut = False
        self._was_paused = False
        self.started = 0.0
        self.idle_since = 0.0
        self.events = 0
        self.watched: tuple[socket.socket | None, int] = (None, 0)
        self.deadline = 0.0
        self.reusable = False

    @property
    def sock(self) -> socket.socket:
        """The socket of the present request."""
        assert self._socket is not None  # noqa: S101 - set by the first step of every request
        return self._socket

    def begin(self, request: Sequence[bytes], tag: object, now: float, *, seen_open: bool) -> None:
        """Takes a request, which `step` sends.

        Args:
            request: As for `Wire.send`.
            tag: Comes back with the reply.
            now: The time by its clock.
            seen_open: Whether it is known that the server still holds the connection open.
        """
        self._tag = tag
        self.started = now
        self._answer.begin()
        self._asked = False
        self._sending = 0.0
        self._is_cut = False
        self._was_paused = False
        self.reusable = False
        if now - self.idle_since > _LONGEST_IDLE:
            self._connected = False
        self._steps = self._exchange(request, seen_open=seen_open)

    def step(self, now: float, fault: WireError | None = None) -> Reply | None:
        """Goes on as far as possible, or fails where it waits; the reply when all is over."""
        steps = self._steps
        assert steps is not None  # noqa: S101 - begin() came before
        try:
            self.events = next(steps) if fault is None else steps.throw(fault)
        except StopIteration:
            return self._reply(now)
        except WireError as error:
            return self._failed(error)
        except ssl.SSLCertVerificationError as cause:
            return self._failed(_untrusted(self._target, cause))
        except (OSError, ValueError) as cause:  # the latter for a host that cannot be a name
            return self._failed(_broken(self._target, cause, asked=self._asked))
        if self._connected:
            self.deadline = now + self._read_timeout
        return None

    def excuse(self, seconds: float) -> None:
        """Makes it so much longer until the connection must stand, if it does not yet."""
        if not self._connected and seconds > PAUSE:
            self._was_paused = True
            self._connected_by += seconds
            self.deadline += seconds

    def too_late(self) -> WireError:
        """What to fail with when the deadline is over."""
        host, port = self._target.address
        if self._connected:
            limit = f"{self._read_timeout:g} s ('sink.http-client.read-timeout')"
            return WireError(f"{host}:{port} answered nothing within {limit}", "ReadTimeout")
        limit = f"{self._connect_timeout:g} s"
        return WireError(f"{host}:{port} could not be reached within {limit}", "ConnectTimeout")

    def is_open(self) -> bool:
        """Whether the server still holds an idle connection open."""
        try:
            self.sock.recv(1)
        except _WOULD_BLOCK:
            return True
        except OSError:
            pass
        return False  # the end of the stream, or bytes that nobody asked for

    def close_retired(self) -> None:
        """Closes the sockets that it has done with; no selector may watch them any more."""
        for each in self._retired:
            each.close()
        self._retired.clear()

    def close(self) -> None:
        """Ends it; a request on its way gets no reply."""
        if self._steps is not None:
            self._steps.close()  # its frame holds the whole request
        self._retire()
        self.close_retired()

    def _reply(self, now: float) -> Reply:
        answer = self._answer
        if not answer.complete:  # an exception from elsewhere, such as Ctrl-C, has cut it off
            return self._failed(_broken(self._target, _interrupted(), asked=self._asked))
        self.events = _READ
        self.reusable = answer.keep_alive and not self._is_cut
        return Reply(
            self._tag,
            answer.status,
            answer.fields,
            b"".join(answer.pieces),
            None,
            now - self.started,
            self._sending,
        )

    def _failed(self, error: WireError) -> Reply:
        seconds = self._clock() - self.started  # to look a name up may have taken long
        return Reply(self._tag, error=error, seconds=seconds, sending=self._sending)

    # --- the conversation, one step at a time -------------------------------------------

    def _exchange(self, request: Sequence[bytes], *, seen_open: bool) -> Waits:
        if not (self._connected and (seen_open or self.is_open())):
            yield from self._open_patiently()
        self._asked = True
        try:
            rest = self._send_at_once(request)
            if rest:
                yield from self._send(rest)
            self._sending = self._clock() - self.started
        except OSError as fault:
            # A server may refuse a request before it has read all of it, and close.
            self._is_cut = True
            try:
                yield from self._receive()
            except OSError:
                raise fault from None
        else:
            if not self._is_cut:
                yield _READ  # no answer is there yet
            yield from self._receive()

    def _open_patiently(self) -> Waits:
        try:
            yield from self._open()
        except OSError:
            if not self._was_paused:
                raise
            yield from self._open()  # the server may not have waited while nobody polled

    def _open(self) -> Waits:
        self._connected = False
        self._answer = _Answer()
        self._connected_by = self._clock() + self._connect_timeout
        yield from self._connect()
        self.deadline = self._connected_by
        if self._target.tls is not None:
            if self._target.proxy is not None:
                yield from self._tunnel()
            yield from self._start_tls(self._target.tls)
        self._connected = True

    def _connect(self) -> Waits:
        addresses = self._lookup(*self._target.address, type=socket.SOCK_STREAM)
        for left in range(len(addresses), 0, -1):
            family, kind, protocol, _, address = addresses[-left]
            now = self._clock()
            self.deadline = now + (self._connected_by - now) / left
            self._retire()
            try:
                yield from self._connect_to(socket.socket(family, kind, protocol), address)
                return
            except (OSError, WireError):
                if left == 1:
                    raise

    def _connect_to(self, new: socket.socket, address: Any) -> Waits:
        self._socket = new
        new.setblocking(False)
        new.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        new.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        number = new.connect_ex(address)
        if number in _IN_PROGRESS:
            yield _WRITE
            number = new.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number != 0:
            raise OSError(number, os.strerror(number))

    def _tunnel(self) -> Waits:
        host = f"[{self._target.host}]" if ":" in self._target.host else self._target.host
        host = f"{host}:{self._target.port}"
        authorization = self._target.proxy_authorization
        lines = [f"CONNECT {host} HTTP/1.1", f"Host: {host}"]
        if authorization is not None:
            lines.append(f"Proxy-Authorization: {authorization}")
        self.sock.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))  # a new socket has room
        answer = b""
        # What follows the empty line is not lost: the server waits for our TLS greeting.
        while b"\r\n\r\n" not in answer:
            piece = yield from self._receive_some()
            if not piece:
                raise _cut_short()
            answer += piece
        status_line = answer.partition(b"\r\n")[0].decode("latin-1")
        status = status_line.partition(" ")[2][:3]
        if not status.startswith("2"):
            passing = status.startswith("5") or status in ("408", "429")
            raise WireError(
                f"the proxy did not connect to {host}: {status_line[:200]}",
                "ConnectionError" if passing else "ProxyError",
            )

    def _start_tls(self, context: ssl.SSLContext) -> Waits:
        secure = context.wrap_socket(
            self.sock,
            server_hostname=self._target.host,
            do_handshake_on_connect=False,
            suppress_ragged_eofs=False,
        )
        self._socket = secure
        while True:
            try:
                secure.do_handshake()
                return
            except ssl.SSLWantReadError:
                yield _READ
            except ssl.SSLWantWriteError:
                yield _WRITE
            except (ssl.SSLCertVerificationError, ssl.SSLEOFError, ssl.SSLSyscallError):
                raise
            except ssl.SSLError as cause:
                raise _no_tls(self._target, cause) from cause

    def _send_at_once(self, request: Sequence[bytes]) -> Sequence[bytes | memoryview]:
        """Sends what can be sent without waiting, mostly all of it; gives the rest."""
        if len(request) > 1:
            if _GATHERS and not isinstance(self.sock, ssl.SSLSocket):
                return request
            request = [b"".join(request)]
        try:
            sent = self.sock.send(request[0])
        except _WOULD_BLOCK:
            return request
        return _without(request, sent)

    def _send(self, parts: Sequence[bytes | memoryview]) -> Waits:
        """Sends all, or as much as the server takes before it answers."""
        rest = list(parts)
        while rest and not self._is_cut:
            try:
                rest = _without(rest, self._send_some(rest))
            except ssl.SSLWantReadError:
                yield _READ
            except _WOULD_BLOCK:
                yield _EITHER
                self._is_cut = self._is_answered()

    def _is_answered(self) -> bool:
        """Whether an answer has begun; it is the last one where the request has not ended."""
        with contextlib.suppress(*_WOULD_BLOCK):
            piece = self.sock.recv(_RECEIVE_BYTES)
            if not piece:
                raise _cut_short()
            self._answer.feed(piece)
        return self._answer.status >= _FIRST_FINAL

    def _send_some(self, rest: list[bytes | memoryview]) -> int:
        if len(rest) == 1:
            return self.sock.send(rest[0])
        return self.sock.sendmsg(rest[:_MOST_PARTS])

    def _receive(self) -> Waits:
        answer = self._answer
        while not answer.complete:
            try:
                piece = self.sock.recv(_RECEIVE_BYTES)
            except _WOULD_BLOCK as wait:
                yield _WRITE if isinstance(wait, ssl.SSLWantWriteError) else _READ
                continue
            if piece:
                answer.feed(piece)
            else:
                answer.end()

    def _receive_some(self) -> Generator[int, None, bytes]:
        """What has arrived; nothing when the server has closed the connection."""
        while True:
            try:
                return self.sock.recv(_RECEIVE_BYTES)
            except ssl.SSLWantWriteError:
                yield _WRITE
            except _WOULD_BLOCK:
                yield _READ

    def _retire(self) -> None:
        """Puts the socket away, to be closed when the selector no longer watches it."""
        if self._socket is not None:
            self._retired.append(self._socket)
            self._socket = None


def _without(parts: Sequence[bytes | memoryview], size: int) -> list[bytes | memoryview]:
    """What is left of parts when so many bytes of them are gone."""
    for place, part in enumerate(parts):
        if size < len(part):
            return [memoryview(part)[size:], *parts[place + 1 :]]
        size -= len(part)
    return []


class _Answer:
    """An HTTP answer on its way in, one after the other; httptools calls the `on_…` methods."""

    __slots__ = ("complete", "fields", "keep_alive", "parser", "pieces", "started", "status")

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.begin()

    def begin(self) -> None:
        """Gets ready for the next one."""
        self.fields: list[tuple[bytes, bytes]] = []
        self.pieces: list[bytes] = []
        self.status = 0
        self.started = False
        self.complete = False
        self.keep_alive = False

    def feed(self, piece: bytes) -> None:
        self.started = True
        try:
            self.parser.feed_data(piece)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as cause:
            raise WireError(f"the answer is not HTTP: {cause}", "BadResponse") from cause

    def end(self) -> None:
        """The server has closed the connection: the end of a body of untold length."""
        if self.status == 0 or any(name.lower() in _TOLD_LENGTH for name, _ in self.fields):
            raise _cut_short()
        self.complete = True

    def on_message_begin(self) -> None:
        if self.complete:
            raise ValueError("it goes on behind its end")

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))

    def on_headers_complete(self) -> None:
        self.status = self.parser.get_status_code()

    def on_body(self, piece: bytes) -> None:
        self.pieces.append(piece)

    def on_message_complete(self) -> None:
        if self.status < _FIRST_FINAL:  # 100 Continue: the answer itself comes next
            self.fields.clear()
            self.status = 0
            return
        self.keep_alive = self.parser.should_keep_alive()
        self.complete = True


def _cut_short() -> ConnectionResetError:
    return ConnectionResetError("it was closed before the answer's end")


def _interrupted() -> InterruptedError:
    return InterruptedError("it was interrupted")


def _untrusted(target: Target, cause: ssl.SSLCertVerificationError) -> WireError:
    error = WireError(
        f"the certificate of {target.host}:{target.port} is not trusted: "
        f"{cause.verify_message.rstrip('.')}. {UNTRUSTED_ADVICE}",
        "TlsError",
    )
    error.__cause__ = cause
    return error


def _no_tls(target: Target, cause: ssl.SSLError) -> WireError:
    return WireError(
        f"{target.host}:{target.port} and this machine have no TLS in common: "
        f"{cause.reason or cause}. Check the scheme and port of 'aws.endpoint'.",
        "TlsError",
    )


def _broken(target: Target, cause: Exception, *, asked: bool) -> WireError:
    host, port = target.address
    code = "NoAnswer" if asked else "ConnectionError"
    error = WireError(f"the connection to {host}:{port} failed: {cause}", code)
    error.__cause__ = cause
    return error
