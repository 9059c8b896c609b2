"""Every block of code on the documentation's pages runs, or says why it does not."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apache_beam.yaml.main
import pytest
from apache_beam.options.pipeline_options import StandardOptions

import beam_dynamodb
from beam_dynamodb import cli
from beam_dynamodb.testing import FakeDynamoDB, FakeServer
from pipelines import sql
from tests.site.blocks import RUN, Block, blocks

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
TABLES = {
    "user_behavior": {"user_id": "N"},
    "users": {"user_id": "N"},
    "events": {"id": "S"},
}
FILES = {
    "users.csv": "user_id,name,note\n1,Ann,x\n2,Bob,\n",
    "broken.csv": "user_id,name\n1,Ann\nmany,Bob\n",
    "events.jsonl": '{"user":1,"kind":"view","note":"x"}\n{"user":2,"kind":"buy"}\n',
    "behavior.csv": "1,10,view\n1,11,buy\n",
    "changes.csv": "+I,1,view\n-U,1,view\n+U,1,buy\n-D,2,\n",
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with files to read, a DynamoDB with tables, and Beam's in-process runner."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    listing = tmp_path / "beam_dynamodb" / "providers.yaml"
    listing.parent.mkdir()
    listing.write_text(Path(beam_dynamodb.__file__).with_name("providers.yaml").read_text())
    db = FakeDynamoDB()
    for name, key in TABLES.items():
        db.create_table(name, key)
    monkeypatch.chdir(tmp_path)
    # The plain DirectRunner may fetch a program from the internet; this one is part of Beam.
    monkeypatch.setattr(StandardOptions, "DEFAULT_RUNNER", RUNNER)
    monkeypatch.setattr(sys, "argv", ["page"])
    with FakeServer(db) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", server.endpoint)
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-2")
        yield tmp_path


def run_python(block: Block, names: dict[str, Any]) -> None:
    source = "\n" * (block.line - 1) + block.code
    exec(compile(source, f"line {block.line}", "exec", dont_inherit=True), names)


def run_sql(block: Block, names: dict[str, Any]) -> None:
    path = Path(block.title or "block.sql")
    path.write_text(block.code, encoding="utf-8")
    assert sql.main([str(path)]) == 0, f"line {block.line}"


def run_yaml(block: Block, names: dict[str, Any]) -> None:
    path = Path(block.title or "block.yaml")
    path.write_text(block.code, encoding="utf-8")
    if "pipeline:" in block.code:
        apache_beam.yaml.main.run([f"--yaml_pipeline_file={path}", f"--runner={RUNNER}"])


def run_sh(block: Block, names: dict[str, Any]) -> None:
    """Runs `beam-dynamodb …` in this process, which is quick, and all else in a shell."""
    for command in block.code.replace("\\\n", " ").splitlines():
        words = shlex.split(command, comments=True)
        if not words:
            continue
        expected, words = _expected(words)
        if words[0] == "beam-dynamodb":
            assert cli.main(words[1:]) == expected, f"line {block.line}: {command}"
        else:
            done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
            assert done.returncode == expected, f"line {block.line}: {done.stderr}"


def _expected(words: list[str]) -> tuple[int, list[str]]:
    """The exit code that a command line expects: `… || test $? = 3` or 0."""
    if "||" in words:
        at = words.index("||")
        return int(words[-1]), words[:at]
    return 0, words


RUNNERS: dict[str, Callable[[Block, dict[str, Any]], None]] = {
    "python": run_python,
    "sql": run_sql,
    "yaml": run_yaml,
    "sh": run_sh,
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_of_a_page_runs_in_turn(page, place, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *sys.path]))
    names: dict[str, Any] = {"__name__": "page"}
    for block in blocks(page):
        if block.reason is None and block.language in RUN:
            RUNNERS[block.language](block, names)


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda page: page.name)
def test_no_block_hides_its_language(page):
    text = page.read_text(encoding="utf-8")
    assert len(blocks(page)) * 2 == text.count("\n```") + text.startswith("```"), (
        "a fence that is not closed, or not at the start of its line"
    )
    for block in blocks(page):
        assert block.language, f"line {block.line} has no language"


# --- the test itself -----------------------------------------------------------------------


def test_a_block_is_found_with_its_line_title_and_reason(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        'Text\n\n```sql title="a.sql"\nSELECT 1\n```\n\n<!-- not run: a cloud -->\n```sh\nx\n```\n',
        encoding="utf-8",
    )
    assert blocks(page) == [
        Block(4, "sql", "a.sql", "SELECT 1\n", None),
        Block(9, "sh", None, "x\n", "a cloud"),
    ]


@pytest.mark.parametrize(
    ("language", "code"),
    [
        ("python", "raise ValueError"),
        ("sql", "CREATE TABLE x"),
        ("sh", "beam-dynamodb nothing"),
        ("sh", "false"),
        ("yaml", "pipeline: {transforms: [{type: Nothing}]}"),
    ],
)
def test_a_block_that_fails_fails(language, code, place):
    with pytest.raises(Exception, match=r"(?s).*") as failed:
        RUNNERS[language](Block(1, language, None, code, None), {})
    assert not isinstance(failed.value, KeyError)


# --- the site ------------------------------------------------------------------------------


def build(config: Path, to: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict"]
    return subprocess.run(
        [*command, f"--config-file={config}", f"--site-dir={to}"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        check=False,
    )


def test_the_site_has_every_page_and_the_api(tmp_path):
    done = build(ROOT / "mkdocs.yml", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    for page in PAGES:
        assert (tmp_path / page.with_suffix(".html").name).exists()
    api = (tmp_path / "api.html").read_text(encoding="utf-8")
    for name in beam_dynamodb.__all__:
        if name != "__version__":
            assert f'.{name}"' in api, f"{name} is not in the API reference"
    index = json.loads((tmp_path / "search" / "search_index.json").read_text(encoding="utf-8"))
    assert any("dedup" in each["text"] for each in index["docs"])


def test_a_broken_link_is_an_error(tmp_path):
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "index.md").write_text("[x](nowhere.md) [y](#nothing)\n", encoding="utf-8")
    config = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    shutil.copy(DOCS / "navigation.py", docs)
    (tmp_path / "mkdocs.yml").write_text(config, encoding="utf-8")
    done = build(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert done.returncode != 0
    assert "nowhere.md" in done.stdout + done.stderr
    assert "#nothing" in done.stdout + done.stderr
