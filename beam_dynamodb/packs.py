"""Requests travelling together between two steps: one small object, one quick pickle.

A shuffle or a state cell costs Beam far more for each value than for each byte, therefore
requests cross in packs. Pure: knows neither Beam nor DynamoDB.
"""

from __future__ import annotations

import pickle
import re
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Any

import zstandard

from beam_dynamodb.columns import Block, row_encoder
from beam_dynamodb.values import python_value
from beam_dynamodb.write_requests import (
    AS_IDENTITIES,
    PUT_AROUND,
    Column,
    Late,
    Request,
    Requests,
    Same,
    Told,
    copied,
    item_of,
)

__all__ = ["Order", "Pack", "Sender", "elements_of", "origin_of"]

_PLAIN, _COMPRESSED = b"6", b"7"
"""The first byte of a pack. A job that is updated may find older packs in its state."""

_WORTH_COMPRESSING = 1024
_SMALL_REQUEST = 1024
_LONG_TEXT = 1024
_NOTHING = memoryview(b"")
_SIZE = struct.Struct(">Q")
_LEVEL = 1
"""Packs of small rows shrink to a fifth and less, for a few per cent of what a row costs. With
large ones it would soon be most of the cost."""


class Pack:
    """Some requests, in the order of their arrival, or the bytes that they travel as.

    Each is made of the other when it is asked for. So a pack that a runner hands from one step to
    the next in one process is never pickled, and one that only waits is never unpickled.

    Attributes:
        stamp: Which pack it is among all that were sent; nothing if nobody wants to know.
    """

    __slots__ = ("_content", "_travelling", "stamp")

    def __init__(self, content: Requests | bytes | memoryview, stamp: bytes = b"") -> None:
        """Takes requests over, or their bytes, which `from_bytes` checks.

        Args:
            content: The requests. The first part of an origin is anything that pickle takes; the
                others are values that compare exactly.
            stamp: Which pack it is.
        """
        self.stamp = stamp
        self._content = content
        self._travelling = b""  # stamp and content, once it is closed

    @classmethod
    def from_bytes(cls, data: bytes | memoryview, stamp: bytes = b"") -> Pack:
        """The pack that `to_bytes` made.

        Raises:
            ValueError: The bytes are those of another version's pack.
        """
        if data[:1] not in (_PLAIN, _COMPRESSED):
            form = bytes(data[:1])
            raise ValueError(f"a pack of format {form!r} was written by another version")
        return cls(data, stamp)

    @classmethod
    def from_stamped(cls, data: bytes) -> Pack:
        """The pack that `to_stamped` made."""
        return cls.from_bytes(memoryview(data)[_STAMP.size :], data[: _STAMP.size])

    @classmethod
    def joined(cls, packs: Iterable[bytes | memoryview]) -> Requests:
        """The requests of several packs, in order."""
        requests = Requests()
        for data in packs:
            requests += cls.from_bytes(data).requests
        return requests

    @property
    def requests(self) -> Requests:
        """The requests, each with its body. They are the caller's from then on."""
        if isinstance(self._content, Requests):
            _make_late_bodies(self._content)
        else:
            self._content = _unpickled(self._content)
            self._travelling = b""
        return self._content

    def to_bytes(self, stamp: bytes = b"") -> bytes:
        """The pack as bytes, as it lies in a state cell, behind a stamp.

        Raises:
            Exception: Whatever an element raises that can't be pickled.
        """
        if isinstance(self._content, Requests):
            return _pickled(self._content, stamp)
        return b"".join([stamp, self._content])

    def to_stamped(self) -> bytes:
        """The pack as bytes behind its own stamp, as it travels; raises as `to_bytes`."""
        return self._travelling or self.to_bytes(self.stamp or bytes(_STAMP.size))

    def close(self) -> None:
        """Makes the bytes behind its stamp now, and keeps nothing else; raises as `to_bytes`."""
        self._travelling = self.to_stamped()
        self._content = memoryview(self._travelling)[_STAMP.size :]

    def __len__(self) -> int:
        """About how many bytes it has."""
        content = self._content
        return sum(map(len, content.bodies)) if isinstance(content, Requests) else len(content)

    def __reduce__(self) -> tuple[object, tuple[bytes, bytes]]:
        return Pack.from_bytes, (self.to_bytes(), self.stamp)


def _pickled(requests: Requests, stamp: bytes) -> bytes:
    texts = _Texts()
    data = pickle.dumps(_shrunk_columns(requests, texts), protocol=5)
    if texts.long or not _WORTH_COMPRESSING < len(data) < _SMALL_REQUEST * len(requests):
        return b"".join([stamp, _PLAIN, _SIZE.pack(len(data)), data, *texts.long])
    return b"".join([stamp, _COMPRESSED, _codecs.compressor.compress(data)])


