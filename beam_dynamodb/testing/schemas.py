"""What a CreateTable asks for and DynamoDB would not refuse: key, secondary indexes, throughput.

The rules are those of the API Reference, *CreateTable*, and of the Developer Guide, *Quotas*; the
default quotas count.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from beam_dynamodb.table import TableKey, is_table_name
from beam_dynamodb.testing.attributes import KeyPart, Refused, key_parts

__all__ = ["Schema", "is_plain_name", "schema_of"]

_GLOBAL, _LOCAL = "GlobalSecondaryIndexes", "LocalSecondaryIndexes"
_MOST_INDEXES = {_GLOBAL: 20, _LOCAL: 5}
_MOST_UNITS = 40_000
_KEY_NAME_MAX_BYTES = 255
_PROJECTIONS = ("ALL", "KEYS_ONLY", "INCLUDE")
_BILLING_MODES = (None, "PROVISIONED", "PAY_PER_REQUEST")


class Schema(NamedTuple):
    """What every write to a table has to fit.

    Attributes:
        key: The parts of its key.
        indexed: The key attributes of its secondary indexes that are not its own.
    """

    key: tuple[KeyPart, ...]
    indexed: tuple[KeyPart, ...]


def schema_of(request: Mapping[str, Any]) -> Schema:
    """The schema that a CreateTable asks for.

    Raises:
        Refused: DynamoDB would not make such a table.
    """
    types = _attribute_types(request.get("AttributeDefinitions"))
    key = _key_from(request.get("KeySchema"), types)
    indexed = _index_parts(request, types, key)
    if {part.name for part in (*key, *indexed)} != types.keys():
        raise _invalid(
            "The attributes in key schema must match the attributes defined in attribute "
            "definitions."
        )
    _check_billing(request)
    own = {part.name for part in key}
    return Schema(key, tuple(part for part in indexed if part.name not in own))


def is_plain_name(name: object) -> bool:
    """Whether a table or an index may have this name."""
    return isinstance(name, str) and is_table_name(name) and ":" not in name


# --- keys ----------------------------------------------------------------------------------


def _attribute_types(definitions: Any) -> dict[str, str]:
    named = _named(definitions)
    types = {name: each.get("AttributeType", "") for name, each in named}
    if not types or not all(kind in ("S", "N", "B") for kind in types.values()):
        raise Refused("AttributeDefinitions: Member must satisfy enum value set: [B, N, S]")
    if len(types) < len(named):
        raise _invalid("Cannot have two attributes with the same name")
    for name in types:
        _check_name(name)
    return types


def _check_name(name: str) -> None:
    if not 1 <= len(name.encode()) <= _KEY_NAME_MAX_BYTES:
        raise _invalid(
            "Names of key attributes and attributes projected into an index must be between 1 "
            f"and {_KEY_NAME_MAX_BYTES} characters, inclusive"
        )


def _key_from(schema: Any, types: Mapping[str, str]) -> tuple[KeyPart, ...]:
    elements = _named(schema)
    roles = tuple(element.get("KeyType") for _, element in elements)
    names = tuple(name for name, _ in elements)
    if roles not in (("HASH",), ("HASH", "RANGE")):
        raise Refused(
            "Invalid KeySchema: The first KeySchemaElement is not a HASH key type, or there is "
            "more than a HASH and a RANGE key"
        )
    if len(set(names)) < len(names):
        raise Refused("Invalid KeySchema: Two keys can not have the same name")
    for name in names:
        if name not in types:
            raise Refused(f"Key attribute {name} is not specified in AttributeDefinitions")
    return key_parts(TableKey(names, tuple(types[name] for name in names)))  # type: ignore[misc]


# --- secondary indexes ---------------------------------------------------------------------


def _index_parts(
    request: Mapping[str, Any], types: Mapping[str, str], key: tuple[KeyPart, ...]
) -> tuple[KeyPart, ...]:
    """The key attributes of the secondary indexes, the table's own among them."""
    if request.get(_GLOBAL) == []:
        raise _invalid("List of GlobalSecondaryIndexes is empty")
    parts: dict[KeyPart, None] = {}
    names: list[str] = []
    for kind in _MOST_INDEXES:
        for index in _indexes(request, kind):
            own = _key_from(index.get("KeySchema"), types)
            if kind == _LOCAL:
                _check_local(own, key)
            parts |= dict.fromkeys(own)
            names.append(index["IndexName"])
    if len(set(names)) < len(names):
        raise _invalid("Two secondary indexes have the same name")
    return tuple(parts)


