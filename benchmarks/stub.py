"""A DynamoDB that answers at once, or late, and only counts: `python -m benchmarks.stub`.

It runs in a process of its own, so that none of its CPU time is charged to who writes to it, and
does so little per request that no client waits for it.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import re
import select
import selectors
import socket
import ssl
import subprocess
import sys
import time
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.rows import KEY, TABLE

__all__ = ["Counts", "Stub", "stub"]

_HEAD_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: *(\d+)")
_OPERATION = re.compile(rb"DynamoDB_20120810\.(\w+)")
_NAME = b'"%b"' % KEY.encode()
_KEY = re.compile(rb'%b: ?\{"N": ?"(\d+)"' % _NAME)
_CAPACITY = b'"ReturnConsumedCapacity"'
_END = 256
"""Bytes at each end of a body where what is no item stands."""
_LARGE = 128 * 1024
"""Bytes of a body in which few quotes stand for its size: its keys are found by these at once."""
_MOST_KEPT = 512 * 1024 * 1024
"""Bytes of other bodies that are kept until the end, when their keys are counted: to count them at
once would take most of the time that the stub takes from whom it shares a machine with."""

_TABLE = {
    "TableName": TABLE,
    "TableStatus": "ACTIVE",
    "KeySchema": [{"AttributeName": KEY, "KeyType": "HASH"}],
    "AttributeDefinitions": [{"AttributeName": KEY, "AttributeType": "N"}],
}


@dataclass(frozen=True, slots=True)
class Counts:
    """What a stub has seen.

    Attributes:
        requests: Calls of BatchWriteItem and PutItem.
        items: Items in them.
        keys: How many distinct keys these had.
        cpu_seconds: What the stub's own process had used when it was asked.
    """

    requests: int
    items: int
    keys: int
    cpu_seconds: float


class _Table:
    """Counts what is written, and answers."""

    def __init__(self) -> None:
        self._requests = 0
        self._items = 0
        self._keys: set[bytes] = set()
        self._kept: list[bytearray] = []
        self._kept_bytes = 0
        self._answers: dict[tuple[int, bool], bytes] = {}

    def answer(self, operation: bytes, data: bytearray, start: int, end: int) -> bytes:
        """Carries out one call, whose body is a part of the data; the whole HTTP answer."""
        if operation in (b"BatchWriteItem", b"PutItem"):
            return self._wrote(data, start, end)
        if operation == b"DescribeTable":
            return _http(200, {"Table": _TABLE})
        kind = "com.amazon.coral.service#UnknownOperationException"
        return _http(400, {"__type": kind, "message": f"the stub has no {operation.decode()}"})

    def counts(self) -> Counts:
        cpu_seconds = time.process_time()
        for body in self._kept:
            self._keys.update(_KEY.findall(body))
        self._kept.clear()
        return Counts(self._requests, self._items, len(self._keys), cpu_seconds)

    def _wrote(self, data: bytearray, start: int, end: int) -> bytes:
        if end - start > _LARGE or self._kept_bytes > _MOST_KEPT:
            keys = list(_keys_in(data, start, end))
            self._keys.update(keys)
            items = len(keys)
        else:
            self._kept_bytes += end - start
            self._kept.append(data[start:end])
            items = data.count(_NAME, start, end)
        self._requests += 1
        self._items += items
        first = data.find(_CAPACITY, start, min(start + _END, end))
        asked = (items, first >= 0 or data.find(_CAPACITY, max(start, end - _END), end) >= 0)
        if asked not in self._answers:
            self._answers[asked] = _http(200, _written(*asked))
        return self._answers[asked]


def _keys_in(data: bytearray, start: int, end: int) -> Iterator[bytes]:
    """The key of each item: from quote to quote, tenfold quicker than to look for the name."""
    place = data.find(b'"', start, end)
    while place >= 0:
        if data.startswith(_NAME, place) and (found := _KEY.match(data, place, end)):
            yield found[1]
        place = data.find(b'"', place + 1, end)


def _written(items: int, with_capacity: bool) -> dict[str, Any]:
    answer: dict[str, Any] = {"UnprocessedItems": {}}
    if with_capacity:
        answer["ConsumedCapacity"] = [{"TableName": TABLE, "CapacityUnits": float(items)}]
    return answer


def _http(status: int, content: dict[str, Any]) -> bytes:
    body = json.dumps(content, separators=(",", ":")).encode()
    return (
        b"HTTP/1.1 %d %b\r\nServer: stub\r\nContent-Type: application/x-amz-json-1.0\r\n"
        b"Content-Length: %d\r\nConnection: keep-alive\r\nx-amzn-RequestId: STUB\r\n"
        b"x-amz-crc32: %d\r\n\r\n%b"
    ) % (status, b"OK" if status == 200 else b"Bad Request", len(body), zlib.crc32(body), body)


class _Connection:
    """One client: what has come of its request so far.

    What it sends is read into one place, again and again: with a new one for each large request,
    most of the stub's time, and of the memory that it shares with others, would go into that.
    """

    __slots__ = ("data", "needed", "secure", "size", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.secure = isinstance(sock, ssl.SSLSocket)
        self.data = bytearray(_LARGE)
        self.size = 0
        self.needed = 0

    def receive(self) -> bool:
        """Takes in what is there; whether the client is still there."""
        size = self.size
        try:
            self._receive_once()
            while self.secure and self.sock.pending():  # type: ignore[attr-defined]
                self._receive_once()
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except OSError:
            return False
        return self.size > size

    def _receive_once(self) -> None:
        if not self.size:  # as mostly
            self.size = self.sock.recv_into(self.data)
            return
        if self.size == len(self.data):
            self.data += bytes(max(self.needed - self.size, self.size))
        with memoryview(self.data) as data, data[self.size :] as free:
            self.size += self.sock.recv_into(free)

    def requests(self) -> Iterator[tuple[bytes, bytearray, int, int]]:
        """Of each request that is complete, its operation, and where its body is."""
        while self.size >= self.needed:
            end = self.data.find(_HEAD_END, 0, self.size)
            if end < 0:
                return
            length = _LENGTH.search(self.data, 0, end + 2)
            start = end + len(_HEAD_END)
            self.needed = start + (int(length[1]) if length else 0)
            if self.size < self.needed:
                return
            found = _OPERATION.search(self.data, 0, end)
            yield bytes(found[1]) if found else b"nothing", self.data, start, self.needed
            self.size -= self.needed
            if self.size:
                self.data[: self.size] = self.data[self.needed : self.needed + self.size]
            self.needed = 0


class _Server:
    """One thread, one selector. Ends when its standard input does."""

    def __init__(self, late_seconds: float, certificate: str | None) -> None:
        self.table = _Table()
        self._late = late_seconds
        self._due: deque[tuple[float, _Connection, bytes]] = deque()
        self._tls: ssl.SSLContext | None = None
        if certificate is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(certificate)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._listener.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(sys.stdin, selectors.EVENT_READ)

    @property
    def url(self) -> str:
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://localhost:{self._listener.getsockname()[1]}"

    def serve(self) -> None:
        while True:
            for key, _ in self._ready():
                if key.data is not None:
                    self._read(key.data)
                elif key.fileobj is self._listener:
                    self._accept()
                else:
                    return
            self._answer_due()

    def _ready(self) -> list[tuple[selectors.SelectorKey, int]]:
        """The connections from which something came, if any did before an answer is due."""
        if not self._due:
            return self._selector.select()
        # select is told microseconds, epoll milliseconds: an answer would be late by half of one.
        # To look at each connection takes it as long as all the rest, so it looks at epoll.
        timeout = max(0.0, self._due[0][0] - time.monotonic())
        select.select([self._selector], [], [], timeout)
        return self._selector.select(0)

    def _accept(self) -> None:
        sock, _ = self._listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        if self._tls is not None:
            sock = self._tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        self._selector.register(sock, selectors.EVENT_READ, _Connection(sock))

    def _read(self, connection: _Connection) -> None:
        if not connection.receive():
            self._selector.unregister(connection.sock)
            connection.sock.close()
            return
        for request in connection.requests():
            answer = self.table.answer(*request)
            if self._late:
                self._due.append((time.monotonic() + self._late, connection, answer))
            else:
                connection.sock.sendall(answer)

    def _answer_due(self) -> None:
        while self._due and self._due[0][0] <= time.monotonic():
            _, connection, answer = self._due.popleft()
            with contextlib.suppress(OSError):  # it may have gone
                connection.sock.sendall(answer)


class Stub:
    """A running stub, seen from the process that started it.

    Attributes:
        url: Where it is.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        assert process.stdout is not None
        self.url = process.stdout.readline().strip()
        if not self.url:
            raise RuntimeError("the stub endpoint did not start")

    def counts(self) -> Counts:
        """Ends it; what it has seen."""
        told, _ = self._process.communicate(timeout=30)
        return Counts(**json.loads(told))