def _unpickled(data: bytes | memoryview) -> Requests:
    content = memoryview(data)[1:]
    if data[:1] == _COMPRESSED:
        pickled, texts = memoryview(_codecs.decompressor.decompress(content)), _Texts()
    else:
        start = _SIZE.size
        end = start + _SIZE.unpack_from(content)[0]
        pickled, texts = content[start:end], _Texts(content[end:])
    count, columns = pickle.loads(pickled)  # noqa: S301 - our own bytes
    return _grown_columns(count, columns, texts)


def _make_late_bodies(requests: Requests) -> None:
    for places, rows in _shapes(requests):
        requests.bodies[:] = _with(places, requests.bodies, _wire(rows))


def _wire(rows: Sequence[dict[str, Any]]) -> list[bytes]:
    """The bodies of rows that are known to be fit."""
    encoded = _encoder.encode(list(rows)) if _encoder is not None else None
    return Block(rows).wire(*PUT_AROUND) if encoded is None else encoded[0]


_encoder = row_encoder(*PUT_AROUND, ())


def elements_of(requests: Requests) -> Iterable[Any]:
    """The first part of each origin; where that is `Told`, the row, made when it is asked for."""
    if not requests:
        return ()
    elements, bodies = requests.origin(0), requests.bodies
    if isinstance(elements, Same):
        told = elements.value
        return map(_row_reader(told), bodies) if type(told) is Told else [told] * len(bodies)
    shapes = {each for each in elements if type(each) is Told}
    if not shapes:
        return elements
    readers = {told: _row_reader(told) for told in shapes}
    return (
        readers[element](body) if type(element) is Told else element
        for element, body in zip(elements, bodies, strict=True)
    )


def origin_of(request: Request) -> tuple[Any, ...]:
    """A request's origin, its first part as `elements_of` gives it."""
    element, *places = request.origin
    if type(element) is Told:
        element = _row_reader(element)(request.body)
    return element, *places


def _row_reader(told: Told) -> Callable[[bytes], dict[str, Any]]:
    """What makes a row of the body of its put."""
    return _row_of if _encoder is None else _encoder.row_reader(told.names)


def _row_of(body: bytes) -> dict[str, Any]:
    """For a worker where nothing could be compiled, if another one sent the pack."""
    return {name: python_value(value, _number) for name, value in item_of(body).items()}


def _number(text: str) -> int | float:
    return int(text) if _INTEGER.fullmatch(text) else float(text)


_INTEGER = re.compile("-?[0-9]+")


# --- the order of packs ------------------------------------------------------------------------

_STAMP = struct.Struct(">8sI")
"""Whose pack it is, and which of that sender's packs for the shard."""


class Sender:
    """Stamps the packs that one bundle sends, so that a shuffle may lose their order."""

    def __init__(self, name: bytes) -> None:
        """Takes eight bytes that no other sender has."""
        self._name = name
        self._sent: Counter[int] = Counter()

    def stamp(self, shard: int, pack: Pack, *, close: bool = False) -> None:
        """Makes a pack the shard's next one, unless to close it raises, if that is asked for."""
        pack.stamp = _STAMP.pack(self._name, self._sent[shard])
        if close:
            pack.close()
        self._sent[shard] += 1


class Order:
    """Gives the packs of a shard back in the order in which each of its senders sent them."""

    def __init__(self) -> None:
        self._next: Counter[bytes] = Counter()
        self._early: dict[bytes, dict[int, Pack]] = {}

    def arrived(self, pack: Pack) -> Iterator[Pack]:
        """The packs whose turn has come with this one, which may be none."""
        sender, number = _STAMP.unpack(pack.stamp)
        early = self._early.setdefault(sender, {})
        early[number] = pack
        while (turn := self._next[sender]) in early:
            self._next[sender] += 1
            yield early.pop(turn)

    @property
    def has_gap(self) -> bool:
        """Whether packs wait for one before them that has not come."""
        return any(self._early.values())

    def rest(self) -> Iterator[Pack]:
        """What still waits for a pack that never came, such as one of another bundle."""
        for early in self._early.values():
            for number in sorted(early):
                yield early.pop(number)


# --- their bytes -------------------------------------------------------------------------------


