"""HTTP requests on kept-alive connections, many in flight, all driven by the caller's own thread.

There are no threads: each connection says what it waits for, and `Wire.poll` lets those go on
whose socket is ready.
"""

from __future__ import annotations

import selectors
import socket
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from beam_dynamodb.connection import PAUSE, Connection, Reply, Target, WireError

__all__ = ["CONNECT_TIMEOUT", "Wire"]

CONNECT_TIMEOUT = 10.0
"""Seconds until a connection must stand, where nobody says otherwise."""

_SEEN_OPEN = 0.005
"""Seconds for which it holds that an idle connection, of which a poll had nothing to tell, is open.
To ask again would cost as much as half of what sending does."""

_NOT_FOUND = 1.0
"""Seconds for which a host whose lookup failed is not looked up again: each connection needs one,
and each may take many seconds in which nothing else goes on."""


class Wire:
    """A pool of connections to one target, each with at most one request on its way.

    Not thread-safe: it belongs to the thread that polls it. `send` waits for nothing but the
    lookup of the host's name; `poll` waits at most as long as it is told.
    """

    def __init__(
        self,
        target: Target,
        *,
        max_connections: int,
        read_timeout: float,
        connect_timeout: float = CONNECT_TIMEOUT,
        clock: Callable[[], float] = time.monotonic,
        lookup: Callable[..., list[Any]] = socket.getaddrinfo,
    ) -> None:
        """Opens nothing yet.

        Args:
            target: Where to connect to.
            max_connections: The most connections at once (`sink.http-client.max-concurrency`).
            read_timeout: Seconds without a byte in either direction until a request is given up
                (`sink.http-client.read-timeout`).
            connect_timeout: Seconds until a connection, TLS included, must stand. Where the host
                has several addresses, each gets its share of them. Those in which the server was
                ready, but nobody polled, do not count.
            clock: Seconds that only go forward.
            lookup: Gives a host's addresses, as `socket.getaddrinfo`.
        """
        self.target = target
        self._max_connections = max_connections
        self._timeouts = (connect_timeout, read_timeout)
        self._clock = clock
        self._lookup = _patient(lookup, clock)
        self._selector = selectors.DefaultSelector()
        self._idle: list[Connection] = []
        self._busy: dict[Connection, None] = {}
        self._done: list[Reply] = []
        # A runner that cancels a job may forget a step without teardown.
        forgotten = weakref.finalize(self, _close_all, self._busy, self._idle, self._selector)
        forgotten.atexit = False
        self._next_check = 0.0
        self._polled_at = 0.0

    @property
    def in_flight(self) -> int:
        """Requests sent whose reply `poll` has not returned yet."""
        return len(self._busy) + len(self._done)

    @property
    def room(self) -> int:
        """How many more requests may be sent now."""
        return self._max_connections - len(self._busy)

    def send(self, request: Sequence[bytes], tag: object) -> None:
        """Sends a request on a free connection, or on a new one. Only while there is `room`.

        What goes wrong comes as a reply's error. A kept-alive connection that the server has
        closed is replaced. No request is sent twice: the first one could still be carried out
        after the second one's answer.

        Args:
            request: Request line, headers, the empty line at their end, and the body, whose length
                they told: in as many parts as spare copying large ones.
            tag: Comes back with the reply.
        """
        # The one that is idle for longest, of which a poll may have told that it is open.
        connection = self._idle.pop(0) if self._idle else self._new_connection()
        now = self._clock()
        seen_open = connection.idle_since < self._polled_at and now - self._polled_at < _SEEN_OPEN
        connection.begin(request, tag, now, seen_open=seen_open)
        self._busy[connection] = None
        self._advance(connection, now)

    def poll(self, timeout: float) -> list[Reply]:
        """Returns the replies that are there, waiting up to `timeout` seconds for the first one."""
        came = self._clock()
        if self._done:
            timeout = 0.0
        elif self._busy and timeout:
            timeout = min(timeout, max(0.0, self._next_check - came))
        ready: Sequence[Any] = ()
        if self._selector.get_map():
            ready = self._selector.select(timeout)
        else:
            # Some platforms' selectors return at once when there is nothing to select from.
            time.sleep(timeout)
        if came - self._polled_at > PAUSE:
            for key, _ in ready:
                key.data.excuse(came - max(self._polled_at, key.data.started))
        now = self._polled_at = self._clock()
        for key, _ in ready:
            self._advance(key.data, now)
        if now >= self._next_check:
            self._expire(now)
        done, self._done = self._done, []
        return done

    def close(self) -> None:
        """Closes all connections; requests on their way get no reply. May be called twice."""
        _close_all(self._busy, self._idle, self._selector)

    def _new_connection(self) -> Connection:
        return Connection(self.target, self._timeouts, self._clock, self._lookup)

    def _advance(self, connection: Connection, now: float, fault: WireError | None = None) -> None:
        """Lets a connection go on until it has to wait, or is done with its request."""
        if connection not in self._busy:  # an idle one became readable: the server hung up,
            if not connection.is_open():  # or sent a TLS session ticket
                self._idle.remove(connection)
                self._drop(connection)
            return
        reply = connection.step(now, fault)
        if reply is None:
            self._watch(connection)
            self._next_check = min(self._next_check, connection.deadline)
            return
        del self._busy[connection]
        self._done.append(reply)
        if connection.reusable:
            connection.idle_since = now
            self._idle.append(connection)
            self._watch(connection)
        else:
            self._drop(connection)

    def _watch(self, connection: Connection) -> None:
        """Registers what the connection waits for, if it is not what it waited for before."""
        if connection.watched == (connection.sock, connection.events):
            return
        if connection.watched[0] is not connection.sock:
            self._forget(connection)
        if connection.watched[0] is None:
            self._selector.register(connection.sock, connection.events, connection)
        else:
            self._selector.modify(connection.sock, connection.events, connection)
        connection.watched = (connection.sock, connection.events)

    def _forget(self, connection: Connection) -> None:
        watched = connection.watched[0]
        if watched is not None:
            self._selector.unregister(watched)
            connection.watched = (None, 0)
        connection.close_retired()

    def _drop(self, connection: Connection) -> None:
        self._forget(connection)
        connection.close()

    def _expire(self, now: float) -> None:
        """Ends the requests whose time is over."""
        for connection in [each for each in self._busy if each.deadline <= now]:
            self._advance(connection, now, connection.too_late())
        self._next_check = min((each.deadline for each in self._busy), default=now + 1.0)


def _patient(
    lookup: Callable[..., list[Any]], clock: Callable[[], float]
) -> Callable[..., list[Any]]:
    """The same lookup, which after a failure fails in the same way for a while."""
    failed: list[tuple[float, OSError]] = []

    def patient(*host: Any, **kind: Any) -> list[Any]:
        if failed and clock() < failed[0][0]:
            raise failed[0][1].with_traceback(None)
        failed.clear()
        try:
            return lookup(*host, **kind)
        except OSError as fault:
            failed.append((clock() + _NOT_FOUND, fault))
            raise

    return patient


def _close_all(
    busy: dict[Connection, None], idle: list[Connection], selector: selectors.BaseSelector
) -> None:
    for connection in [*busy, *idle]:
        connection.close()
    busy.clear()
    idle.clear()
    selector.close()
