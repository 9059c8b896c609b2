"""What makes two keys one: a key's identity as DynamoDB compares keys, and what no key may be.

DynamoDB takes the numbers 1, 1.0 and 1E0 as one key, and the string "1" as another.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence

from beam_dynamodb.columns import Block, Column
from beam_dynamodb.errors import RowError
from beam_dynamodb.numbers import canonical_number, is_short
from beam_dynamodb.sizes import binary_size
from beam_dynamodb.table import TableKey
from beam_dynamodb.values import AttributeValue, attribute_value

_ByShard = Callable[[list[str], int], dict[int, list[int]]]

_compiled: _ByShard | None
try:
    from beam_dynamodb.row_encoder import places_by_shard as _compiled
except ImportError:  # it was installed where there is no compiler
    _compiled = None

__all__ = ["KeyReader", "key_text", "partition_of", "places_by_shard"]

_SCALARS = "a key must be a string, a number or bytes"
_GIVE = {"S": "a string", "N": "a number", "B": "bytes"}


class KeyReader:
    """Reads the identity of a key out of items.

    An identity is the parts of the key, each as its type, its length and its value: the length
    keeps ("a", "bc") and ("ab", "c") apart, the type 1 and "1".

    Attributes:
        names: The names of the key's attributes.
        parts: Of each attribute its name, its type and the most bytes it may have, None where it
            may have any.
    """

    def __init__(self, table: str, key: TableKey | Sequence[str]) -> None:
        """Makes a reader.

        Args:
            table: The table's name, for errors.
            key: The table's key, whose rules the parts then have to keep; or just the names of
                attributes that identify a record.
        """
        self._table = table
        names = key.names if isinstance(key, TableKey) else tuple(key)
        types = (key.types if isinstance(key, TableKey) else None) or (None,) * len(names)
        limits = key.max_bytes if isinstance(key, TableKey) else (None,) * len(names)
        self.names = names
        self.parts = tuple(zip(names, types, limits, strict=True))

    def identity(self, item: Mapping[str, AttributeValue]) -> str:
        """The identity of an item's key.

        Raises:
            RowError: A part is missing, or the table could not have it as its key.
        """
        return "".join([self._part(item, *part) for part in self.parts])

    def identities(self, block: Block) -> list[str]:
        """The identities of a block's rows, each as `identity` gives it.

        Raises:
            KeyError: The rows lack a part.
            RowError: The table could not have one of them as its key.
        """
        parts = [self._column(block.columns[part[0]], *part) for part in self.parts]
        return parts[0] if len(parts) == 1 else list(map("".join, zip(*parts, strict=True)))

    def part(self, value: object, name: str, kind: str | None, limit: int | None) -> str:
        """What a value of one of the parts adds to an identity.

        Raises:
            RowError: The table could not have it in its key.
        """
        return self._part({name: attribute_value(value)}, name, kind, limit)

    def _part(
        self,
        item: Mapping[str, AttributeValue],
        name: str,
        kind: str | None,
        limit: int | None,
    ) -> str:
        value = item.get(name)
        if value is None:
            raise self._missing(name)
        tag = next(iter(value))
        content = value[tag]
        if tag != kind and not self._may_be(kind, limit, tag):
            raise self._bad(item, name, kind, tag)
        if tag == "N":
            content = canonical_number(content)
        elif limit is not None and not 0 < len(content) * 4 <= limit:
            # A character has at most four bytes, so most keys are judged by their length alone.
            self._check_length(item, name, limit, tag, content)
        return f"{tag}{len(content)}:{content}" if tag != "BOOL" else f"BOOL1:{content:d}"

    def _column(self, column: Column, name: str, kind: str | None, limit: int | None) -> list[str]:
        """The same part of many keys."""
        values = column.values
        if column.kind is int and kind in (None, "N") and is_short(values):
            return [f"N{len(text)}:{text}" for text in map(str, values)]
        if column.kind is str and kind in (None, "S"):
            lengths = set(map(len, values))
            if limit is None or (min(lengths) > 0 and max(lengths) * 4 <= limit):
                return [f"S{len(text)}:{text}" for text in values]
        return [self._part({name: each}, name, kind, limit) for each in column.attribute_values()]

    def _may_be(self, kind: str | None, limit: int | None, tag: str) -> bool:
        """Whether a part of an untold type may have this one."""
        return kind is None and (tag in ("S", "N", "B") or (limit is None and tag == "BOOL"))

    def _check_length(
        self, item: Mapping[str, AttributeValue], name: str, limit: int, tag: str, content: str
    ) -> None:
        if not content:
            raise self._refused(item, name, "a key must not be empty")
        if (binary_size(content) if tag == "B" else _bytes_of_text(content)) > limit:
            raise self._refused(item, name, f"a key of this place has at most {limit} bytes")

    def _bad(
        self, item: Mapping[str, AttributeValue], name: str, kind: str | None, tag: str
    ) -> RowError:
        if kind is not None and tag in ("S", "N", "B"):
            rule = f"the table's key has type {kind}, and this is of type {tag}; give {_GIVE[kind]}"
            return self._refused(item, name, rule)
        return self._refused(item, name, _SCALARS)

    def _missing(self, name: str) -> RowError:
        is_of_table = any(limit is not None for *_, limit in self.parts)
        reason = "it is part of the table's key" if is_of_table else "'partitioned_by' names it"
        return RowError(
            f"{name}: the row has no such attribute, and {reason}.",
            code="MissingKey",
            path=name,
            table=self._table,
        )

    def _refused(self, item: Mapping[str, AttributeValue], name: str, rule: str) -> RowError:
        return RowError(
            f"{name}: {rule}.",
            code="InvalidKey",
            path=name,
            key=key_text(item, self.names),
            table=self._table,
        )


def partition_of(identity: str) -> str:
    """The part of a table key's identity that stands for its partition key."""
    tag_and_length, _, text = identity.partition(":")
    return f"{tag_and_length}:{text[: int(tag_and_length.lstrip('SNBOL'))]}"


def key_text(item: Mapping[str, AttributeValue], names: Sequence[str]) -> str | None:
    """The key attributes of an item as text: `{user_id: 7, item_id: 12}`."""
    shown = [f"{name}: {_short(item[name])}" for name in names if name in item]
    return "{" + ", ".join(shown) + "}" if shown else None


def _short(value: AttributeValue) -> str:
    [(tag, content)] = value.items()
    text = "null" if tag == "NULL" else str(content)
    return text if len(text) <= 100 else text[:100] + "…"


def _bytes_of_text(text: str) -> int:
    # What no UTF-8 can hold is refused by its name when the row is written out.
    return len(text.encode(errors="surrogatepass"))


def places_by_shard(identities: list[str], shards: int) -> dict[int, list[int]]:
    """The places of the identities that fall into each shard, in order.

    An identity's shard is the same in every process, unlike Python's own hash.
    """
    if _compiled is not None:
        return _compiled(identities, shards)
    places: dict[int, list[int]] = {}
    for place, identity in enumerate(identities):
        places.setdefault(zlib.crc32(identity.encode()) % shards, []).append(place)
    return places
