"""Writes the table of options into the pages that have it, from what `SinkOptions` declares."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

from beam_dynamodb.options import Option, SinkOptions

PAGES = (Path(__file__).parent.parent / "README.md", Path(__file__).parent / "options.md")
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
    """A page's text, with the table between its markers as it should be.

    Raises:
        ValueError: A marker is missing.
    """
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise ValueError("the page has lost the markers of the table of options")
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
    """Writes the pages anew."""
    for page in PAGES:
        page.write_text(with_table(page.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
