"""What README.md says holds: the table of options."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

from beam_dynamodb.options import SinkOptions

ROOT = Path(__file__).parent.parent.parent
TOOL = runpy.run_path(str(ROOT / "docs" / "options_table.py"))


def test_table_of_options_is_that_of_the_declarations():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert TOOL["with_table"](readme) == readme, "run `make docs`"


def test_table_of_options_has_a_line_for_each_option():
    keys = re.findall(r"^\| `([^`]+)` \|", TOOL["options_table"](), re.MULTILINE)
    assert keys == [each.key for each in SinkOptions.declared()]
