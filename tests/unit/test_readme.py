"""What README.md and the documentation say holds: the table of options."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from beam_dynamodb.options import SinkOptions

ROOT = Path(__file__).parent.parent.parent
TOOL = runpy.run_path(str(ROOT / "docs" / "options_table.py"))


@pytest.mark.parametrize("page", TOOL["PAGES"], ids=lambda page: page.name)
def test_table_of_options_is_that_of_the_declarations(page):
    text = page.read_text(encoding="utf-8")
    assert TOOL["with_table"](text) == text, "run `make docs`"


def test_table_of_options_has_a_line_for_each_option():
    keys = re.findall(r"^\| `([^`]+)` \|", TOOL["options_table"](), re.MULTILINE)
    assert keys == [each.key for each in SinkOptions.declared()]