@contextlib.contextmanager
def stub(*, late_ms: float = 0, certificate: Path | None = None) -> Iterator[Stub]:
    """Runs a stub.

    Args:
        late_ms: How long each answer waits, in ms.
        certificate: A file with key and certificate; TLS is spoken if it is given.
    """
    command = [sys.executable, "-m", "benchmarks.stub", f"--late-ms={late_ms}"]
    if certificate is not None:
        command.append(f"--certificate={certificate}")
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=_ROOT
    )
    try:
        yield Stub(process)
    finally:
        process.kill()
        process.communicate()


_ROOT = Path(__file__).parents[1]


def main(argv: Sequence[str] | None = None) -> None:
    """Prints its URL, serves until standard input ends, prints what it has seen."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stub", description=__doc__)
    parser.add_argument("--late-ms", type=float, default=0, help="how long each answer waits")
    parser.add_argument("--certificate", help="a PEM file with key and certificate: speak TLS")
    options = parser.parse_args(argv)
    server = _Server(options.late_ms / 1000, options.certificate)
    print(server.url, flush=True)
    gc.freeze()
    gc.disable()  # nothing here makes cycles
    server.serve()
    with contextlib.suppress(BrokenPipeError):  # nobody wants to know any more
        print(json.dumps(asdict(server.table.counts())), flush=True)


if __name__ == "__main__":
    main()
