"""HTTP requests on kept-alive connections, many in flight, all driven by the caller's own thread.

Knows sockets, TLS, proxies and HTTP/1.1, and nothing of what DynamoDB means by a request. There
are no threads: each connection is a generator that says what it waits for, and `Wire.poll` lets
those run whose socket is ready.
"""

from __future__ import annotations

import base64
import errno
import os
import selectors
import socket
import ssl
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

import httptools

__all__ = ["Reply", "Target", "Wire", "WireError"]

_READ = selectors.EVENT_READ
_WRITE = selectors.EVENT_WRITE
_RECEIVE_BYTES = 65_536
_WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

Waits = Generator[int, None, None]
"""A step of a conversation: yields the events its socket waits for."""


class WireError(Exception):
    """A request got no answer.

    Attributes:
        code: `ConnectionError`, `ConnectTimeout`, `ReadTimeout`, `BadResponse`, `TlsError` or
            `ProxyError`.
    """

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of one request.

    Attributes:
        tag: What `Wire.send` was given with the request.
        status: The HTTP status; 0 where there was no answer.
        headers: The answer's headers, names in lower case.
        body: The answer's body as received.
        error: Why there was no answer, else None.
        seconds: From sending the request to the end of the answer.
    """

    tag: object
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    error: WireError | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Target:
    """Where connections lead, and how.

    Attributes:
        host: The server's name.
        port: Its port.
        tls: The TLS context, or None for plain HTTP.
        proxy: The URL of an HTTP proxy in between, or None.
    """

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    proxy: str | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to connect to: the server's own, or the proxy's."""
        if self.proxy is None:
            return self.host, self.port
        parts = urlsplit(self.proxy)
        return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)

    @property
    def proxy_authorization(self) -> str | None:
        """The Proxy-Authorization header's value, if the proxy's URL holds a user."""
        parts = urlsplit(self.proxy or "")
        if not parts.username:
            return None
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        return "Basic " + base64.b64encode(user.encode()).decode()


