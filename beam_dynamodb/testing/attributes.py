"""Which attribute values, items and keys DynamoDB takes, and in which form it stores them.

The rules are those of the API Reference (*AttributeValue*) and the Developer Guide (*Quotas*,
*Naming rules and data types*); the messages are similar to the service's, the codes are the same.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple, TypeAlias

from beam_dynamodb.errors import RowError
from beam_dynamodb.numbers import check_number
from beam_dynamodb.table import NESTING_MAX_DEPTH, TableKey
from beam_dynamodb.values import ATTRIBUTE_NAME_MAX_BYTES

__all__ = ["Item", "Key", "KeyPart", "Refused", "key_of", "key_parts", "stored_item"]

Item: TypeAlias = dict[str, Any]
"""Attribute names and their values in DynamoDB's JSON: `{"id": {"N": "7"}}`."""

Key: TypeAlias = tuple[str, ...]
"""The values of an item's key attributes as text, the partition key first: equal exactly where
DynamoDB takes two keys as one. Numbers are in their stored form, bytes in base64."""


class Refused(Exception):
    """The service's error answer to one call.

    Attributes:
        message: The text for the caller.
        code: The error's code as AWS documents it, such as `ValidationException`.
        status: The HTTP status.
        extra: Further members of the answer's body, such as `ThrottlingReasons`.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "ValidationException",
        status: int = 400,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.status = status
        self.extra = dict(extra or {})


class KeyPart(NamedTuple):
    """One attribute of a table's or an index's key.

    Attributes:
        name: The attribute's name.
        type: `S`, `N` or `B`.
        max_bytes: The longest value DynamoDB takes here.
    """

    name: str
    type: str
    max_bytes: int


def key_parts(key: TableKey) -> tuple[KeyPart, ...]:
    """The parts of a key whose types are known, the partition key first."""
    return tuple(map(KeyPart, key.names, key.types or (), key.max_bytes))


def stored_item(item: object, level: int = 1) -> Item:
    """The item, or the map at this level of nesting, as DynamoDB stores it.

    Raises:
        Refused: DynamoDB does not take it. `SerializationException` where it is not even the
            JSON that the API describes, `ValidationException` for all else.
    """
    if type(item) is not dict:
        raise _not_the_json("a map of attributes")
    if "" in item:
        raise Refused("Empty attribute name")
    # A character has at most four bytes, so that most names need not be encoded.
    if item and max(map(len, item)) * 4 > ATTRIBUTE_NAME_MAX_BYTES:
        _check_names(item)
    return {name: _stored_value(value, level) for name, value in item.items()}


def _check_names(item: Iterable[str]) -> None:
    if any(len(name.encode()) > ATTRIBUTE_NAME_MAX_BYTES for name in item):
        raise Refused(
            "1 validation error detected: Map keys must satisfy constraint: Member must have "
            f"length less than or equal to {ATTRIBUTE_NAME_MAX_BYTES}"
        )


def key_of(item: Item, parts: Iterable[KeyPart]) -> Key:
    """The key of a stored item.

    Raises:
        Refused: A key attribute is missing, of another type than the table's, empty or too long.
    """
    return tuple([_key_value(item, part) for part in parts])


def _key_value(item: Item, part: KeyPart) -> str:
    name, kind, max_bytes = part
    value = item.get(name)
    if value is None:
        raise Refused(
            "One or more parameter values were invalid: One of the required keys was not "
            f"given a value: Missing the key {name} in the item"
        )
    content: str | None = value.get(kind)
    if content is None:
        raise Refused(
            f"One or more parameter values were invalid: Type mismatch for key {name} "
            f"expected: {kind} actual: {next(iter(value))}"
        )
    # Quick for the usual short key: a character has at most four bytes.
    if content and (len(content) * 4 <= max_bytes or kind == "N"):
        return content
    return _checked_key_content(content, part)


def _checked_key_content(content: str, part: KeyPart) -> str:
    if not content:
        kind = "binary" if part.type == "B" else "string"
        raise Refused(
            "One or more parameter values are not valid. The AttributeValue for a key attribute "
            f"cannot contain an empty {kind} value. Key: {part.name}"
        )
    size = len(base64.b64decode(content) if part.type == "B" else content.encode())
    if size > part.max_bytes:
        raise Refused(
            "One or more parameter values were invalid: Size of the key has exceeded the maximum "
            f"size limit of {part.max_bytes} bytes. Key: {part.name}"
        )
    return content


def _stored_value(value: Any, level: int) -> dict[str, Any]:
    if type(value) is dict and len(value) == 1:
        for tag, content in value.items():
            if tag == "S" and type(content) is str:  # the usual one, and it stays as it is
                return value
            if tag in _STORED and content is not None:
                return {tag: _STORED[tag](content, level)}
    raise _no_value(value)


def _no_value(value: object) -> Refused:
    if type(value) is not dict:
        return _not_the_json("an AttributeValue")
    if len(value) > 1:
        return Refused(
            "Supplied AttributeValue has more than one datatypes set, "
            "must contain exactly one of the supported datatypes"
        )
    return Refused(
        "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes"
    )


def _string(content: object, _level: int) -> str:
    if type(content) is not str:
        raise _not_the_json("a string")
    return content


_PLAIN_NUMBER = re.compile(
    r"0|-?[1-9][0-9]{0,18}|-?(?:0|[1-9][0-9]{0,18})\.[0-9]{0,18}[1-9]"
).fullmatch


def _number(content: object, level: int) -> str:
    text = _string(content, level)
    if _PLAIN_NUMBER(text):
        return text
    try:
        number = Decimal(check_number(text))
    except RowError as error:
        raise Refused(
            f"A value provided cannot be converted into a number: it {error.message}"
        ) from error
    plain = format(number, "f") if number else "0"
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


def _binary(content: object, level: int) -> str:
    try:
        data = base64.b64decode(_string(content, level), validate=True)
    except (binascii.Error, ValueError) as error:
        raise _not_the_json("bytes in base64") from error
    return base64.b64encode(data).decode()


def _boolean(content: object, _level: int) -> bool:
    if type(content) is not bool:
        raise _not_the_json("a boolean")
    return content


def _null(content: object, level: int) -> bool:
    if not _boolean(content, level):
        raise Refused(
            "One or more parameter values were invalid: "
            "Null attribute value types must have the value of true"
        )
    return True


def _set_of(stored: Callable[[object, int], str], kind: str) -> Callable[[object, int], list[str]]:
    def members(content: object, level: int) -> list[str]:
        if type(content) is not list:
            raise _not_the_json("a list")
        if not content or None in content:
            what = "have a null member" if content else "be empty"
            raise Refused(f"One or more parameter values were invalid: A {kind} set may not {what}")
        values = [stored(member, level) for member in content]
        if len(set(values)) < len(values):
            raise Refused(
                "One or more parameter values were invalid: "
                f"Input collection of a {kind} set contains duplicates"
            )
        return values

    return members


def _deeper(level: int) -> int:
    if level >= NESTING_MAX_DEPTH:
        raise Refused(
            "Nesting Levels have exceeded supported limits: Attributes in the item have nested "
            "levels beyond supported limit"
        )
    return level + 1


def _list(content: object, level: int) -> list[dict[str, Any]]:
    if type(content) is not list:
        raise _not_the_json("a list")
    level = _deeper(level)
    return [_stored_value(value, level) for value in content]


def _map(content: object, level: int) -> Item:
    return stored_item(content, _deeper(level))


_STORED: dict[str, Callable[[Any, int], Any]] = {
    "S": _string,
    "N": _number,
    "B": _binary,
    "BOOL": _boolean,
    "NULL": _null,
    "SS": _set_of(_string, "string"),
    "NS": _set_of(_number, "number"),
    "BS": _set_of(_binary, "binary"),
    "L": _list,
    "M": _map,
}


def _not_the_json(expected: str) -> Refused:
    return Refused(
        f"The request is not as described: {expected} was expected", code="SerializationException"
    )
