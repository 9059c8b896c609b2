"""The command `beam-dynamodb`: the mains of this project by their names.

    beam-dynamodb load --input=users.csv …
    beam-dynamodb sql job.sql

Installed, the mains are part of the package; in a checkout they are the folders `pipelines` and
`templates`, run also as `python -m pipelines.load`.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from beam_dynamodb.version import __version__

__all__ = ["main"]

_COMMANDS = {
    "load": ("pipelines.load", "Loads files into a table."),
    "sql": ("pipelines.sql", "Runs a SQL job in the words of Flink's SQL client."),
    "replay": ("pipelines.replay", "Writes dead letters again."),
    "template": ("templates.launch", "Launches Dataflow templates."),
    "providers": ("", "Prints the path of the listing that Beam YAML includes."),
}
_EXTRAS = {"duckdb": "sql", "moto": "local", "rich": "local", "google": "gcp"}
"""The extra of this package that brings a module."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        argv: The command's name and its own arguments.

    Returns:
        The command's exit code; 2 where there is no such command.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    if not given or given[0] in ("-h", "--help", "help"):
        print(_usage())
        return 0 if given else 2
    name, *rest = given
    if name in ("--version", "version"):
        print(f"beam-dynamodb {__version__}")
        return 0
    if name == "providers":
        print(Path(__file__).with_name("providers.yaml"))
        return 0
    if name not in _COMMANDS:
        return _refuse(name)
    return _run(name, rest)


def _usage() -> str:
    lines = [f"  {name:<10} {text}" for name, (_, text) in _COMMANDS.items()]
    commands = "\n".join(lines)
    return (
        f"usage: beam-dynamodb COMMAND …\n\n{commands}\n\n"
        "`beam-dynamodb COMMAND --help` tells the flags of a command."
    )


def _refuse(name: str) -> int:
    near = difflib.get_close_matches(name, _COMMANDS, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else f" There are: {', '.join(_COMMANDS)}."
    print(f"Unknown command '{name}'.{hint}", file=sys.stderr)
    return 2


def _run(name: str, argv: Sequence[str]) -> int:
    module = _COMMANDS[name][0]
    try:
        run = _main_of(module)
    except ModuleNotFoundError as missing:
        package = str(missing.name).partition(".")[0]
        extra = _EXTRAS.get(package)
        told = f"pip install 'beam-dynamodb[{extra}]'" if extra else f"it needs '{missing.name}'"
        print(f"The command '{name}' cannot run here: {told}.", file=sys.stderr)
        return 1
    return run(argv)


def _main_of(module: str) -> Callable[[Sequence[str]], int]:
    """A main, from the package, else from the checkout that this package is installed from."""
    installed = f"{__package__}.{module}"
    if _exists(installed):
        found = importlib.import_module(installed)
    else:
        checkout = str(Path(__file__).parent.parent)
        if os.path.isdir(os.path.join(checkout, module.partition(".")[0])):  # noqa: PTH112, PTH118
            sys.path.insert(0, checkout)
        found = importlib.import_module(module)
    run: Callable[[Sequence[str]], int] = found.main
    return run


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


if __name__ == "__main__":
    sys.exit(main())
