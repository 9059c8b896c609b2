"""The commands of docs/flink.md, so that the tests run just what the page says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

_PAGE = (ROOT / "docs" / "flink.md").read_text()
_COMMAND = re.compile(r"<!-- flink: (\w+) -->\n<!-- not run: [^\n]+\n```sh\n(.*?)```", re.DOTALL)

COMMANDS: dict[str, str] = dict(_COMMAND.findall(_PAGE))
"""The shell's lines by their names."""

NOT_HERE = len(re.findall(r"<!-- not run: it needs [^\n]+\n```sh\n", _PAGE))
"""How many blocks say why they are not run."""

BLOCKS = _PAGE.count("```sh\n")


def environ(**settings: str) -> dict[str, str]:
    """The environment in which the page's commands run, with what the page leaves to the reader."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), **settings}


def documented(name: str, folder: Path = ROOT, **settings: str) -> str:
    """Runs a command of the page to its end; returns what it printed."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", COMMANDS[name]],
        cwd=folder,
        env=environ(**settings),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout
