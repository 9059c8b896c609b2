"""Put and Delete, and how a row becomes one: its change kind, its key's identity, its wire form.

Knows nothing of Beam, of time, or of how requests travel.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import is_, itemgetter
from typing import Any, NamedTuple

from beam_dynamodb.columns import Block, NotUniformError, RowEncoder, row_encoder
from beam_dynamodb.errors import RowError
from beam_dynamodb.faults import cause_of, row_error, step, within
from beam_dynamodb.identity import KeyReader, key_text
from beam_dynamodb.order_by import plain_scalar, plain_time, rank_of
from beam_dynamodb.sizes import stored_size
from beam_dynamodb.table import ITEM_MAX_BYTES, TableKey
from beam_dynamodb.values import AttributeValue, attribute_values, row_mapping, wire
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

__all__ = [
    "Converted",
    "Delete",
    "Put",
    "RequestFactory",
    "is_delete",
    "row_of",
]

_WRAPPERS: set[type] = set()
"""The types of elements that hold a row or a key: `Put`, `Delete` and their subclasses."""


class _Wrapper:
    """What all of them have in common: each is known as one."""

    __slots__ = ()

    def __init_subclass__(cls) -> None:
        _WRAPPERS.add(cls)


@dataclass(frozen=True, slots=True)
class Put(_Wrapper):
    """Write this row: a put replaces the whole item of its key.

    Attributes:
        row: A dict, `beam.Row`, NamedTuple, dataclass or wire-form dict.
    """

    row: Any


@dataclass(frozen=True, slots=True)
class Delete(_Wrapper):
    """Delete the item of this key, if there is one.

    Attributes:
        key: The key attributes, as any kind of row; beside them at most those that `order_by` and
            `partitioned_by` name, which only tell it from other records. Where nobody knows the
            table's key, what `order_by` names counts for the key only if `partitioned_by` names it.
        beside: More of such attributes, as any kind of row; those that nobody asks for are passed
            over.
        of_row: Whether `key` is a whole row, of which the key attributes count, and what `order_by`
            and `partitioned_by` name. The table's key must be known then.
    """

    key: Any
    beside: Any = None
    of_row: bool = False


_PUT = "%b".join(PUT_AROUND).encode()
_DELETE = b'{"DeleteRequest":{"Key":%b}}'

_PUTS = frozenset(["+I", "+U", "INSERT", "UPDATE_AFTER"])
_DELETES = frozenset(["-D", "DELETE"])
_IGNORED = frozenset(["-U", "UPDATE_BEFORE"])
_KINDS = "+I, +U, -U, -D or INSERT, UPDATE_AFTER, UPDATE_BEFORE, DELETE"

_UNKNOWN = LookupError("not made yet")
_WORTH_A_BLOCK = 8
"""Fewer rows of one shape are as quickly taken one by one."""

_WORTH_WAITING = 2048
"""Bytes of a row from which on it costs less to make its body late than to carry it along."""

_Encoded = tuple[list[Any], list[list[str]], bool, bool, tuple[str, ...] | None]
"""Bodies, what each reader reads, whether there are nulls, whether all values are plain; and where
the bodies tell all of the rows, the names of their attributes."""

Origin = tuple[Any, ...]

ChangeKind = str | Callable[[Any], str] | None


class Converted(NamedTuple):
    """What became of many elements.

    Attributes:
        requests: The requests, in the order of their elements.
        refused: The places of those that have no place in the table, and why.
        ignored: How many were an UPDATE_BEFORE, which nobody writes.
        is_plain: Whether it is plain that all elements can be pickled.
    """

    requests: Requests
    refused: Sequence[tuple[int, Exception]] = ()
    ignored: int = 0
    is_plain: bool = False

    @classmethod
    def of(cls, outcomes: Sequence[Request | Exception | None]) -> Converted:
        """Sorts the outcomes of single elements."""
        refused = [
            (place, each) for place, each in enumerate(outcomes) if isinstance(each, Exception)
        ]
        requests = Requests.of(each for each in outcomes if isinstance(each, Request))
        return cls(requests, refused, outcomes.count(None))


@dataclass(frozen=True, slots=True)
class RequestFactory:
    """Turns the rows for one table into requests.

    Attributes:
        table: The table's name.
        table_key: The table's primary key, or None where nobody could tell it.
        partitioned_by: The attributes that identify a record; empty for no deduplication.
        order_by: The attribute that says which record is the later one; None for the timestamp.
        change_kind: The field, or a callable, that gives a row's change kind; None for puts only.
            A field that holds the change kind is not written.
        ignore_nulls: Whether null attributes are left out.
    """

    table: str
    table_key: TableKey | None = None
    partitioned_by: tuple[str, ...] = ()
    order_by: str | None = None
    change_kind: ChangeKind = None
    ignore_nulls: bool = False
    _key: KeyReader | None = field(init=False, repr=False, default=None)
    _record: KeyReader | None = field(init=False, repr=False, default=None)
    _encoder: RowEncoder | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        """Makes the readers of the table's key and of a record's identity; often they are one."""
        known = self.table_key or self.partitioned_by
        key = KeyReader(self.table, known) if known else None
        record = KeyReader(self.table, self.partitioned_by) if self.partitioned_by else None
        # What differs in more than the key is one item still: it has one latest record.
        if key is not None and record is not None and set(key.names) <= set(record.names):
            record = key
        object.__setattr__(self, "_key", key)
        object.__setattr__(self, "_record", record)
        object.__setattr__(self, "_encoder", row_encoder(*PUT_AROUND, self._readers))

    def request(self, element: Any, timestamp: Any, origin: Origin = ()) -> Request | None:
        """The request for one element, or None for an UPDATE_BEFORE, which nobody writes.

        Args:
            element: A row, `Put(row)` or `Delete(key)`.
            timestamp: The element's event time; orders the records of one key.
            origin: Given back with the request's outcome.

        Raises:
            RowError: The row has no place in the table. It names the attribute's path.
        """
        if isinstance(element, Put):
            return self._put(element.row, timestamp, origin)
        if isinstance(element, Delete):
            return self._delete_key(element, timestamp, origin)
        if self.change_kind is None:
            return self._put(element, timestamp, origin)
        return self._change(element, timestamp, origin)

    def requests(
        self,
        elements: Sequence[Any],
        timestamps: Sequence[Any] | Same,
        *origins: Column,
        travel: bool = False,
    ) -> Converted:
        """The requests for many elements: what `request` gives for each, in their order.

        Rows of the same attributes are taken together, at a fraction of the cost.

        Args:
            elements: The elements; at least one.
            timestamps: The event time of each.
            *origins: The columns of their origins.
            travel: Whether they are for a `Pack` that goes to another process. A row whose body
                tells all of it may then be `Told`, and the body of a large one `Late`. The first
                part of an origin must be the element.
        """
        if self.change_kind is None and _WRAPPERS.isdisjoint(map(type, elements)):
            together = self._together(elements, timestamps, origins, travel=travel)  # as mostly
            if together is not None:
                return together
        outcomes: list[Request | Exception | None] = [_UNKNOWN] * len(elements)
        for places, rows in self._shapes(elements):
            picked = [_picked(column, places) for column in (timestamps, *origins)]
            may_travel = travel and all(map(is_, rows, map(elements.__getitem__, places)))
            together = self._together(rows, picked[0], picked[1:], travel=may_travel)
            for place, request in zip(places, together.requests if together else (), strict=False):
                outcomes[place] = request
        for place, outcome in enumerate(outcomes):
            if outcome is _UNKNOWN:
                origin = tuple(column[place] for column in origins)
                outcomes[place] = self._one(elements[place], timestamps[place], origin)
        return Converted.of(outcomes)

    def _one(self, element: Any, timestamp: Any, origin: Origin) -> Request | Exception | None:
        try:
            return self.request(element, timestamp, origin)
        except Exception as error:
            return error

    def _shapes(self, elements: Sequence[Any]) -> Iterable[tuple[Sequence[int], Sequence[Any]]]:
        """The rows that are to be put, those of one shape together, with their places."""
        shapes: dict[Any, tuple[list[int], list[Any]]] = {}
        for place, element in enumerate(elements):
            try:
                row = self._row_to_put(element)
                places, rows = shapes.setdefault(_shape(row), ([], []))
            except Exception:
                row = None  # it gets an error of its own
            if row is not None:
                places.append(place)
                rows.append(row)
        return [shape for shape in shapes.values() if len(shape[0]) >= _WORTH_A_BLOCK]

    def _row_to_put(self, element: Any) -> Any:
        """The row of an element that is a put; None if it is none."""
        if type(element) in _WRAPPERS:
            return element.row if isinstance(element, Put) else None
        if self.change_kind is None:
            return element
        kind, row = self._kind_of(element)
        return row if kind in _PUTS else None

    def _together(
        self,
        rows: Sequence[Any],
        timestamps: Sequence[Any] | Same,
        origins: Sequence[Sequence[Any] | Same],
        *,
        travel: bool = False,
    ) -> Converted | None:
        """The requests of rows of one shape; None if they have to be taken one by one."""
        try:
            fields = rows if type(rows[0]) is dict else [dict(row_mapping(row)) for row in rows]
            travel = travel and fields is rows
            bodies, read, has_nulls, is_plain, told = self._encoded(fields, travel=travel)
            if (self.ignore_nulls and has_nulls) or max(map(len, bodies)) > ITEM_MAX_BYTES:
                return None
            if travel and told is not None:
                origins = [Same(Told(told)), *origins[1:]]
            identities, fences = self._keys_from(read)
            orders = timestamps if self.order_by is None else _ranks(fields, self.order_by)
        except Exception:  # whatever it is: taken alone, its row gets an error of its own
            return None
        requests = Requests(
            Same(self.table), identities, fences, copied(orders), bodies, *map(copied, origins)
        )
        return Converted(requests, is_plain=is_plain and fields is rows)

    def _encoded(self, rows: Sequence[Any], *, travel: bool) -> _Encoded:
        """The bodies of rows of one shape, and what each reader reads in them."""
        encoder = self._encoder
        if encoder is not None:
            encoded = encoder.encode(list(rows), _WORTH_WAITING if travel else 0)
            if encoded is not None:
                return encoded
        block = Block(rows)
        bodies = self._late_bodies(block) if travel else None
        return (
            bodies or block.wire(*PUT_AROUND),
            [reader.identities(block) for reader in self._readers],
            self.ignore_nulls and any(each.has_nulls() for each in block.columns.values()),
            block.is_plain,
            None,
        )

    def _late_bodies(self, block: Block) -> list[Any] | None:
        """What stands for the bodies of a block; None if they must be made to judge the rows."""
        bound = block.bound()
        if bound is None or bound.largest > ITEM_MAX_BYTES:
            return None
        size = bound.total // bound.rows
        return [Late(size)] * bound.rows if size > _WORTH_WAITING else None

    def _change(self, row: Any, timestamp: Any, origin: Origin) -> Request | None:
        kind, row = self._kind_of(row)
        if kind in _PUTS:
            return self._put(row, timestamp, origin)
        if kind in _DELETES:
            return self._delete_row(row, timestamp, origin)
        if kind in _IGNORED:
            return None
        raise self._bad_kind(f"the change kind must be {_KINDS}.")

    def change_of(self, element: Any) -> Put | Delete | None:
        """What a row is by its change kind, without the field of that; None where none is told."""
        kind, row = self._told_kind(element)
        if kind in _PUTS:
            return Put(row)
        return Delete(row, of_row=True) if kind in _DELETES else None

    def is_ignored(self, element: Any) -> bool:
        """Whether it is an UPDATE_BEFORE, which nobody writes, whatever else it holds."""
        return self._told_kind(element)[0] in _IGNORED

    def _told_kind(self, element: Any) -> tuple[str | None, Any]:
        if self.change_kind is None or type(element) in _WRAPPERS:
            return None, element
        try:
            return self._kind_of(element)
        except Exception:
            return None, element

    def _kind_of(self, row: Any) -> tuple[str, Any]:
        """A row's change kind, and the row without the field that held it."""
        if callable(self.change_kind):
            try:
                return str(plain_scalar(self.change_kind(row))), row
            except Exception as cause:
                raise self._bad_kind(f"the callable raised {type(cause).__name__}.") from cause
        fields = dict(row_mapping(row))
        return str(plain_scalar(fields.pop(str(self.change_kind), None))), fields

    def _bad_kind(self, fault: str) -> RowError:
        path = "change_kind" if callable(self.change_kind) else str(self.change_kind)
        return RowError(f"{path}: {fault}", code="InvalidChangeKind", path=path, table=self.table)

    def _put(self, row: Any, timestamp: Any, origin: Origin) -> Request:
        item = attribute_values(row, ignore_nulls=self.ignore_nulls)
        identity, fence = self._identities(item)
        body = wire(item)
        if len(body) > ITEM_MAX_BYTES:  # stored bytes are fewer than wire bytes, always
            self._check_size(item)
        order = timestamp if self.order_by is None else self._order(row)
        return Request(self.table, identity, fence, order, _PUT % body, origin)

    def _delete_row(self, row: Any, timestamp: Any, origin: Origin) -> Request:
        names = self._key_names
        if not names:
            raise RowError(
                "the row is a delete, but nobody told the table's key: set primary_key, "
                "or partitioned_by, or allow dynamodb:DescribeTable.",
                code="MissingKey",
                table=self.table,
            )
        fields = row_mapping(row)
        wanted = dict.fromkeys((*names, *self.partitioned_by))
        item = attribute_values({name: fields[name] for name in wanted if name in fields})
        return self._delete(item, names, row, timestamp, origin)

    def _delete_key(self, element: Delete, timestamp: Any, origin: Origin) -> Request:
        if element.of_row:
            return self._delete_row(element.key, timestamp, origin)
        row = row_mapping(element.key)
        item = attribute_values(row)
        names: Collection[str] = item
        if self.table_key:
            self._check_delete(item)
            names = self.table_key.names
        elif self.order_by not in self.partitioned_by:
            names = item.keys() - {self.order_by}
        if element.beside is not None:
            beside = row_mapping(element.beside)
            more = {name: beside[name] for name in self._beside if name in beside}
            # Apart, since one may be in wire form and the other not.
            row, item = {**more, **row}, {**attribute_values(more), **item}
        return self._delete(item, names, row, timestamp, origin)

    def _delete(
        self,
        item: Mapping[str, AttributeValue],
        names: Collection[str],
        row: Any,
        timestamp: Any,
        origin: Origin,
    ) -> Request:
        """The delete of an item, by the attributes of these names."""
        identity, fence = self._identities(item)
        key = {name: value for name, value in item.items() if name in names}
        order = timestamp if self.order_by is None else self._order(row)
        return Request(self.table, identity, fence, order, _DELETE % wire(key), origin)

    @property
    def _beside(self) -> set[str]:
        """What tells records apart and orders them without being part of the table's key."""
        names = {*self.partitioned_by, self.order_by or ""}
        return names - {*self._key_names, ""}

    def _check_delete(self, item: Mapping[str, AttributeValue]) -> None:
        others = item.keys() - {*self._key_names, *self._beside}
        if others:
            raise RowError(
                f"{min(others)}: a Delete holds just the key attributes ({self.table_key}).",
                code="InvalidKey",
                path=min(others),
                key=self._key_text(item),
                table=self.table,
            )

    def _identities(self, item: Mapping[str, AttributeValue]) -> tuple[str | None, str | None]:
        """A record's identity, and the fence of its item."""
        key, record = self._key, self._record
        if key is None:
            return None, None
        fence = key.identity(item)
        if record is key:
            return fence, fence
        return None if record is None else record.identity(item), fence

    @property
    def _readers(self) -> tuple[KeyReader, ...]:
        """The readers of a key's fence and a record's identity, one where they are the same."""
        readers = self._key, self._record
        return tuple(dict.fromkeys(reader for reader in readers if reader is not None))

    def _keys_from(self, read: list[list[str]]) -> tuple[Column, Column]:
        """The columns of records' identities and of fences, out of what the readers read."""
        if self._key is None:
            return Same(None), Same(None)
        if self._record is self._key:
            return read[0], AS_IDENTITIES
        return (read[1] if self._record else Same(None)), read[0]

    def _order(self, row: Any) -> tuple[int, Any]:
        name = str(self.order_by)
        fields = row_mapping(row)
        try:
            rank = rank_of(fields[name]) if name in fields else None
        except Exception as error:
            raise row_error(within(step(name), error)) from cause_of(error)
        if rank is None:
            fault = (
                "order_by needs a number, a string, bytes or a time here."
                if name in fields
                else "there is no such attribute, and order_by needs it. A Delete gives it beside "
                "the key."
            )
            raise RowError(f"{name}: {fault}", code="InvalidValue", path=name, table=self.table)
        return rank

    def _check_size(self, item: Mapping[str, AttributeValue]) -> None:
        size = stored_size(item)
        if size > ITEM_MAX_BYTES:
            raise RowError(
                f"the item of {self._key_text(item)} has {size} bytes; DynamoDB takes at most "
                f"{ITEM_MAX_BYTES} (names and values). Split it, or leave attributes out.",
                code="ItemTooLarge",
                key=self._key_text(item),
                table=self.table,
            )

    @property
    def _key_names(self) -> tuple[str, ...]:
        """The attributes of the table's key, as far as anybody told them."""
        return self._key.names if self._key else ()

    def _key_text(self, item: Mapping[str, AttributeValue]) -> str | None:
        return key_text(item, self._key_names)

    def key_text(self, body: bytes) -> str | None:
        """The key of a request's body as text, for messages; None where it is unknown."""
        return self._key_text(item_of(body))

    def untold(self, element: Any, body: bytes) -> dict[str, Any]:
        """What the body of an element's request does not tell, and whoever writes it again needs.

        Of a delete what `order_by` and `partitioned_by` name beside its key, in wire form; and of
        a put too the time that orders it, since texts of times sort otherwise: `…00.5Z` before
        `…00Z`.
        """
        names = self._beside
        fields = dict(row_mapping(row_of(element))) if names else {}
        if names and isinstance(element, Delete) and element.beside is not None:
            fields |= row_mapping(element.beside)
        present = {name: fields[name] for name in names if name in fields}
        untold: dict[str, Any] = attribute_values(present) if is_delete(body) else {}
        name = str(self.order_by)
        time = plain_time(present.get(name))
        return untold if time is None else {**untold, name: time}

    def key_text_of(self, element: Any) -> str | None:
        """The key of an element that may be no good, as far as it can be read."""
        names = self._key_names
        try:
            fields = row_mapping(row_of(element))
            present = {name: fields[name] for name in names if name in fields}
            return self._key_text(attribute_values(present))
        except Exception:
            return None


def is_delete(body: bytes) -> bool:
    """Whether a request's body is that of a delete."""
    return body.startswith(_DELETE[:16])


def row_of(element: Any) -> Any:
    """The row that an element is or holds."""
    if isinstance(element, Delete):
        return element.key
    return element.row if isinstance(element, Put) else element


def _picked(column: Any, places: Sequence[int]) -> Any:
    return column if isinstance(column, Same) else itemgetter(*places)(column)


def _shape(row: Any) -> Any:
    """What rows have in common that can be taken together."""
    return tuple(row) if type(row) is dict else type(row)


def _ranks(rows: Iterable[Mapping[str, Any]], order_by: str) -> list[tuple[int, Any]]:
    ranks = [rank_of(row[order_by]) for row in rows]
    if None in ranks:
        raise NotUniformError
    return ranks  # type: ignore[return-value]
