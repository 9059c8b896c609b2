"""What the tests of SQL jobs share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines import sql


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., int]:
    """Runs a script: `job("CREATE TABLE …", "--dead_letters=…")` gives the exit code."""

    def run(script: str, *flags: str, name: str = "job.sql") -> int:
        path = tmp_path / name
        path.write_text(script, encoding="utf-8")
        return sql.main([str(path), *flags])

    return run


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder for what jobs read."""
    folder = tmp_path / "files"
    folder.mkdir()
    return folder
