"""What the launcher raises on purpose."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["LaunchError", "LostSightError", "ParameterError"]


class LaunchError(Exception):
    """Something was refused, by the launcher or by Google; the text says what and why."""


class ParameterError(LaunchError):
    """The parameters of a launch do not fit the template.

    Attributes:
        faults: Each fault in a sentence.
    """

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = list(faults)
        super().__init__("\n".join(["The parameters do not fit the template:", *self.faults]))


class LostSightError(LaunchError):
    """A job could not be followed any longer; it goes on by itself."""
