"""Fakes of DynamoDB that tell more of what reached them, and a proxy from AWS's hosts to them."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any

import orjson
import trustme

from beam_dynamodb.testing import FakeDynamoDB, FakeServer, Fault, Faults, Refused
from beam_dynamodb.testing.signatures import check_signature
from tests.integration.aws_standins import MARK, Answer, Request

SECRET = f"{MARK}-key"
"""The secret key of every access key that a test makes up."""


class CountingDynamoDB(FakeDynamoDB):
    """Remembers how many writes each BatchWriteItem carried.

    Attributes:
        sizes: Writes in each call, in the order of the calls.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def call(self, operation: str, request: dict[str, Any], **more: Any) -> dict[str, Any]:
        if operation == "BatchWriteItem":
            self.sizes.append(sum(map(len, request["RequestItems"].values())))
        return super().call(operation, request, **more)


class SilentDynamoDB(FakeDynamoDB):
    """Answers no BatchWriteItem until it is told to.

    Attributes:
        speak: Set when it may answer.
    """

    def __init__(self) -> None:
        super().__init__()
        self.speak = threading.Event()

    def call(self, operation: str, request: dict[str, Any], **more: Any) -> dict[str, Any]:
        if operation == "BatchWriteItem":
            self.speak.wait(30)
        return super().call(operation, request, **more)


class TimedFaults(Faults):
    """A script of faults that remembers when each write call came.

    Attributes:
        times: Seconds of the monotonic clock.
    """

    def __init__(self, *script: Fault | None, then: Fault | None = None) -> None:
        self.times: list[float] = []

        def choose(number: int, _: Random) -> Fault | None:
            self.times.append(time.monotonic())
            return script[number] if number < len(script) else then

        super().__init__(choose)


@dataclass(frozen=True)
class Call:
    """One call of DynamoDB: what it asked for, and whose signature for where it bore."""

    operation: str
    host: str
    access_key: str
    region: str
    token: str | None


@dataclass
class SigningDynamoDB:
    """A DynamoDB for `aws_standins.serve` that records who signs its calls.

    Attributes:
        db: The service behind it.
        secrets: Secret keys by access key; None takes any signature.
        calls: All calls up to now.
    """

    db: FakeDynamoDB
    secrets: Mapping[str, str] | None = None
    calls: list[Call] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, request: Request) -> Answer:
        headers = {name.lower(): value for name, value in request.headers.items()}
        operation = headers["x-amz-target"].rpartition(".")[2]
        scope = re.search(r"Credential=([^/]+)/\d+/([^/]+)/dynamodb/", headers["authorization"])
        assert scope is not None
        with self._lock:
            token = headers.get("x-amz-security-token")
            self.calls.append(Call(operation, headers["host"], scope[1], scope[2], token))
            try:
                return 200, self._answer(operation, request, headers)
            except Refused as refused:
                error = {"__type": f"fake#{refused.code}", "message": refused.message}
                return refused.status, orjson.dumps(error).decode()

    def _answer(self, operation: str, request: Request, headers: Mapping[str, str]) -> str:
        body = request.body.encode()
        if self.secrets is not None:
            check_signature(request.method, request.path, headers, body, self.secrets)
        return orjson.dumps(self.db.call(operation, orjson.loads(body), now=time.time())).decode()

    def signers(self) -> set[tuple[str, str | None]]:
        """The access keys that signed, with the session tokens that went with them."""
        return {(call.access_key, call.token) for call in self.calls}


def tls_server(db: FakeDynamoDB, host: str, folder: Path) -> tuple[FakeServer, str]:
    """A server with a certificate for `host`, and the path of the authority that issued it."""
    authority = trustme.CA()
    certificate = authority.issue_cert(host)
    chain, key, bundle = (str(folder / name) for name in ("chain.pem", "key.pem", "ca.pem"))
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(chain, append=True)
    certificate.private_key_pem.write_to_path(key)
    authority.cert_pem.write_to_path(bundle)
    return FakeServer(db, tls=(chain, key)), bundle


@contextlib.contextmanager
def tunnel(port: int) -> Iterator[tuple[str, list[str]]]:
    """A proxy that leads every connection to one local port.

    Yields:
        Its URL, and the hosts and ports that clients asked it for.
    """
    asked: list[str] = []

    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            asked.append(self.rfile.readline().decode().split(" ")[1])
            while self.rfile.readline().strip():
                pass
            with socket.create_connection(("127.0.0.1", port)) as server:
                self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                back = threading.Thread(target=_pipe, args=(server, self.connection))
                back.start()
                _pipe(self.connection, server)
                back.join()

    class Proxy(ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False  # a client may keep its connection until the server is gone

    with Proxy(("127.0.0.1", 0), Handler) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{proxy.server_address[1]}", asked
        finally:
            proxy.shutdown()
            thread.join()


def _pipe(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
