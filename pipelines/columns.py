"""What becomes of a file's columns on the way to a row: names, types, nulls. Pure."""

from __future__ import annotations

import base64
import binascii
import json
import re
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from itertools import chain
from typing import Any

from beam_dynamodb.errors import OptionError, RowError

__all__ = ["MOST_LEVELS", "TYPES", "Columns", "check_levels", "names", "pairs"]

Row = dict[str, Any]

MOST_LEVELS = 100
"""How deep JSON may be: three times what DynamoDB takes, and little enough for every step."""

_MOST_DIGITS = 38
_INTEGER = re.compile(r"[+-]?[0-9]{1,38}")
_BOOLEANS = {"true": True, "false": False, "1": True, "0": False}


def names(text: str) -> list[str]:
    """Names separated by commas, as flags and parameters have them."""
    return [each.strip() for each in text.split(",") if each.strip()]


def pairs(option: str, text: str) -> dict[str, str]:
    """What `a:b,c:d` says.

    Raises:
        OptionError: It has another form, or says two things of one name.
    """
    found: dict[str, str] = {}
    for each in names(text):
        left, separator, right = (part.strip() for part in each.rpartition(":"))
        if not (left and separator and right):
            raise OptionError(
                f"'{option}' must have the form NAME:…,NAME:…, not '{each}'.", option=option
            )
        if left in found:
            raise OptionError(f"'{option}' names '{left}' twice.", option=option)
        found[left] = right
    return found


def check_levels(value: Any) -> None:
    """Checks that what JSON gave is no deeper than `MOST_LEVELS`.

    Raises:
        RecursionError: It is, as the reader itself says of what is deeper still.
    """
    level = [value]
    for _ in range(MOST_LEVELS + 1):
        maps = [each.values() for each in level if isinstance(each, dict)]
        lists = [each for each in level if isinstance(each, list)]
        if not maps and not lists:
            return
        level = [*chain.from_iterable(maps), *chain.from_iterable(lists)]
    raise RecursionError


# --- one value -----------------------------------------------------------------------------


class _Refused(ValueError):
    """A value is not of its column's type."""

    def __init__(self, reason: str, path: str = "") -> None:
        super().__init__(reason)
        self.path = path


def _text(value: Any, _: str) -> str:
    if isinstance(value, (bytes, bytearray, dict, list, set, tuple)):
        raise _Refused(f"is a {type(value).__name__}, which S can't hold")
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)


def _number(value: Any, _: str) -> int | float | Decimal:
    if type(value) is str and value.isdigit() and value.isascii() and len(value) <= _MOST_DIGITS:
        return int(value)  # what most cells hold
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, (int, float, Decimal)):
        return value
    if not isinstance(value, str):
        raise _Refused(f"holds something else than a number: a {type(value).__name__}")
    try:
        return int(value) if _INTEGER.fullmatch(value) else _decimal(value)
    except InvalidOperation:
        raise _Refused("holds something else than a number") from None


def _decimal(text: str) -> Decimal:
    text = text.strip()
    number = Decimal(text)
    if not number.is_finite():
        raise _Refused("holds something else than a number that DynamoDB has")
    if "_" in text or not text.isascii():  # which numbers have in Python alone
        raise _Refused("holds something else than a number")
    return number


def _boolean(value: Any, _: str) -> bool:
    if isinstance(value, bool):
        return value
    found = _BOOLEANS.get(str(value).strip().lower())
    if found is None:
        raise _Refused("holds something else than true or false")
    return found


def _binary(value: Any, _: str) -> bytes:
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    try:
        return base64.b64decode(value, validate=True)
    except (ValueError, TypeError, binascii.Error):
        raise _Refused("holds something else than base64 with its padding") from None


def _parsed(value: Any, kind: type, what: str) -> Any:
    if isinstance(value, str):
        try:
            value = json.loads(value, parse_float=Decimal, parse_constant=_no_constant)
            check_levels(value)
        except ValueError:
            raise _Refused(f"holds something else than {what} in JSON") from None
        except RecursionError:
            raise _Refused("holds JSON that is nested too deeply") from None
    if not isinstance(value, kind):
        raise _Refused(f"holds something else than {what} in JSON")
    return value


def _no_constant(text: str) -> Any:
    raise ValueError(text)


