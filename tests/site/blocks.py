"""The fenced blocks of a page of documentation, and which of them are not run.

A block that can't run here, since it needs a cloud or would change the machine, has a line before
its fence that says so and why:

    <!-- not run: it needs a Dataflow project -->
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

_BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<reason>.+?) -->\n)?"
    r"^```(?P<language>\w*)(?P<info>[^\n]*)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_TITLE = re.compile(r'title="([^"]+)"')
RUN = ("python", "sql", "yaml", "sh")
"""The languages whose blocks are run."""


class Block(NamedTuple):
    """One block of a page.

    Attributes:
        line: The line of its code's first line.
        language: What stands after the fence.
        title: The name of the file that it shows, if it does.
        code: What stands in it.
        reason: Why it is not run; None if it is.
    """

    line: int
    language: str
    title: str | None
    code: str
    reason: str | None


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _BLOCK.finditer(text):
        title = _TITLE.search(match["info"])
        line = text.count("\n", 0, match.start("code")) + 1
        found.append(
            Block(line, match["language"], title and title[1], match["code"], match["reason"])
        )
    return found
