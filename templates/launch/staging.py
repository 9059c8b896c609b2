"""`stage`: puts a template where Dataflow finds it."""

from __future__ import annotations

from typing import Any

__all__ = ["add_stage_commands"]


def add_stage_commands(commands: Any) -> None:
    """Adds them."""
