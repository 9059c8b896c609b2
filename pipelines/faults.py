"""What a failed run says to the person who started it: the fault, without Beam's additions."""

from __future__ import annotations

import re

__all__ = ["words"]

_STEP = re.compile(r" \[while running '[^']*'\]")
_LAST_ERROR = re.compile(r"^(?:[\w.]+\.)?\w+(?:Error|Exception): (.+)", re.MULTILINE)
_MOST = 2_000


def words(fault: BaseException) -> str:
    """The fault in words.

    Beam appends the step's name, and a runner in another process gives the worker's whole
    traceback as text, of which the last error is what happened.
    """
    text = str(fault.args[0]) if fault.args and isinstance(fault.args[0], str) else str(fault)
    if "Traceback (most recent call last)" in text:
        found = _LAST_ERROR.findall(text)
        text = found[-1] if found else text
    text = _STEP.sub("", text).strip()
    return (text or type(fault).__name__)[:_MOST]
