"""Write requests, one by one and many together, column by column. Pure: knows no DynamoDB.

Millions of requests as millions of Python objects cost more than all that is done with them: each
is made, touched, counted by the garbage collector. `Requests` holds a list for each field instead,
and what is done to many is done by loops in C.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, ClassVar, NamedTuple

import orjson

__all__ = [
    "AS_IDENTITIES",
    "PUT_AROUND",
    "Column",
    "Late",
    "Request",
    "Requests",
    "Same",
    "Told",
    "column_of",
    "copied",
    "item_of",
]


PUT_AROUND = '{"PutRequest":{"Item":', "}}"
"""What stands around an item in a put."""


def item_of(body: bytes) -> dict[str, Any]:
    """What a body puts, or the key of what it deletes, in wire form."""
    [content] = orjson.loads(body).values()
    [item] = content.values()
    return dict(item)


class Late:
    """Stands for the body of a put that is still to be made, of the element.

    So a large row travels once, not twice; it is made where it is unpacked.
    """

    __slots__ = ("_size",)

    def __init__(self, size: int) -> None:
        self._size = size

    def __len__(self) -> int:
        """About how many bytes it will have."""
        return self._size


@dataclass(frozen=True, slots=True)
class Told:
    """Stands for a row that the body of its put tells, types and all.

    So a small row travels once, not twice; it is made when it is wanted.

    Attributes:
        names: Its attributes, in its order.
    """

    names: tuple[str, ...]


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


class Same:
    """A column of many requests that all have one value; it can't tell how many they are.

    Attributes:
        value: The value.
    """

    __slots__ = ("value",)
    __iter__ = None  # it would not come to an end

    def __init__(self, value: Any) -> None:
        self.value = value

    def __getitem__(self, place: int) -> Any:
        return self.value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.value == other.value

    __hash__ = None  # type: ignore[assignment]


AS_IDENTITIES = Same("identity")
"""The fences' column where they are the identities."""

Column = list[Any] | Same


def column_of(values: list[Any]) -> Column:
    """A column of these values, of which there is at least one."""
    return Same(values[0]) if values.count(values[0]) == len(values) else values


def copied(values: Sequence[Any] | Same) -> Column:
    """A column of its own; what is the same all the way can be shared."""
    return values if isinstance(values, Same) else list(values)


class Requests:
    """Many requests in their order, column by column.

    Most columns have one value all the way, or are like another one: what need not be there is not
    copied, and no garbage collector looks at it.

    Attributes:
        columns: A list for each field of a `Request`, or `Same`, its origin being as many columns
            as the caller gave it parts. The third one may be `AS_IDENTITIES`. The fifth one is a
            list, of the bodies or what stands for those that are `Late`.
    """

    __slots__ = ("columns",)

    _FIELDS: ClassVar[int] = 5  # that are not the origin's

    def __init__(self, *columns: Column) -> None:
        """Takes the columns over: lists of one length, no two the same list; or none at all."""
        self.columns: list[Any] = list(columns) or [[] for _ in range(self._FIELDS)]

    @classmethod
    def of(cls, requests: Iterable[Request]) -> Requests:
        """Turns requests, whose origins are of one length, on their side."""
        rows = [(*request[: cls._FIELDS], *request.origin) for request in requests]
        return cls(*map(list, zip(*rows, strict=True)))

    tables: property = property(lambda self: self._values(0))
    identities: property = property(lambda self: self._values(1))
    fences: property = property(lambda self: self._values(2))
    orders: property = property(lambda self: self._values(3))
    bodies: property = property(lambda self: self.columns[4])

    @property
    def origins(self) -> list[list[Any]]:
        """The columns of the origins."""
        return list(map(self._values, range(self._FIELDS, len(self.columns))))

    def origin(self, part: int) -> Column:
        """The column of one part of the origins."""
        column: Column = self.columns[self._FIELDS + part]
        return column

    @property
    def table(self) -> str | None:
        """The table of all of them; None where nobody has seen that it is one."""
        tables = self.columns[0]
        return str(tables.value) if type(tables) is Same else None

    @property
    def are_in_order(self) -> bool:
        """Whether all are of one order, so that of a record the last one is the latest."""
        return type(self.columns[3]) is Same

    def __len__(self) -> int:
        return len(self.columns[4])

    def __getitem__(self, place: int) -> Request:
        return self._request([values[place] for values in self._all()])

    def __iter__(self) -> Iterator[Request]:
        return map(self._request, zip(*self._all(), strict=True))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Requests) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{len(self)} requests>"

    def __iadd__(self, others: Requests) -> Requests:
        if not len(self):
            self.columns = others._changed(list).columns
            return self
        mine, count = self.columns, len(self)
        for field in reversed(range(len(mine) if others else 0)):  # fences before identities
            if type(mine[field]) is Same:
                theirs = others.columns[field]
                if mine[field] is theirs or mine[field] == theirs:
                    continue
                mine[field] = self._values(field)[:count]
            mine[field] += others._values(field)
        return self

    def __setitem__(self, place: int, request: Request) -> None:
        self.columns = list(map(list, self._all()))
        fields = (*request[: self._FIELDS], *request.origin)
        for column, value in zip(self.columns, fields, strict=True):
            column[place] = value

    def part(self, start: int, stop: int | None = None) -> Requests:
        """Those from one place to before another."""
        return self._changed(itemgetter(slice(start, stop)))

    def select(self, places: Sequence[int]) -> Requests:
        """Those in some places, in the order of these."""
        if len(places) < 2:
            return self._changed(lambda column: [column[place] for place in places])
        pick = itemgetter(*places)
        return self._changed(lambda column: list(pick(column)))

    def _changed(self, change: Callable[[list[Any]], list[Any]]) -> Requests:
        """Requests whose lists are made of these."""
        columns = [each if type(each) is Same else change(each) for each in self.columns]
        return Requests(*columns)

    def _values(self, field: int) -> list[Any]:
        column: Column = self.columns[field]
        if not isinstance(column, Same):
            return column
        return self._values(1) if column is AS_IDENTITIES else [column.value] * len(self)

    def _all(self) -> list[list[Any]]:
        return list(map(self._values, range(len(self.columns))))

    def _request(self, fields: Sequence[Any]) -> Request:
        table, identity, fence, order, body, *origin = fields
        return Request(table, identity, fence, order, body, tuple(origin))
