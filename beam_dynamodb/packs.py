"""Requests travelling together between two steps: one small object, one quick pickle.

A shuffle or a state cell costs Beam far more for each value than for each byte, therefore
requests cross in packs. Pure: knows neither Beam nor DynamoDB.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from dataclasses import dataclass

from beam_dynamodb.requests import Request

__all__ = ["Pack"]

_FORMAT = b"1"
"""The first byte of a pack. A job that is updated may find older packs in its state."""


@dataclass(slots=True)
class Pack:
    """Some requests, in the order of their arrival.

    Attributes:
        requests: The requests.
    """

    requests: list[Request]

    def to_bytes(self) -> bytes:
        """The pack as bytes, as it lies in a state cell."""
        # As plain tuples: pickle would name the class of each one.
        return _FORMAT + pickle.dumps([tuple(each) for each in self.requests], protocol=5)

    @classmethod
    def from_bytes(cls, data: bytes) -> Pack:
        """The pack that `to_bytes` made.

        Raises:
            ValueError: The bytes are those of another version's pack.
        """
        if data[:1] != _FORMAT:
            raise ValueError(f"a pack of format {data[:1]!r} was written by another version")
        return cls(list(map(Request._make, pickle.loads(data[1:]))))  # noqa: S301 - our own bytes

    @classmethod
    def joined(cls, packs: Iterable[bytes]) -> list[Request]:
        """The requests of several packs, in order."""
        return [each for data in packs for each in cls.from_bytes(data).requests]

    def __reduce__(self) -> tuple[object, tuple[bytes]]:
        return Pack.from_bytes, (self.to_bytes(),)
