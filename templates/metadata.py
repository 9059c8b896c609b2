"""Writes the templates' metadata.json, from their parameters: `make docs`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from templates.parameters import CLASSIC, TEMPLATES

__all__ = ["files", "main"]

_HERE = Path(__file__).parent


def files() -> Mapping[Path, str]:
    """What each file should hold."""
    places = {
        **{_HERE / "flex" / name: each for name, each in TEMPLATES.items()},
        _HERE / "classic": CLASSIC,
    }
    return {
        folder / "metadata.json": json.dumps(template.metadata(), indent=2) + "\n"
        for folder, template in places.items()
    }


def main() -> int:
    """Writes them."""
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
