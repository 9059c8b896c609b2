"""Local TCP servers that do what a script says, down to the byte: what no proper server would."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

HEAD_END = b"\r\n\r\n"

DONE = b'{"UnprocessedItems":{}}'
"""What DynamoDB answers to a BatchWriteItem of which nothing is left."""


class Peer:
    """The server's end of one connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.rest = b""

    def head(self) -> bytes:
        """Request line and headers of the next request; nothing when the client hung up."""
        while HEAD_END not in self.rest:
            piece = self.sock.recv(65_536)
            if not piece:
                return b""
            self.rest += piece
        head, _, self.rest = self.rest.partition(HEAD_END)
        return head + HEAD_END

    def request(self) -> tuple[bytes, bytes]:
        """The next request's head and body."""
        head = self.head()
        length = header(head, "content-length")
        pieces, missing = [self.rest], int(length or 0) - len(self.rest)
        while missing > 0:
            piece = self.sock.recv(1 << 20)
            if not piece:
                break
            pieces.append(piece)
            missing -= len(piece)
        self.rest = b""
        return head, b"".join(pieces)

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def answer(self, body: bytes = DONE, status: str = "200 OK", **headers: str) -> None:
        self.send(answer(body, status, **headers))

    def reset(self) -> None:
        """Ends the connection with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def wait_for_end(self) -> None:
        """Until the client closes the connection."""
        with contextlib.suppress(OSError):
            while self.sock.recv(65_536):
                pass


Script = Callable[[Peer], None]


def header(head: bytes, name: str) -> str | None:
    """A header of a request's head."""
    for line in head.decode("latin-1").split("\r\n")[1:]:
        found, _, value = line.partition(":")
        if found.lower() == name:
            return value.strip()
    return None


def answer(body: bytes = DONE, status: str = "200 OK", **headers: str) -> bytes:
    """A whole HTTP answer; `x_y="z"` gives the header `x-y: z`."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def answer_all(peer: Peer) -> None:
    """Answers each request of a connection with its own body."""
    while True:
        head, body = peer.request()
        if not head:
            return
        peer.answer(body)


def half_an_answer(peer: Peer) -> None:
    """A request's answer, and the end of the connection within its body."""
    peer.request()
    peer.send(answer(b"hello world")[:-4])


def goes_stale(closed: threading.Event) -> Script:
    """Answers one request, and closes the connection while it is idle."""

    def script(peer: Peer) -> None:
        peer.request()
        peer.answer(b"first")
        peer.sock.shutdown(socket.SHUT_RDWR)
        closed.set()

    return script


@dataclass
class Scripted:
    """A running server.

    Attributes:
        port: Its port on 127.0.0.1.
        connections: How many connections it has accepted.
        faults: What went wrong in scripts, other than connections that broke.
    """

    port: int
    connections: int = 0
    faults: list[Exception] = field(default_factory=list)


@contextlib.contextmanager
def scripted(*scripts: Script, tls: ssl.SSLContext | None = None) -> Iterator[Scripted]:
    """Runs a server whose first connection follows the first script, and so on.

    The last script serves all further connections. A connection is closed where its script ends.
    """
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        server = Scripted(listener.getsockname()[1])
        peers: list[socket.socket] = []
        threads: list[threading.Thread] = []
        ending, wake = socket.socketpair()

        def serve(sock: socket.socket, script: Script) -> None:
            try:
                with sock if tls is None else tls.wrap_socket(sock, server_side=True) as open_sock:
                    peers.append(open_sock)
                    script(Peer(open_sock))
            except OSError:
                sock.close()
            except Exception as fault:  # a script's own assertion, for the test to see
                server.faults.append(fault)

        def accept() -> None:
            while ending not in select.select([listener, ending], [], [])[0]:
                sock, _ = listener.accept()
                script = scripts[min(server.connections, len(scripts) - 1)]
                server.connections += 1
                threads.append(threading.Thread(target=serve, args=(sock, script)))
                threads[-1].start()

        acceptor = threading.Thread(target=accept)
        acceptor.start()
        try:
            yield server
        finally:
            wake.send(b"x")
            acceptor.join()
            for sock in peers:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()
            ending.close()
            wake.close()
    if server.faults:
        raise server.faults[0]


@contextlib.contextmanager
def unreachable() -> Iterator[int]:
    """A port where connections neither stand nor fail: its queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(16):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def closed_port() -> int:
    """A port that refuses connections."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@dataclass
class Proxy:
    """An HTTP proxy: tunnels and forwards, where the client knows its password.

    Attributes:
        authorization: The Proxy-Authorization that it asks for, or None.
        refusal: The status line's end with which it refuses everything, or None.
        requests: The request lines it saw.
        passwords: The Proxy-Authorization headers it saw.
    """

    authorization: str | None = None
    refusal: str | None = None
    requests: list[str] = field(default_factory=list)
    passwords: list[str | None] = field(default_factory=list)

    def __call__(self, peer: Peer) -> None:
        """The script of one connection."""
        head = peer.head()
        if not head:
            return
        line = head.decode("latin-1").partition("\r\n")[0]
        self.requests.append(line)
        self.passwords.append(header(head, "proxy-authorization"))
        method, url, _ = line.split(" ")
        if self.refusal or self.passwords[-1] != self.authorization:
            status = self.refusal or "407 Proxy Authentication Required"
            peer.answer(b"no", status, Connection="close")
            return
        place = url.removeprefix("http://").partition("/")[0]
        host, _, port = place.rpartition(":")
        with socket.create_connection((host.strip("[]"), int(port))) as server:
            if method == "CONNECT":
                peer.send(b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n")
            else:
                own = head.replace(url.encode(), b"/" + url.split("/", 3)[3].encode(), 1)
                # One request for each connection, as nothing here looks for the next one's start.
                own = own.removesuffix(b"\r\n") + b"Connection: close\r\n\r\n"
                server.sendall(own + peer.rest)
            _pump(peer.sock, server)


def _pump(one: socket.socket, other: socket.socket) -> None:
    ways = {one: other, other: one}
    while True:
        for sock in select.select(list(ways), [], [])[0]:
            piece = sock.recv(65_536)
            if not piece:
                return
            ways[sock].sendall(piece)