def _list(value: Any, _: str) -> list[Any]:
    found = list(value) if isinstance(value, (tuple, set, frozenset)) else value
    return list(_parsed(found, list, "a list"))


def _map(value: Any, _: str) -> dict[str, Any]:
    return dict(_parsed(value, dict, "an object"))


def _set_of(member: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    """Makes sets: of a list, of a JSON list, or of text with the separator in it."""

    def convert(value: Any, separator: str) -> set[Any]:
        if isinstance(value, str) and not value.lstrip().startswith("["):
            value = [each.strip() for each in value.split(separator)] if value else []
        members = list(_list(value, separator))
        if not members:
            raise _Refused("is an empty set, which DynamoDB has not; give null instead")
        found = set()
        for index, each in enumerate(members):
            try:
                found.add(member(each, separator))
            except _Refused as fault:
                raise _Refused(str(fault), f"[{index}]") from None
        return found

    return convert


TYPES: dict[str, Callable[[Any, str], Any]] = {
    "S": _text,
    "N": _number,
    "B": _binary,
    "BOOL": _boolean,
    "L": _list,
    "M": _map,
    "SS": _set_of(_text),
    "NS": _set_of(_number),
    "BS": _set_of(_binary),
}
"""DynamoDB's types, and what makes a value of each: of text, or of what other formats have."""


# --- a row ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Columns:
    """How a file's columns become a row's attributes.

    Attributes:
        types: DynamoDB's type of columns, by the column's name in the file. Other columns keep
            the type that the file gives them, which in CSV is text.
        rename: The attribute's name by the column's.
        drop: Columns that are left out.
        derive: Attributes made of columns by a template, such as `{carrier}{flight}`.
        null: The text that stands for no value, which becomes NULL; None where no text does.
        separator: What stands between the members of a set in text.
        keep: The attributes that are kept, all others being left out; empty keeps all.
    """

    types: Mapping[str, str] = field(default_factory=dict)
    rename: Mapping[str, str] = field(default_factory=dict)
    drop: frozenset[str] = frozenset()
    derive: Mapping[str, str] = field(default_factory=dict)
    null: str | None = None
    separator: str = ";"
    keep: frozenset[str] = frozenset()

    @classmethod
    def parse(
        cls,
        *,
        types: str | None = "",
        numbers: str | None = "",
        rename: str | None = "",
        drop: str | None = "",
        derive: str | Sequence[str] | None = (),
        null: str | None = None,
        separator: str | None = ";",
        keep: str | None = "",
    ) -> Columns:
        """Reads what flags or template parameters say; an empty text says nothing.

        Args:
            types: `user_id:N,tags:SS`.
            numbers: `a,b`, as `types` with `N`.
            rename: `column:attribute,…`.
            drop: `a,b`.
            derive: `attribute=template`, or several.
            null: The text of a cell without a value.
            separator: What stands between the members of a set.
            keep: `a,b`, the only attributes that are kept.

        Raises:
            OptionError: One of them has not its form, or two make one attribute; it names it.
        """
        told = dict.fromkeys(names(numbers or ""), "N") | pairs("types", types or "")
        for column, tag in told.items():
            if tag not in TYPES:
                raise OptionError(
                    f"'types' gives column '{column}' the type '{tag}', which is none of "
                    f"{', '.join(TYPES)}.",
                    option="types",
                )
        derive = [derive] if isinstance(derive, str) else list(derive or ())
        renamed = pairs("rename", rename or "")
        derived = [_derived(each) for each in derive if each]
        _check_made([*renamed.values(), *(name for name, _ in derived)])
        return cls(
            types=told,
            rename=renamed,
            drop=frozenset(names(drop or "")),
            derive=dict(derived),
            null=null,
            separator=separator or ";",
            keep=frozenset(names(keep or "")),
        )

    @property
    def needed(self) -> frozenset[str]:
        """The columns without which no row can be made."""
        used = {name for each in self.derive.values() for name in _fields(each)}
        return frozenset({*self.types, *self.rename, *self.drop, *used})

    @property
    def changing(self) -> str:
        """The names of the settings that change rows, for messages; empty where none does."""
        told = {
            "types (numbers)": self.types,
            "rename": self.rename,
            "drop": self.drop,
            "derive": self.derive,
            "keep": self.keep,
        }
        return ", ".join(name for name, setting in told.items() if setting)

    def clash(self, columns: Iterable[str]) -> tuple[str, str] | None:
        """The column, if any, whose name a setting gives to another attribute, and the setting."""
        made = {to: "rename" for name, to in self.rename.items() if name not in self.drop}
        made |= dict.fromkeys(self.derive, "derive")
        kept = (name for name in columns if name not in self.drop and name not in self.rename)
        return next(((name, made[name]) for name in kept if name in made), None)

    def row(self, cells: Mapping[str, Any]) -> Row:
        """The row of a record.

        Args:
            cells: The record's values by column.

        Raises:
            RowError: A value is not of its column's type, or a column is missing, has no value
                where one is needed, or would be lost. `path` tells the column; the message never
                quotes the value.
        """
        row: Row = dict(cells)
        if self.null is not None:
            null = self.null
            row = {name: None if value == null else value for name, value in row.items()}
        column = ""
        try:
            for column, tag in self.types.items():
                value = row.get(column)
                if value is not None:
                    row[column] = TYPES[tag](value, self.separator)
        except _Refused as fault:
            path = column + fault.path
            raise RowError(f"column '{path}' {fault}.", code="InvalidValue", path=path) from None
        if self.rename or self.drop or self.derive:
            row = self._named(row, _Cells(cells, self.null))
        return {name: row[name] for name in row if name in self.keep} if self.keep else row

    def _named(self, row: Row, cells: _Cells) -> Row:
        rename, drop = self.rename, self.drop
        derived = {name: _filled(name, each, cells) for name, each in self.derive.items()}
        named = row
        if rename or drop:
            named = {rename.get(name, name): row[name] for name in row if name not in drop}
        named = named | derived
        whole = len(row) - sum(name in row for name in drop) + len(derived)
        clash = self.clash(row) if len(named) < whole else None
        if clash:
            column, setting = clash
            raise RowError(
                f"column '{column}' is there already, which '{setting}' makes: drop or rename it.",
                code="InvalidValue",
                path=column,
            )
        return named


class _Cells:
    """A row's cells as a template asks for them; knows which it asked for last."""

    def __init__(self, cells: Mapping[str, Any], null: str | None) -> None:
        self._cells = cells
        self._null = null
        self.last = ""

    def __getitem__(self, column: str) -> Any:
        self.last = column
        if column not in self._cells:
            raise _Refused("is missing")
        value = self._cells[column]
        # An empty cell is text too, of which something may be made; a word such as NA is not.
        if value is None or (self._null and value == self._null):
            raise _Refused("has no value")
        return value


def _filled(name: str, template: str, cells: _Cells) -> str:
    try:
        return template.format_map(cells)
    except _Refused as fault:
        reason = f"column '{cells.last}' {fault}, of which '{name}' is made."
    except (ValueError, TypeError, ArithmeticError) as fault:
        reason = f"column '{cells.last}' is not what '{name}' is made of: {fault}."
    raise RowError(reason, code="InvalidValue", path=cells.last)


def _check_made(attributes: Sequence[str]) -> None:
    twice = next((name for name in attributes if attributes.count(name) > 1), None)
    if twice is not None:
        raise OptionError(
            f"'rename' and 'derive' make the attribute '{twice}' twice; one would be lost.",
            option="rename",
        )


def _derived(setting: str) -> tuple[str, str]:
    name, separator, template = setting.partition("=")
    if not (name and separator):
        raise OptionError(
            f"'derive' must have the form NAME=TEMPLATE, not '{setting}'.", option="derive"
        )
    try:
        _fields(template)
    except ValueError as cause:
        raise OptionError(f"'derive' cannot be '{setting}': {cause}.", option="derive") from cause
    return name, template


def _fields(template: str) -> Iterable[str]:
    """The columns that a template names."""
    found = [each for each in string.Formatter().parse(template) if each[1] is not None]
    for _, column, form, conversion in found:
        if not column or column.isdigit() or set(column) & set(".["):
            raise ValueError("a column stands in braces by its name, such as {carrier}")
        if "{" in (form or ""):
            raise ValueError("a column's format can't be another column")
        if conversion not in (None, "s", "r", "a"):
            raise ValueError(f"no conversion is named {conversion}")
    return [column for _, column, _, _ in found if column]
