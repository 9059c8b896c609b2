"""How often a contender writes its rows in one process."""

from __future__ import annotations

import pytest

from benchmarks import contender
from benchmarks.contender import Job

JOB = {"contender": "x.y", "rows": 7, "endpoint": None, "region": "eu-west-1", "table": "t"}


@pytest.fixture
def writes() -> list[int]:
    return []


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch, writes: list[int]):
    """Runs a job, each of whose runs takes some seconds; what each took."""

    def take(seconds: float, **settings) -> list[contender.Used]:
        def measured(run, rows: int) -> contender.Used:
            run(rows)
            return contender.Used(seconds, seconds, 1)

        monkeypatch.setattr(contender, "measured", measured)
        return list(contender.runs(Job(**JOB, **settings), writes.append))

    return take


@pytest.mark.parametrize(
    ("seconds", "times"), [(0.1, 5), (1.4, 5), (1.5, 4), (2.5, 3), (5.9, 2), (6, 1), (60, 1)]
)
def test_a_short_job_runs_again_until_it_took_six_seconds(used, writes, seconds, times):
    assert len(used(seconds)) == times
    assert writes == [7] * times


def test_a_first_run_in_its_process_stays_the_only_one(used, writes):
    assert len(used(0.1, again=False)) == 1
    assert writes == [7]