def _indexes(request: Mapping[str, Any], kind: str) -> list[dict[str, Any]]:
    """The indexes of one kind, each with a name and a projection."""
    indexes = _objects(request.get(kind))
    if len(indexes) > _MOST_INDEXES[kind]:
        raise _invalid(f"A table has at most {_MOST_INDEXES[kind]} {kind}")
    for index in indexes:
        if not is_plain_name(index.get("IndexName")):
            raise Refused("IndexName must have 3 to 255 of a-z, A-Z, 0-9, '_', '-' and '.'")
        _check_projection(index.get("Projection"))
    return indexes


def _check_projection(projection: Any) -> None:
    told = _object({} if projection is None else projection)
    kind, included = told.get("ProjectionType"), told.get("NonKeyAttributes") or []
    if type(included) is not list or not all(type(name) is str for name in included):
        raise Refused("NonKeyAttributes must be strings.", code="SerializationException")
    if kind not in _PROJECTIONS:
        raise _invalid(f"An index's ProjectionType must be one of {', '.join(_PROJECTIONS)}")
    if (kind == "INCLUDE") is not bool(included):
        raise _invalid("ProjectionType INCLUDE, and it alone, goes with NonKeyAttributes")
    if len(set(included)) < len(included):
        raise _invalid("Cannot have two attributes with the same name")
    for name in included:
        _check_name(name)


def _check_local(own: tuple[KeyPart, ...], key: tuple[KeyPart, ...]) -> None:
    if len(key) == 1:
        raise _invalid("Local secondary indexes need a table with a HASH and a RANGE key")
    if len(own) == 1 or own[0] != key[0]:
        raise _invalid("A local secondary index has the table's own HASH key and a RANGE key")


# --- throughput ----------------------------------------------------------------------------


def _check_billing(request: Mapping[str, Any]) -> None:
    mode, throughput = request.get("BillingMode"), request.get("ProvisionedThroughput")
    if mode not in _BILLING_MODES:
        raise Refused("BillingMode must be one of PROVISIONED, PAY_PER_REQUEST")
    if mode != "PAY_PER_REQUEST":
        _check_throughput(throughput, "the table")
        for index in _objects(request.get(_GLOBAL)):
            _check_throughput(index.get("ProvisionedThroughput"), "the global secondary index")
    elif throughput is not None:
        raise _invalid(
            "Neither ReadCapacityUnits nor WriteCapacityUnits can be specified when BillingMode "
            "is PAY_PER_REQUEST"
        )


def _check_throughput(throughput: Any, place: str) -> None:
    if throughput is None:
        raise _invalid(f"No provisioned throughput specified for {place}")
    told = _object(throughput)
    for name in ("ReadCapacityUnits", "WriteCapacityUnits"):
        units = told.get(name)
        if units is not None and type(units) is not int:
            raise Refused(f"{name} must be a whole number.", code="SerializationException")
        if units is None or not 1 <= units <= _MOST_UNITS:
            raise _invalid(f"{name} of {place} must be from 1 to {_MOST_UNITS}")


# --- their JSON ----------------------------------------------------------------------------


def _invalid(text: str) -> Refused:
    return Refused(f"One or more parameter values were invalid: {text}")


def _object(member: Any) -> dict[str, Any]:
    if type(member) is not dict:
        raise Refused("An object was expected.", code="SerializationException")
    return member


def _objects(members: Any) -> list[dict[str, Any]]:
    """The objects of a list, which may be missing."""
    found = [] if members is None else members
    if type(found) is not list:
        raise Refused("A list of objects was expected.", code="SerializationException")
    return list(map(_object, found))


def _named(members: Any) -> list[tuple[str, dict[str, Any]]]:
    """Objects that say an attribute, with its name."""
    found = _objects(members)
    if not all(isinstance(each.get("AttributeName"), str) for each in found):
        raise Refused("AttributeName must be a string.", code="SerializationException")
    return [(each["AttributeName"], each) for each in found]
