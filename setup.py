"""The door for Beam's `--setup_file=./setup.py`; most else stands in pyproject.toml.

The licence stands here because --setup_file builds with whatever setuptools is there: those before
77 refuse `license = "Apache-2.0"` in pyproject.toml, and later ones every older way to say it.
"""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_py import build_py

_MAINS = ("pipelines", "templates")
_IMPORT = re.compile(rf"^(\s*(?:from|import) )({'|'.join(_MAINS)})\b", re.MULTILINE)
_COMMAND = re.compile(r"python -m (?:pipelines|templates)\.(load|sql|replay|launch)\b")
_RENAMED = {"launch": "template"}


class build_with_mains(build_py):  # noqa: N801 - as setuptools names commands
    """Puts the mains into the package, for the command `beam-dynamodb`.

    In the checkout they are folders beside the package. As such they would take names as general
    as `pipelines` in everybody's site-packages, so there they are `beam_dynamodb.pipelines`.
    """

    def run(self) -> None:
        """Builds the package and its mains."""
        super().run()
        if not self.editable_mode:
            for folder in _MAINS:
                for path in sorted(Path(folder).rglob("*")):
                    if path.suffix in (".json", ".py", ".xml"):
                        self._put(path)

    def _put(self, path: Path) -> None:
        text = _IMPORT.sub(r"\1beam_dynamodb.\2", path.read_text(encoding="utf-8"))
        target = Path(self.build_lib, "beam_dynamodb", path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(_COMMAND.sub(_installed, text), encoding="utf-8")


def _installed(command: re.Match[str]) -> str:
    """What a main is called where the wheel is installed."""
    return f"beam-dynamodb {_RENAMED.get(command[1], command[1])}"


# Optional: without a compiler or Cython the package is installed all the same, and slower.
_COMPILED = [
    Extension(
        f"beam_dynamodb.{name}",
        [f"beam_dynamodb/{name}.pyx"],
        depends=["beam_dynamodb/sha256_blocks.h"],
        optional=True,
    )
    for name in ("equal_to", "row_encoder", "two_hashes")
]

setup(
    license="Apache-2.0",
    cmdclass={"build_py": build_with_mains},
    ext_modules=_COMPILED,
)
