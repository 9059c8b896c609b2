"""Writes the table of options into README.md, from the declarations in `SinkOptions`."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

from beam_dynamodb.options import Option, SinkOptions

README = Path(__file__).parent.parent / "README.md"
BEGIN = "<!-- options: written by `make docs` -->\n"
END = "<!-- end of options -->\n"


def options_table() -> str:
    """The options as a Markdown table, grouped as the connector's documentation does."""
    lines = ["| Option | Default | Type | Description |", "|---|---|---|---|"]
    for group, options in itertools.groupby(SinkOptions.declared(), lambda each: each.group):
        lines.append(f"| **{group}** | | | |")
        lines += map(_line, options)
    return "\n".join(lines) + "\n"


def with_table(text: str) -> str:
    """A README's text, with the table between its markers as it should be.

    Raises:
        ValueError: A marker is missing.
    """
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise ValueError("README.md has lost the markers of the table of options")
    return head + begin + options_table() + end + tail


def _line(option: Option[object]) -> str:
    added = " *(not in Flink's connector)*" if option.added else ""
    cells = (f"`{option.key}`", _default(option), option.type_name, option.description + added)
    return f"| {' | '.join(cells)} |"


def _default(option: Option[object]) -> str:
    if option.required:
        return "(required)"
    if option.default is None:
        return "(none)"
    if option.key == "connector":
        return "`dynamodb`"
    text = str(option.default)
    return f"`{text.lower() if isinstance(option.default, bool) else text}`"


def main() -> int:
    """Writes README.md anew."""
    README.write_text(with_table(README.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
