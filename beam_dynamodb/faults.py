"""How a fault deep within a row finds its path, and becomes the RowError that names it."""

from __future__ import annotations

import json
import re

from beam_dynamodb.errors import RowError

__all__ = ["Refused", "cause_of", "row_error", "step", "within"]

_SIMPLE_NAME = re.compile(r"[\w-]+")


class Refused(Exception):
    """Why a value cannot be stored; its path grows from the inside out while it unwinds.

    It never leaves the package: a RowError is made of it at the border.

    Attributes:
        reason: What is wrong and what is allowed, without the value itself.
        path: Where, as `.lines[3].price`, seen from where it was last caught.
    """

    def __init__(self, reason: str, path: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.path = path


def step(name: object) -> str:
    """The part of a path that an attribute's name makes: `.price`, or `["a.b"]` in quotes.

    Nothing for what is no name: then the map or row around it is at fault.
    """
    if not isinstance(name, str) or not name:
        return ""
    return f".{name}" if _SIMPLE_NAME.fullmatch(name) else f"[{json.dumps(name)}]"


def within(outer: str, error: Exception) -> Refused:
    """The fault as seen from one level further out. Takes any error that a value caused."""
    refused = _refused(error)
    refused.path = outer + refused.path
    return refused


def row_error(error: Exception) -> RowError:
    """The fault as users see it: the path, and then the reason."""
    refused = _refused(error)
    path = refused.path.removeprefix(".")
    return RowError(f"{path}: {refused.reason}" if path else refused.reason, path=path)


def cause_of(error: Exception) -> BaseException | None:
    """What to raise a fault from: the foreign error behind it, or nothing."""
    return error.__cause__ if isinstance(error, Refused) else error


def _refused(error: Exception) -> Refused:
    if isinstance(error, Refused):
        return error
    if isinstance(error, RowError):
        inner = f".{error.path}" if error.path[:1] not in ("", "[") else error.path
        return Refused(error.message.removeprefix(f"{error.path}: "), inner)
    # Not the error's own text: it often repeats the value.
    refused = Refused(
        f"the value cannot be read: it raised {type(error).__name__}; give plain values"
    )
    refused.__cause__ = error
    return refused