class Wire:
    """A pool of connections to one target, each with at most one request on its way.

    Not thread-safe: it belongs to the thread that polls it. `send` never waits; `poll` waits at
    most as long as it is told.
    """

    def __init__(
        self,
        target: Target,
        *,
        max_connections: int,
        read_timeout: float,
        connect_timeout: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Opens nothing yet.

        Args:
            target: Where to connect to.
            max_connections: The most connections at once (`sink.http-client.max-concurrency`).
            read_timeout: Seconds a read may take (`sink.http-client.read-timeout`).
            connect_timeout: Seconds until a connection, TLS included, must stand.
            clock: Seconds that only go forward.
        """
        self.target = target
        self._max_connections = max_connections
        self._timeouts = (connect_timeout, read_timeout)
        self._clock = clock
        self._selector = selectors.DefaultSelector()
        self._idle: list[_Connection] = []
        self._busy: dict[_Connection, None] = {}
        self._done: list[Reply] = []
        self._next_check = 0.0

    @property
    def in_flight(self) -> int:
        """Requests sent whose reply `poll` has not returned yet."""
        return len(self._busy) + len(self._done)

    @property
    def has_room(self) -> bool:
        """Whether one more request may be sent now."""
        return bool(self._idle) or len(self._busy) < self._max_connections

    def send(self, head: bytes, body: bytes, tag: object) -> None:
        """Sends a request on a free connection, or on a new one.

        Args:
            head: Request line and headers, with the empty line at their end.
            body: The body, whose length the head told.
            tag: Comes back with the reply.
        """
        connection = self._idle.pop() if self._idle else _Connection(self.target, self._timeouts)
        connection.begin(head + body, tag, self._clock())
        self._busy[connection] = None
        self._advance(connection)

    def poll(self, timeout: float) -> list[Reply]:
        """Returns the replies that are there, waiting up to `timeout` seconds for the first one."""
        if self._done:
            timeout = 0.0
        elif self._busy:
            timeout = min(timeout, max(0.0, self._next_check - self._clock()))
        if not self._selector.get_map():
            # Some platforms' selectors return at once when there is nothing to select from.
            time.sleep(timeout)
        else:
            for key, _ in self._selector.select(timeout):
                self._advance(key.data)
        self._expire()
        done, self._done = self._done, []
        return done

    def close(self) -> None:
        """Closes all connections; requests on their way get no reply. May be called twice."""
        for connection in [*self._busy, *self._idle]:
            self._drop(connection)
        self._busy.clear()
        self._idle.clear()
        self._selector.close()

    def _advance(self, connection: _Connection) -> None:
        """Lets a connection go on until it has to wait, or is done with its request."""
        if connection not in self._busy:  # an idle one became readable: the server hung up,
            if not connection.is_open():  # or sent a TLS session ticket
                self._idle.remove(connection)
                self._drop(connection)
            return
        reply = connection.step(self._clock)
        if reply is None:
            self._watch(connection)
            self._next_check = min(self._next_check, connection.deadline)
            return
        del self._busy[connection]
        self._done.append(reply)
        if connection.reusable:
            self._idle.append(connection)
            self._watch(connection)
        else:
            self._drop(connection)

    def _watch(self, connection: _Connection) -> None:
        """Registers what the connection waits for, if it is not what it waited for before."""
        if connection.watched == (connection.socket, connection.events):
            return
        previous = connection.watched[0]
        if previous is not None and previous is not connection.socket:
            self._forget(connection)
        if connection.watched[0] is None:
            self._selector.register(connection.socket, connection.events, connection)
        else:
            self._selector.modify(connection.socket, connection.events, connection)
        connection.watched = (connection.socket, connection.events)

    def _forget(self, connection: _Connection) -> None:
        watched = connection.watched[0]
        if watched is not None:
            self._selector.unregister(watched)
            connection.watched = (None, 0)
        connection.close_retired()

    def _drop(self, connection: _Connection) -> None:
        self._forget(connection)
        connection.close()

    def _expire(self) -> None:
        """Ends the requests whose time is over. Looks at all of them only when one may be."""
        now = self._clock()
        if now < self._next_check:
            return
        for connection in [each for each in self._busy if each.deadline <= now]:
            del self._busy[connection]
            self._done.append(connection.time_out(now))
            self._drop(connection)
        self._next_check = min((each.deadline for each in self._busy), default=now + 1.0)


class _Connection:
    """One connection: the request on it, and how far it got."""

    def __init__(self, target: Target, timeouts: tuple[float, float]) -> None:
        self._target = target
        self._connect_timeout, self._read_timeout = timeouts
        self._socket: socket.socket | None = None
        self._retired: list[socket.socket] = []
        self._steps: Waits | None = None
        self._answer = _Answer()
        self.events = 0
        self.watched: tuple[socket.socket | None, int] = (None, 0)
        self.deadline = 0.0
        self.reusable = False

    @property
    def socket(self) -> socket.socket:
        assert self._socket is not None  # noqa: S101 - set by the first step of every request
        return self._socket

    def begin(self, request: bytes, tag: object, now: float) -> None:
        self._tag = tag
        self._started = now
        self._connected = self._socket is not None
        self.deadline = now + (self._read_timeout if self._connected else self._connect_timeout)
        self._answer = _Answer()
        self.reusable = False
        self._steps = self._exchange(request)

    def step(self, clock: Callable[[], float]) -> Reply | None:
        """Goes on as far as possible; the reply when the exchange is over."""
        assert self._steps is not None  # noqa: S101 - begin() came before
        try:
            self.events = next(self._steps)
        except StopIteration:
            return self._reply(clock())
        except WireError as error:
            return self._failed(error, clock())
        except ssl.SSLCertVerificationError as cause:
            return self._failed(_untrusted(self._target, cause), clock())
        except (OSError, ssl.SSLError) as cause:
            return self._failed(_broken(self._target, cause), clock())
        if self._connected:
            self.deadline = clock() + self._read_timeout
        return None

    def time_out(self, now: float) -> Reply:
        if self._connected:
            text, code, limit = "answered nothing", "ReadTimeout", self._read_timeout
        else:
            text, code, limit = "could not be reached", "ConnectTimeout", self._connect_timeout
        host, port = self._target.address
        return self._failed(WireError(f"{host}:{port} {text} within {limit:g} s", code), now)

    def is_open(self) -> bool:
        """Whether the server still holds an idle connection open."""
        try:
            self.socket.recv(1)
        except _WOULD_BLOCK:
            return True
        except OSError:
            pass
        return False  # the end of the stream, or bytes that nobody asked for

    def close_retired(self) -> None:
        for each in self._retired:
            each.close()
        self._retired.clear()

    def close(self) -> None:
        self.close_retired()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _reply(self, now: float) -> Reply:
        answer = self._answer
        self.events = _READ
        self.reusable = answer.keep_alive
        return Reply(
            self._tag,
            answer.status,
            answer.headers,
            b"".join(answer.pieces),
            None,
            now - self._started,
        )

    def _failed(self, error: WireError, now: float) -> Reply:
        return Reply(self._tag, error=error, seconds=now - self._started)

    # --- the conversation, one step at a time -------------------------------------------

    def _exchange(self, request: bytes) -> Waits:
        reused = self._connected
        if not reused:
            yield from self._open()
        try:
            yield from self._send(request)
            yield from self._receive()
        except OSError:
            # A server may close a kept-alive connection just when the next request goes out.
            if not reused or self._answer.started:
                raise
            self._retire()
            yield from self._open()
            yield from self._send(request)
            yield from self._receive()

    def _open(self) -> Waits:
        self._connected = False
        yield from self._connect()
        if self._target.proxy is not None and self._target.tls is not None:
            yield from self._tunnel()
        if self._target.tls is not None:
            yield from self._start_tls(self._target.tls)
        self._connected = True

    def _connect(self) -> Waits:
        failure: OSError | None = None
        host, port = self._target.address
        for family, kind, protocol, _, address in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        ):
            self._retire()
            self._socket = socket.socket(family, kind, protocol)
            self._socket.setblocking(False)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if self._socket.connect_ex(address) not in (0, *_IN_PROGRESS):
                continue
            yield _WRITE
            number = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if number == 0:
                return
            failure = OSError(number, os.strerror(number))
        raise failure or OSError(f"no address of {host} answers")

    def _tunnel(self) -> Waits:
        host = f"{self._target.host}:{self._target.port}"
        authorization = self._target.proxy_authorization
        lines = [f"CONNECT {host} HTTP/1.1", f"Host: {host}"]
        if authorization is not None:
            lines.append(f"Proxy-Authorization: {authorization}")
        yield from self._send("\r\n".join([*lines, "", ""]).encode("latin-1"))
        answer = b""
        while b"\r\n\r\n" not in answer:
            # Byte by byte would be exact; the server speaks first only after our TLS greeting.
            piece = yield from self._receive_some()
            answer += piece
        status = answer.split(b" ", 2)[1:2]
        if status != [b"200"]:
            line = answer.split(b"\r\n", 1)[0].decode("latin-1")
            raise WireError(f"the proxy refused to connect to {host}: {line}", "ProxyError")

    def _start_tls(self, context: ssl.SSLContext) -> Waits:
        plain = self.socket
        secure = context.wrap_socket(
            plain, server_hostname=self._target.host, do_handshake_on_connect=False
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

    def _send(self, data: bytes) -> Waits:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self.socket.send(rest) :]
            except ssl.SSLWantReadError:
                yield _READ
            except _WOULD_BLOCK:
                yield _WRITE

    def _receive(self) -> Waits:
        answer = self._answer
        while not answer.complete:
            piece = yield from self._receive_some()
            answer.feed(piece)

    def _receive_some(self) -> Generator[int, None, bytes]:
        while True:
            try:
                piece = self.socket.recv(_RECEIVE_BYTES)
            except ssl.SSLWantWriteError:
                yield _WRITE
            except _WOULD_BLOCK:
                yield _READ
            else:
                if not piece:
                    raise ConnectionResetError("the connection was closed before the answer's end")
                return piece

    def _retire(self) -> None:
        """Puts the socket away, to be closed when the selector no longer watches it."""
        if self._socket is not None:
            self._retired.append(self._socket)
            self._socket = None


class _Answer:
    """An HTTP answer on its way in; httptools calls the `on_…` methods."""

    __slots__ = ("complete", "headers", "keep_alive", "parser", "pieces", "started", "status")

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.headers: dict[str, str] = {}
        self.pieces: list[bytes] = []
        self.status = 0
        self.started = False
        self.complete = False
        self.keep_alive = False

    def feed(self, piece: bytes) -> None:
        self.started = True
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserError as cause:
            raise WireError(f"the answer is not HTTP: {cause}", "BadResponse") from cause

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.status = self.parser.get_status_code()

    def on_body(self, piece: bytes) -> None:
        self.pieces.append(piece)

    def on_message_complete(self) -> None:
        if self.status < 200:  # 100 Continue: the answer itself comes next
            self.headers.clear()
            return
        self.keep_alive = self.parser.should_keep_alive()
        self.complete = True


_IN_PROGRESS = frozenset([errno.EINPROGRESS, errno.EWOULDBLOCK])
"""A connection is being made (the second is Windows' word for it)."""


def _untrusted(target: Target, cause: ssl.SSLCertVerificationError) -> WireError:
    error = WireError(
        f"the certificate of {target.host}:{target.port} is not trusted: {cause.verify_message}. "
        "Set AWS_CA_BUNDLE to the file of its authority, or, for a test endpoint only, "
        "'aws.trust.all.certificates'.",
        "TlsError",
    )
    error.__cause__ = cause
    return error


def _broken(target: Target, cause: OSError) -> WireError:
    host, port = target.address
    error = WireError(f"the connection to {host}:{port} failed: {cause}", "ConnectionError")
    error.__cause__ = cause
    return error
