"""Requests travelling together between two steps: one small object, one quick pickle.

A shuffle or a state cell costs Beam far more for each value than for each byte, therefore
requests cross in packs. Pure: knows neither Beam nor DynamoDB.
"""

from __future__ import annotations

import pickle
import struct
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import zstandard

from beam_dynamodb.write_requests import Requests

__all__ = ["Order", "Pack", "Sender", "unstamped"]

_PLAIN, _COMPRESSED = b"2", b"3"
"""The first byte of a pack. A job that is updated may find older packs in its state."""

_WORTH_COMPRESSING = 1024
_SMALL_REQUEST = 1024
_LEVEL = 1
"""Packs of small rows shrink to a fifth and less, for a few per cent of what a row costs. With
large ones it would soon be most of the cost."""


@dataclass(slots=True)
class Pack:
    """Some requests, in the order of their arrival.

    Attributes:
        requests: The requests. The first part of an origin is anything that pickle takes; the
            others are values that compare exactly.
    """

    requests: Requests

    def to_bytes(self) -> bytes:
        """The pack as bytes, as it lies in a state cell."""
        data = pickle.dumps(_shrunk_columns(self.requests), protocol=5)
        if not _WORTH_COMPRESSING < len(data) < _SMALL_REQUEST * len(self.requests):
            return _PLAIN + data
        return _COMPRESSED + _codecs.compressor.compress(data)

    @classmethod
    def from_bytes(cls, data: bytes | memoryview) -> Pack:
        """The pack that `to_bytes` made.

        Raises:
            ValueError: The bytes are those of another version's pack.
        """
        form, content = data[:1], memoryview(data)[1:]
        if form not in (_PLAIN, _COMPRESSED):
            raise ValueError(f"a pack of format {form!r} was written by another version")
        if form == _COMPRESSED:
            content = memoryview(_codecs.decompressor.decompress(content))
        count, columns = pickle.loads(content)  # noqa: S301 - our own bytes
        return cls(_grown_columns(count, columns))

    @classmethod
    def joined(cls, packs: Iterable[bytes | memoryview]) -> Requests:
        """The requests of several packs, in order."""
        requests = Requests()
        for data in packs:
            requests += cls.from_bytes(data).requests
        return requests

    def __reduce__(self) -> tuple[object, tuple[bytes]]:
        return Pack.from_bytes, (self.to_bytes(),)


# --- the order of packs ------------------------------------------------------------------------

_STAMP = struct.Struct(">8sI")
"""Whose pack it is, and which of that sender's packs for the shard."""


class Sender:
    """Stamps the packs that one bundle sends, so that a shuffle may lose their order."""

    def __init__(self, name: bytes) -> None:
        """Takes eight bytes that no other sender has."""
        self._name = name
        self._sent: Counter[int] = Counter()

    def stamped(self, shard: int, data: bytes) -> bytes:
        """A shard's next pack with its stamp before it."""
        self._sent[shard] += 1
        return _STAMP.pack(self._name, self._sent[shard] - 1) + data


def unstamped(data: bytes) -> memoryview:
    """A pack without the stamp before it."""
    return memoryview(data)[_STAMP.size :]


class Order:
    """Gives the packs of a shard back in the order in which each of its senders sent them."""

    def __init__(self) -> None:
        self._next: Counter[bytes] = Counter()
        self._early: dict[bytes, dict[int, memoryview]] = {}

    def arrived(self, data: bytes) -> Iterator[memoryview]:
        """The packs whose turn has come with this one, which may be none."""
        sender, number = _STAMP.unpack_from(data)
        early = self._early.setdefault(sender, {})
        early[number] = unstamped(data)
        while (turn := self._next[sender]) in early:
            self._next[sender] += 1
            yield early.pop(turn)

    def rest(self) -> Iterator[memoryview]:
        """What still waits for a pack that never came, such as one of another bundle."""
        for early in self._early.values():
            for number in sorted(early):
                yield early.pop(number)


class _Codecs(threading.local):
    """zstd's contexts, which are costly to make and belong to one thread each."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=_LEVEL)
        self.decompressor = zstandard.ZstdDecompressor()


_codecs = _Codecs()


# What all requests have in common goes once, and so does a column that equals another one.


def _shrunk_columns(requests: Requests) -> tuple[int, list[Any]]:
    tables, identities, fences, orders, bodies, *origins = requests.columns
    if not len(requests):
        return 0, []
    elements, *places = origins or [None]
    return len(requests), [
        _shrunk(tables),
        identities,
        None if fences == identities else fences,
        None if places and orders == places[0] else orders,
        bodies,
        *([elements] if origins else []),
        *map(_shrunk, places),
    ]


def _grown_columns(count: int, columns: list[Any]) -> Requests:
    if not count:
        return Requests()
    tables, identities, fences, orders, bodies, *origins = columns
    elements, places = origins[:1], [_grown(each, count) for each in origins[1:]]
    return Requests(
        _grown(tables, count),
        identities,
        list(identities) if fences is None else fences,
        list(places[0]) if orders is None else orders,
        bodies,
        *elements,
        *places,
    )


def _shrunk(column: Sequence[Any]) -> Any:
    """A column as it is, or in a tuple of its own the one value that all of it is."""
    return (column[0],) if column.count(column[0]) == len(column) else column


def _grown(column: Any, count: int) -> list[Any]:
    return list(column) * count if isinstance(column, tuple) else column
