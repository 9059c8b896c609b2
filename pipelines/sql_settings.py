"""What SET says in a SQL script, as flags of Beam: some of Flink's own settings, and `beam.…`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

from pipelines.flags import beam_parser, flags_of, nearest
from pipelines.sql_script import Setting

__all__ = ["beam_flags"]

_BEAM = "beam."
_FLAGS = {
    "pipeline.name": "job_name",
    "parallelism.default": "parallelism",
}
"""Flink's settings, and the flags of Beam that mean the same."""

_MODE = "execution.runtime-mode"
_MODES = {"streaming": ["--streaming"], "batch": [], "automatic": []}
"""Flink's modes and their flags; without a flag the tables tell whether the job is a stream."""

_KINDS: dict[Any, str] = {int: "a whole number", float: "a number"}


def beam_flags(settings: Mapping[str, Setting]) -> list[str]:
    """The flags; what means nothing here is passed over with a word.

    Raises:
        SqlError: A value is not allowed, or `beam.…` misspells a flag; it points at the setting.
    """
    return [flag for key, setting in settings.items() for flag in _flags(key, setting)]


def _flags(key: str, setting: Setting) -> list[str]:
    if key == _MODE:
        return _mode(setting)
    if key in _FLAGS:
        return _flag(key, _FLAGS[key], setting)
    if key.startswith(_BEAM):
        return _flag(key, key.removeprefix(_BEAM), setting)
    print(f"SET '{key}' means nothing here, and is passed over.", file=sys.stderr)
    return []


def _mode(setting: Setting) -> list[str]:
    flags = _MODES.get(setting.value.lower())
    if flags is None:
        _refuse(_MODE, setting, f"one of {', '.join(_MODES)}")
    return flags


def _flag(key: str, name: str, setting: Setting) -> list[str]:
    parser = beam_parser()
    actions = flags_of(parser)
    flag = f"--{name}"
    action = actions.get(flag)
    if action is None:  # it may be one that only a job server knows
        near = nearest(flag, actions)
        if near:
            meant = _BEAM + near.removeprefix("--")
            setting.place.fail(f"Unknown setting '{key}'. Did you mean '{meant}'?", option=key)
    elif action.nargs == 0:  # the flag alone means true
        return [flag] if _is_true(key, setting) else []
    try:
        parser.parse_known_args([f"{flag}={setting.value}"])
    except argparse.ArgumentError:  # its text quotes the value, which may be a secret
        _refuse(key, setting, _allowed(flag, action))
    return [f"{flag}={setting.value}"]


def _allowed(flag: str, action: argparse.Action | None) -> str:
    if action is not None and action.choices:
        return f"one of {', '.join(action.choices)}"
    kind = getattr(action, "type", None)
    return _KINDS.get(kind, f"what Beam's flag {flag} takes")


def _is_true(key: str, setting: Setting) -> bool:
    if setting.value.lower() not in ("true", "false"):
        _refuse(key, setting, "true or false")
    return setting.value.lower() == "true"


def _refuse(key: str, setting: Setting, allowed: str) -> NoReturn:
    setting.place.fail(f"Invalid value for '{key}': it must be {allowed}", option=key)
