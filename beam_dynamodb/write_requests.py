"""Write requests, one by one and many together, column by column. Pure: knows no DynamoDB.

Millions of requests as millions of Python objects cost more than all that is done with them: each
is made, touched, counted by the garbage collector. `Requests` holds a list for each field instead,
and what is done to many is done by loops in C.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Any, ClassVar, NamedTuple

__all__ = ["PUT_AROUND", "Late", "Request", "Requests"]


PUT_AROUND = '{"PutRequest":{"Item":', "}}"
"""What stands around an item in a put."""


class Late:
    """Stands for the body of a put that is still to be made, of the element.

    So a row travels once, not twice; it is made where it is unpacked.
    """

    __slots__ = ("_size",)

    def __init__(self, size: int) -> None:
        self._size = size

    def __len__(self) -> int:
        """About how many bytes it will have."""
        return self._size


class Request(NamedTuple):
    """One write of a batch, ready for the wire.

    Attributes:
        table: The table's name.
        identity: Identifies the record for deduplication; None where no keys were given.
        fence: Identifies the item in the table; None where the table's key is unknown. Two
            requests of one fence are never on their way at the same time.
        order: Which of two records of one identity is the later one; any comparable value.
        body: The JSON of the WriteRequest: `{"PutRequest":…}` or `{"DeleteRequest":…}`.
        origin: Whatever the caller wants to have back with the outcome; nothing here looks at it.
    """

    table: str
    identity: str | None
    fence: str | None
    order: Any
    body: bytes
    origin: tuple[Any, ...] = ()


class Requests:
    """Many requests in their order, column by column.

    Attributes:
        columns: A list for each field of a `Request`, its origin being as many columns as the
            caller gave it parts. The fifth one is the bodies, or what stands for those that are
            `Late`.
    """

    __slots__ = ("columns",)

    _FIELDS: ClassVar[int] = 5  # that are not the origin's

    def __init__(self, *columns: Sequence[Any]) -> None:
        """Takes the columns over: lists of one length, no two the same list; or none at all."""
        self.columns: list[Any] = list(columns) or [[] for _ in range(self._FIELDS)]

    @classmethod
    def of(cls, requests: Iterable[Request]) -> Requests:
        """Turns requests, whose origins are of one length, on their side."""
        rows = [(*request[: cls._FIELDS], *request.origin) for request in requests]
        return cls(*map(list, zip(*rows, strict=True)))

    tables: property = property(lambda self: self.columns[0])
    identities: property = property(lambda self: self.columns[1])
    fences: property = property(lambda self: self.columns[2])
    orders: property = property(lambda self: self.columns[3])
    bodies: property = property(lambda self: self.columns[4])

    @property
    def origins(self) -> list[list[Any]]:
        """The columns of the origins."""
        return self.columns[self._FIELDS :]

    def __len__(self) -> int:
        return len(self.columns[0])

    def __getitem__(self, place: int) -> Request:
        return self._request([column[place] for column in self.columns])

    def __iter__(self) -> Iterator[Request]:
        return map(self._request, zip(*self.columns, strict=True))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Requests) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{len(self)} requests>"

    def __iadd__(self, others: Requests) -> Requests:
        if not len(self):
            self.columns = list(map(list, others.columns))
        elif len(others):
            for column, more in zip(self.columns, others.columns, strict=True):
                column += more
        return self

    def __setitem__(self, place: int, request: Request) -> None:
        fields = (*request[: self._FIELDS], *request.origin)
        for column, value in zip(self.columns, fields, strict=True):
            column[place] = value

    def part(self, start: int, stop: int | None = None) -> Requests:
        """Those from one place to before another."""
        return Requests(*[column[start:stop] for column in self.columns])

    def select(self, places: Sequence[int]) -> Requests:
        """Those in some places, in the order of these."""
        if len(places) < 2:
            return Requests(*[[column[place] for place in places] for column in self.columns])
        pick = itemgetter(*places)
        return Requests(*[list(pick(column)) for column in self.columns])

    def _request(self, fields: Sequence[Any]) -> Request:
        table, identity, fence, order, body, *origin = fields
        return Request(table, identity, fence, order, body, tuple(origin))
