"""The options of a SQL job's table, as its connector reads them; errors point at the option."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any, NoReturn

from beam_dynamodb.ddl import Table

__all__ = ["TableOptions", "refuse_option"]


def refuse_option(table: Table, option: str, message: str) -> NoReturn:
    """Refuses an option of a table.

    Raises:
        SqlError: Always; it points at the option.
    """
    (table.places or {}).get(option, table.name).fail(message, option=option)


class TableOptions:
    """The options of one table, each read once and by its type; what nobody read is unknown."""

    def __init__(self, table: Table) -> None:
        """Reads nothing yet."""
        self._table = table
        self._known = {"connector"}

    def text(self, key: str, default: str | None = None) -> str | None:
        """An option's text."""
        self._known.add(key)
        return self._table.options.get(key, default)

    def required(self, key: str) -> str:
        """An option's text, which must be there."""
        found = self.text(key)
        if not found:
            missing = "One or more required options are missing.\n\nMissing required options are:"
            self._table.name.fail(f"{missing}\n\n{key}", option=key)
        return found

    def boolean(self, key: str, *, default: bool = False) -> bool:
        """An option that is true or false."""
        found = (self.text(key) or str(default)).lower()
        if found not in ("true", "false"):
            refuse_option(
                self._table, key, f"Invalid value for option '{key}': it must be true or false"
            )
        return found == "true"

    def number(self, key: str, default: Any, kind: Callable[[str], Any] = int) -> Any:
        """An option that is a number."""
        found = self.text(key)
        try:
            return default if found is None else kind(found)
        except (ValueError, ArithmeticError):
            refuse_option(
                self._table, key, f"Invalid value for option '{key}': '{found}' is no number"
            )

    def finish(self) -> None:
        """Refuses what nobody has read."""
        for key in self._table.options:
            if key not in self._known:
                near = difflib.get_close_matches(key, self._known, n=1)
                hint = f" Did you mean '{near[0]}'?" if near else ""
                refuse_option(self._table, key, f"Unsupported option '{key}'.{hint}")
