"""A small benchmark from end to end, in one run for all tests of this module."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.environments import OWN, python_of
from benchmarks.results import Measurement, Results

ROOT = Path(__file__).parents[2]
ROWS = 3_000
IN_WORKERS = {"ours-worker-third", "ours-pool"}
CASES = ("ours-keys", "ours-tls", *sorted(IN_WORKERS), "beam-boto3")


def bench(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *options]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=170, check=False
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    python_of(OWN)  # to make it may take a minute
    into = tmp_path_factory.mktemp("bench")
    only = f"--only={','.join(CASES)}"
    done = bench(f"--rows={ROWS}", "--repeat=1", only, f"--output={into}")
    assert done.returncode == 0, done.stdout + done.stderr
    return into


@pytest.fixture(scope="module")
def results(folder: Path) -> Results:
    return Results.from_json(json.loads((folder / "results.json").read_text()))


def measured_of(results: Results, case: str) -> list[Measurement]:
    """Its runs, of which ours has one more, before boto3's."""
    runs = results.of(case)
    assert len(runs) == (2 if case == "ours-keys" else 1)
    return runs


@pytest.mark.parametrize("case", CASES)
def test_the_stub_counted_each_row_once(results, case):
    warm_up = 0 if case in IN_WORKERS else 1_000
    for measured in measured_of(results, case):
        written = measured.rows * measured.runs + warm_up
        assert measured.items == measured.expected_items == written
        assert measured.keys == measured.rows
        assert measured.items / 25 <= measured.requests < measured.items


@pytest.mark.parametrize("case", CASES)
def test_time_and_memory_were_measured(results, case):
    for measured in measured_of(results, case):
        assert measured.seconds > 0
        assert measured.cpu_seconds > 0
        assert measured.peak_bytes > 10_000_000
        assert (measured.worker_peak_bytes > 10_000_000) is (case in IN_WORKERS)


def test_the_report_has_every_case_and_every_version(folder, results):
    text = (folder / "RESULTS.md").read_text()
    for case in CASES:
        assert f"| {case} " in text
    for package, version in results.versions.items():
        assert f"| {package} " in text
        assert version in text
    assert "NOT ALL WRITTEN" not in text


def test_the_picture_is_svg_and_names_the_contenders(folder):
    root = ElementTree.parse(folder / "results.svg").getroot()
    assert root.tag.endswith("svg")
    texts = {"".join(each.itertext()).strip() for each in root.iter()}
    assert {"beam-dynamodb, dedup keys", "boto3 batch_writer in a DoFn"} <= texts


def test_an_unknown_case_is_refused():
    done = bench("--only=ours-kyes")
    assert done.returncode == 2
    assert "no case is called ours-kyes; there are ours-keys, " in done.stderr