class _Codecs(threading.local):
    """zstd's contexts, which are costly to make and belong to one thread each."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=_LEVEL)
        self.decompressor = zstandard.ZstdDecompressor()


_codecs = _Codecs()


class _Texts:
    """Long texts, which stand behind what is pickled: each copy of them costs more than pickle.

    Attributes:
        long: The texts that have been put here.
    """

    def __init__(self, data: memoryview = _NOTHING) -> None:
        """Takes the bytes in which some stand already."""
        self.long: list[bytes] = []
        self._rest = data

    def put(self, column: list[Any]) -> list[Any] | tuple[int, ...]:
        """Takes a column of long texts, and gives their sizes; gives any other one back."""
        if set(map(type, column)) != {str} or sum(map(len, column)) < _LONG_TEXT * len(column):
            return column
        texts = list(map(str.encode, column))
        self.long += texts
        return tuple(map(len, texts))

    def take(self, column: list[Any] | tuple[int, ...]) -> list[Any]:
        """What `put` was given, in the same order."""
        if isinstance(column, list):
            return column
        texts: list[Any] = []
        for size in column:
            texts.append(str(self._rest[:size], "utf-8"))
            self._rest = self._rest[size:]
        return texts


# What all requests have in common goes once, and so does a column that equals another one. Rows
# whose bodies are late go as the columns of their attributes, rows that are told as their bodies.


def _shrunk_columns(requests: Requests, texts: _Texts) -> tuple[int, list[Any]]:
    tables, identities, fences, orders, bodies, *origins = requests.columns
    if not len(requests):
        return 0, []
    elements, *places = origins or [None]
    shapes = _shapes(requests)
    if shapes:
        bodies, elements = _without(shapes, bodies), _without(shapes, elements)
    return len(requests), [
        _shrunk(tables),
        _shrunk(identities),
        None if fences is AS_IDENTITIES else _shrunk(fences),
        None if places and orders == places[0] else _shrunk(orders),
        [(several, _turned(rows, texts)) for several, rows in shapes],
        bodies,
        *([_shrunk(elements)] if origins else []),
        *map(_shrunk, places),
    ]


def _grown_columns(count: int, columns: list[Any], texts: _Texts) -> Requests:
    if not count:
        return Requests()
    tables, identities, fences, orders, shapes, bodies, *origins = columns
    elements, places = list(map(_grown, origins[:1])), list(map(_grown, origins[1:]))
    for several, turned in shapes:
        rows = _upright(turned, texts)
        bodies = _with(several, bodies, _wire(rows))
        elements = [_with(several, elements[0], rows)]
    return Requests(
        _grown(tables),
        _grown(identities),
        AS_IDENTITIES if fences is None else _grown(fences),
        copied(places[0]) if orders is None else _grown(orders),
        bodies,
        *elements,
        *places,
    )


_Places = Sequence[int] | None
"""Some of a pack's requests; None for all of them."""


def _shapes(requests: Requests) -> list[tuple[_Places, Sequence[dict[str, Any]]]]:
    """The elements whose bodies are late, those of the same attributes together."""
    bodies = requests.bodies
    kinds = set(map(type, bodies))
    if Late not in kinds:
        return []
    elements = requests.origins[0]
    if len(kinds) == 1:
        names = list(map(tuple, elements))
        if names.count(names[0]) == len(names):  # as mostly
            return [(None, elements)]
    shapes: dict[tuple[str, ...], list[int]] = {}
    for place, body in enumerate(bodies):
        if type(body) is Late:
            shapes.setdefault(tuple(elements[place]), []).append(place)
    return [(places, [elements[place] for place in places]) for places in shapes.values()]


def _turned(rows: Sequence[dict[str, Any]], texts: _Texts) -> dict[str, Any]:
    return {name: texts.put(list(map(itemgetter(name), rows))) for name in rows[0]}


def _upright(turned: dict[str, Any], texts: _Texts) -> list[dict[str, Any]]:
    columns = map(texts.take, turned.values())
    return [dict(zip(turned, row)) for row in zip(*columns)]  # noqa: B905 - one length, and hot


def _without(shapes: Iterable[tuple[_Places, Any]], column: list[Any]) -> list[Any] | None:
    """A column without what the shapes bring; None if that is all."""
    rest = list(column)
    for places, _ in shapes:
        if places is None:
            return None
        for place in places:
            rest[place] = None
    return rest


def _with(places: _Places, column: list[Any], values: list[Any]) -> list[Any]:
    if places is None:
        return values
    for place, value in zip(places, values, strict=True):
        column[place] = value
    return column


def _shrunk(column: Column | None) -> list[Any] | tuple[Any] | None:
    """A column as it is, or in a tuple of its own the one value that all of it is."""
    return (column.value,) if isinstance(column, Same) else column


def _grown(column: list[Any] | tuple[Any] | None) -> Any:
    return Same(*column) if isinstance(column, tuple) else column
