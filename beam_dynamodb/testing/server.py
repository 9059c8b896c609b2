"""DynamoDB's HTTP face on this machine: carries calls to a `FakeDynamoDB`, and faults to callers.

HTTP/1.1 on kept-alive connections, one event loop in a thread of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import socket
import ssl
import struct
import threading
import time
import zlib
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from types import TracebackType
from typing import Any, cast

import httptools
import orjson
from typing_extensions import Self, override

from beam_dynamodb.testing.attributes import Item, Refused
from beam_dynamodb.testing.faults import NO_FAULT, Faults, Plan, Verdict
from beam_dynamodb.testing.rules import FakeDynamoDB
from beam_dynamodb.testing.signatures import check_date, check_signature

__all__ = ["FakeServer", "Stats"]

_HEAD = (
    b"HTTP/1.1 %d %s\r\nServer: Server\r\nDate: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n"
    b"Connection: %s\r\nx-amzn-RequestId: FAKE%048d\r\n%s\r\n"
)
_AMZ_JSON = b"application/x-amz-json-1.0"
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 seconds; close() then sends RST

_DYNAMODB = "com.amazonaws.dynamodb.v20120810"
_CORAL = "com.amazon.coral.service"
_NAMESPACES = {
    "ValidationException": "com.amazon.coral.validate",
    "ThrottlingException": "com.amazon.coral.availability",
    "ServiceUnavailable": "com.amazon.coral.availability",
    "AccessDeniedException": _CORAL,
    "ExpiredTokenException": _CORAL,
    "IncompleteSignatureException": _CORAL,
    "InvalidSignatureException": _CORAL,
    "MissingAuthenticationTokenException": _CORAL,
    "RequestExpired": _CORAL,
    "SerializationException": _CORAL,
    "UnknownOperationException": _CORAL,
    "UnrecognizedClientException": _CORAL,
}


@dataclass(slots=True)
class Stats:
    """What a server has seen.

    Attributes:
        calls: Requests by operation, those that met a fault included.
        items: Puts and deletes asked for in all requests whose body was read.
        connections: Connections accepted.
        in_flight: Calls begun and not answered yet.
        max_in_flight: The most calls in flight at one time.
        bytes_received: Bytes of requests, as they came in (with TLS, decrypted).
        bytes_sent: Bytes of answers.
        delayed: Writes that shall happen later and did not yet (`Delayed`).
    """

    calls: Counter[str] = field(default_factory=Counter)
    items: int = 0
    connections: int = 0
    in_flight: int = 0
    max_in_flight: int = 0
    bytes_received: int = 0
    bytes_sent: int = 0
    delayed: int = 0


@dataclass(slots=True)
class _Request:
    verdict: Verdict
    operation: str
    method: str
    path: str
    headers: dict[bytes, bytes]
    keep_alive: bool
    body: bytes = b""

    def text_headers(self) -> dict[str, str]:
        return {k.decode("latin-1"): v.decode("latin-1") for k, v in self.headers.items()}


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: bytes
    content_type: bytes = _AMZ_JSON


class _Service:
    """From a request to an answer and a plan for its delivery."""

    def __init__(
        self,
        db: FakeDynamoDB,
        faults: Faults,
        latency: float,
        credentials: Mapping[str, str] | None,
        clock: Callable[[], float],
    ) -> None:
        self.db = db
        self._clock = clock
        self.faults = faults
        self.latency = latency
        self.credentials = credentials
        self.stats = Stats()
        self._answers = 0
        self._second = 0
        self._date = b""

    def answer(self, request: _Request) -> tuple[_Answer, Plan]:
        if request.method == "GET":
            return self._page(request.path), NO_FAULT
        try:
            content = _json_object(request.body)
        except Refused as refusal:
            return _error(refusal), NO_FAULT
        keys = self._keys(request, content)
        self.stats.items += len(keys)
        plan = request.verdict.plan(keys)
        try:
            self._authenticate(request, plan)
            return self._carried_out(request, content, plan), plan
        except Refused as refusal:
            return _error(refusal), plan

    def _keys(self, request: _Request, content: dict[str, Any]) -> list[tuple[str, Item] | None]:
        if request.verdict.needs_keys:
            return list(self.db.keys(request.operation, content))
        return [None] * _writes_in(request.operation, content)

    def _authenticate(self, request: _Request, plan: Plan) -> None:
        if self.credentials is None and plan.clock_skew is None:
            return
        headers = request.text_headers()
        if self.credentials is not None:
            check_signature(request.method, request.path, headers, request.body, self.credentials)
        check_date(headers, self._clock() + (plan.clock_skew or 0.0), plan.skew_code)

    def _carried_out(self, request: _Request, content: dict[str, Any], plan: Plan) -> _Answer:
        if plan.applied_after:
            self.stats.delayed += 1
            loop = asyncio.get_running_loop()
            loop.call_later(plan.applied_after, self._late, request, content, plan)
            answer: dict[str, Any] = {}
        elif plan.applied:
            answer = self._call(request, content, plan)
        if plan.refusal is not None:
            return _error(plan.refusal, html=plan.html)
        return _Answer(200, orjson.dumps(answer if plan.applied else {}))

    def _call(self, request: _Request, content: dict[str, Any], plan: Plan) -> dict[str, Any]:
        answer = self.db.call(
            request.operation,
            content,
            now=self._clock(),
            wire_bytes=len(request.body),
            held=plan.held,
        )
        if plan.by_arn and answer.get("UnprocessedItems"):
            left = answer["UnprocessedItems"]
            answer["UnprocessedItems"] = {self.db.arn(name): left[name] for name in left}
        return answer

    def _late(self, request: _Request, content: dict[str, Any], plan: Plan) -> None:
        with contextlib.suppress(Refused):
            self._call(request, content, plan)
        self.stats.delayed -= 1

    def head(self, answer: _Answer, plan: Plan, *, keep_alive: bool) -> bytes:
        self._answers += 1
        crc = zlib.crc32(answer.body) ^ plan.wrong_crc32
        extra = b"x-amz-crc32: %d\r\n" % crc if answer.content_type == _AMZ_JSON else b""
        for name, value in plan.headers.items():
            extra += f"{name}: {value}\r\n".encode("latin-1")
        return _HEAD % (
            answer.status,
            HTTPStatus(answer.status).phrase.encode(),
            self._http_date(plan.clock_skew or 0.0),
            answer.content_type,
            len(answer.body),
            b"keep-alive" if keep_alive else b"close",
            self._answers,
            extra,
        )

    def _http_date(self, skew: float) -> bytes:
        second = int(self._clock() + skew)
        if second != self._second:
            self._second, self._date = second, formatdate(second, usegmt=True).encode()
        return self._date

    def _page(self, path: str) -> _Answer:
        if path == "/":
            return _Answer(200, b"healthy: fake DynamoDB\n", b"text/plain")
        if path == "/stats":
            stats = {name: getattr(self.stats, name) for name in Stats.__slots__}
            stats["accepted"] = self.db.accepted
            stats["faults"] = self.faults.counts
            return _Answer(200, orjson.dumps(stats), b"application/json")
        if path == "/writes":
            lines = (_log_line(write) for write in self.db.writes)
            return _Answer(200, b"".join(lines), b"application/jsonl")
        return _Answer(404, b"Here are /stats and /writes.\n", b"text/plain")


class _Connection(asyncio.Protocol):
    """One client's connection: requests in, answers out, one after the other."""

    def __init__(self, service: _Service, open_connections: set[_Connection]) -> None:
        self._service = service
        self._open = open_connections
        self._waiting: deque[_Request] = deque()
        self._begun = 0
        self._parser: Any = httptools.HttpRequestParser(self)
        self._path = ""
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._request: _Request | None = None

    # --- what asyncio calls ----------------------------------------------------------------

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._open.add(self)
        self._service.stats.connections += 1

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._open.discard(self)
        self._service.stats.in_flight -= self._begun
        self._begun = 0
        self._waiting.clear()

    @override
    def data_received(self, data: bytes) -> None:
        self._service.stats.bytes_received += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()

    # --- what httptools calls --------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._path, self._headers, self._body, self._request = "", {}, [], None

    def on_url(self, url: bytes) -> None:
        self._path += url.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        operation = self._headers.get(b"x-amz-target", b"").rpartition(b".")[2].decode("latin-1")
        verdict = self._service.faults.next(operation)
        self._request = _Request(
            verdict,
            operation,
            self._parser.get_method().decode("latin-1"),
            self._path,
            self._headers,
            self._parser.should_keep_alive(),
        )
        self._count(operation)
        if verdict.unread:
            verdict.plan(())
            self.reset()

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        request = self._request
        if request is None or self._transport.is_closing():
            return
        request.body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._waiting.append(request)
        if len(self._waiting) == 1:
            self._serve(request)

    def _count(self, operation: str) -> None:
        stats = self._service.stats
        if operation:
            stats.calls[operation] += 1
        self._begun += 1
        stats.in_flight += 1
        stats.max_in_flight = max(stats.max_in_flight, stats.in_flight)

    # --- answers ---------------------------------------------------------------------------

    def _serve(self, request: _Request) -> None:
        answer, plan = self._service.answer(request)
        seconds = plan.answered_after + self._service.latency
        if seconds:
            loop = asyncio.get_running_loop()
            loop.call_later(seconds, self._deliver, request, answer, plan)
        else:
            self._deliver(request, answer, plan)

    def _deliver(self, request: _Request, answer: _Answer, plan: Plan) -> None:
        if self._transport.is_closing() or plan.ending == "silence":
            return
        if plan.ending == "reset":
            self.reset()
            return
        head = self._service.head(answer, plan, keep_alive=request.keep_alive)
        whole = plan.ending == "answer"
        body = answer.body if whole else answer.body[: len(answer.body) // 2]
        # Counted before it is sent: whoever has the answer may ask for the stats.
        self._service.stats.bytes_sent += len(head) + len(body)
        if whole:
            self._begun -= 1
            self._service.stats.in_flight -= 1
        self._transport.write(head + body)
        if plan.ending == "half-reset":
            # Not at once: a reset may overtake bytes that the client has not read yet.
            asyncio.get_running_loop().call_later(0.02, self.reset)
        elif not whole or not request.keep_alive:
            self._transport.close()
        else:
            self._next()

    def _next(self) -> None:
        self._waiting.popleft()
        if self._waiting:
            self._serve(self._waiting[0])

    def reset(self) -> None:
        """Ends the connection with RST."""
        sock = self._transport.get_extra_info("socket")
        if sock is not None and not self._transport.is_closing():
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.abort()


class FakeServer:
    """A `FakeDynamoDB` behind a local HTTP endpoint, for tests of whole pipelines.

    Any AWS client can talk to it. Use it as a context manager: the port is open from `__enter__`
    to `__exit__`, which resets the connections that are left. `GET /stats` and `GET /writes`
    (JSON lines) tell another process what `stats()` and `db.writes` tell this one.

        db = FakeDynamoDB()
        db.create_table("user_behavior", {"user_id": "N"})
        faults = Faults.random(7, {ServerError(): 0.02, Reset("after"): 0.01}, unprocessed=0.1)
        with FakeServer(db, faults=faults) as server:
            run_my_pipeline(endpoint=server.endpoint)
        assert db.items("user_behavior") == expected

    The calls run on the server's thread: look at `db` when none is on its way.

    Attributes:
        db: The service behind it.
        faults: What goes wrong.
        port: The TCP port, once it is open.
        endpoint: The URL for clients, once it is open.
    """

    def __init__(
        self,
        db: FakeDynamoDB,
        *,
        faults: Faults | None = None,
        tls: tuple[str, str] | None = None,
        latency: float = 0.0,
        credentials: Mapping[str, str] | None = None,
        port: int = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Opens nothing yet.

        Args:
            db: The service behind it.
            faults: What goes wrong; nothing by default.
            tls: The paths of a certificate chain and its key in PEM, for https.
            latency: Seconds by which every answer is late.
            credentials: Secret keys by access key ID. When given, each request must carry a
                valid signature (SigV4) of one of them, not older than five minutes; else any
                request is taken.
            port: The TCP port on 127.0.0.1; 0 takes a free one.
            clock: The time in seconds since 1970, for the log, the Date header and signatures.
        """
        self.db = db
        self.faults = faults or Faults()
        self.port = port
        self._tls = tls
        self._service = _Service(db, self.faults, latency, credentials, clock)
        self._connections: set[_Connection] = set()
        self._running: tuple[asyncio.AbstractEventLoop, asyncio.Server, threading.Thread] | None
        self._running = None

    @property
    def endpoint(self) -> str:
        """The URL for clients."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def stats(self) -> Stats:
        """What the server has seen up to now: a copy."""
        stats = self._service.stats
        return dataclasses.replace(stats, calls=Counter(stats.calls))

    def start(self) -> None:
        """Opens the port: a free one the first time, the same one after a `close`.

        Raises:
            OSError: The port is taken, or the certificate cannot be read.
        """
        loop = asyncio.new_event_loop()
        try:
            server = loop.run_until_complete(self._listen(loop))
        except BaseException:
            loop.close()
            raise
        self.port = server.sockets[0].getsockname()[1]
        thread = threading.Thread(target=loop.run_forever, name="FakeServer", daemon=True)
        self._running = loop, server, thread
        thread.start()

    async def _listen(self, loop: asyncio.AbstractEventLoop) -> asyncio.Server:
        context = None
        if self._tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self._tls)
        return await loop.create_server(
            lambda: _Connection(self._service, self._connections),
            "127.0.0.1",
            self.port,
            ssl=context,
            backlog=1024,
        )

    def close(self) -> None:
        """Closes the port, resets what is connected, and forgets delayed writes."""
        if self._running is None:
            return
        loop, server, thread = self._running
        self._running = None
        loop.call_soon_threadsafe(self._shut, loop, server)
        thread.join()
        loop.close()
        self._service.stats.delayed = 0

    def _shut(self, loop: asyncio.AbstractEventLoop, server: asyncio.Server) -> None:
        server.close()
        for connection in list(self._connections):
            connection.reset()
        loop.call_soon(loop.stop)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refused("The body is no JSON.", code="SerializationException") from error
    if type(content) is not dict:
        raise Refused("The body is no JSON object.", code="SerializationException")
    return content


def _writes_in(operation: str, content: Mapping[str, Any]) -> int:
    if operation in ("PutItem", "DeleteItem"):
        return 1
    tables = content.get("RequestItems") if operation == "BatchWriteItem" else None
    if not isinstance(tables, dict):
        return 0
    return sum(len(asked) for asked in tables.values() if isinstance(asked, list))


def _error(refusal: Refused, *, html: bool = False) -> _Answer:
    if html:
        page = f"<html><body><b>Http/1.1 {refusal.status}</b></body></html>"
        return _Answer(refusal.status, page.encode(), b"text/html")
    body: dict[str, Any] = {"message": refusal.message, **refusal.extra}
    if not refusal.code.isdigit():
        namespace = _NAMESPACES.get(refusal.code, _DYNAMODB)
        body = {"__type": f"{namespace}#{refusal.code}", **body}
    return _Answer(refusal.status, orjson.dumps(body))


def _log_line(write: Any) -> bytes:
    return orjson.dumps(
        {
            "sequence": write.sequence,
            "time": write.time,
            "table": write.table,
            "key": write.key,
            "item": write.item,
        },
        option=orjson.OPT_APPEND_NEWLINE,
    )
