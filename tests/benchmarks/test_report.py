"""Ratios, floors and tables, from made-up measurements."""

from __future__ import annotations

import json

import pytest

from benchmarks import report
from benchmarks.cases import CASES, ROWS, in_pairs, named
from benchmarks.floors import FLOORS, Floor
from benchmarks.results import COLD, Measurement, Results, ratios, spread

RUN = {"peak_bytes": 200_000_000, "requests": 41, "items": 1_025, "keys": 1_000}


def run(
    case: str, cpu: float, *, number: int = 1, began: float = 0.0, seconds: float = 1.0, **other
) -> Measurement:
    given = {**RUN, "expected_items": 1_025, "stub_busy": 0.25, **other}
    return Measurement(case, number, 1_000, began, seconds, cpu, **given)


def results(*runs: Measurement) -> Results:
    return Results(
        rows=1_000,
        date="2026-01-02",
        machine={"cores": "2"},
        versions={"boto3": "1.0"},
        measurements=list(runs),
    )


def test_cost_and_speed_of_a_run():
    measured = run("ours-keys", 0.012, seconds=0.02)
    assert measured.cpu_per_million == pytest.approx(12)
    assert measured.per_second == pytest.approx(50_000)


def test_a_run_is_complete_if_each_row_was_seen_once():
    assert run("ours-keys", 1).complete
    assert not run("ours-keys", 1, items=1_024).complete
    assert not run("ours-keys", 1, items=1_050).complete
    assert not run("ours-keys", 1, keys=999).complete
    unseen = dict.fromkeys(("items", "expected_items", "keys", "requests", "stub_busy"))
    assert run("ours-keys", 1, **unseen).complete


def test_spread_is_the_median_the_least_and_the_greatest():
    assert spread([3, 1, 2]) == spread([1, 2, 3])
    assert (spread([5, 1, 2]).median, spread([5, 1, 2]).least, spread([5, 1, 2]).greatest) == (
        2, 1, 5,
    )  # fmt: skip


def test_ratios_are_those_of_one_round():
    ones = [run("a", 8, number=1), run("a", 30, number=3)]
    others = [run("b", 2, number=1), run("b", 5, number=2), run("b", 10, number=3)]
    assert ratios(ones, others, "cpu_seconds") == [4, 3]


def test_of_several_runs_in_a_round_those_next_to_each_other_count():
    ours = [run("a", 8, began=0), run("a", 6, began=100), run("a", 2, began=300)]
    theirs = [run("b", 12, began=110)]
    assert ratios(theirs, ours, "cpu_seconds") == [2]
    assert ratios(ours, theirs, "cpu_seconds") == [0.5]


def test_what_a_peer_is_compared_with_runs_just_before_it():
    names = ["ours-keys", "ours-nokeys", "beam-java", "flink-1", "ours-tls", "beam-boto3-tls"]
    order = [case.name for case in in_pairs(named(",".join(names)))]
    assert order == [
        "ours-keys", "ours-nokeys", "ours-keys", "beam-java", "ours-keys", "flink-1",
        "ours-tls", "beam-boto3-tls",
    ]  # fmt: skip
    assert [case.name for case in in_pairs(named("beam-java"))] == ["beam-java"]


@pytest.mark.parametrize(
    ("bound", "ratio", "ok"),
    [
        ({"least": 12}, 12, True),
        ({"least": 12}, 11.9, False),
        ({"most": 1.6}, 1.6, True),
        ({"most": 1.6}, 1.7, False),
    ],
)
def test_a_floor_is_kept_or_not(bound, ratio, ok):
    floor = Floor("x", "cpu_seconds", ("beam-boto3",), "ours-keys", **bound)
    reached = floor.reached(results(run("ours-keys", 1), run("beam-boto3", ratio)))
    assert reached is not None
    assert reached.ratio.median == pytest.approx(ratio)
    assert reached.ok is ok


def test_of_several_rivals_the_cheapest_counts():
    floor = Floor("x", "cpu_seconds", ("flink-1", "flink-2"), "ours-keys", least=1)
    measured = results(run("ours-keys", 1), run("flink-1", 6), run("flink-2", 5))
    assert floor.reached(measured).ratio.median == 5


@pytest.mark.parametrize(
    ("at_once", "late", "verdict"),
    [
        (0.006, 0.0095, "ok"),
        (0.004, 0.0089, "90% of all that is possible"),
        (0.004, 0.0099, "81% of all that is possible"),
        (0.004, 0.0101, "BELOW"),
    ],
)
def test_a_ratio_that_no_sink_can_reach_is_told(at_once, late, verdict):
    ours, late = run("ours-keys", 1, seconds=at_once), run("ours-keys-10ms", 1, seconds=late)
    text = report.markdown(results(ours, late))
    (line,) = [each for each in text.splitlines() if "dedup keys, with every answer" in each]
    assert line.split("|")[-2].strip() == verdict
    assert ("**All that is possible.**" in text) is (verdict not in ("ok", "BELOW"))


def test_a_floor_without_its_cases_is_left_out():
    assert report.reached(results(run("ours-keys", 1))) == []


def test_floors_and_cases_name_each_other():
    names = {case.name for case in CASES}
    assert len(names) == len(CASES)
    assert {case.versus for case in CASES} <= names
    for floor in FLOORS:
        assert {*floor.of, floor.by} <= names
        assert (floor.least is None) != (floor.most is None)
        assert hasattr(Measurement, floor.measure)


def test_the_cases_of_a_full_run_have_the_rows_that_are_asked_for():
    rows = {case.name: case.rows_of(ROWS) for case in CASES}
    assert (
        rows["ours-keys"] == rows["beam-boto3"] == rows["beam-java"] == rows["flink-2"] == 300_000
    )
    assert rows["ours-workers"] == rows["ours-keys-large"] == 1_000_000
    assert rows["ours-keys-third"] == 100_000


def test_an_unknown_case_is_refused_by_name():
    assert [case.name for case in named("ours-keys, beam-java")] == ["ours-keys", "beam-java"]
    with pytest.raises(ValueError, match="no case is called ours-kyes; there are ours-keys, "):
        named("ours-kyes")


def test_the_report_has_a_line_for_each_run_and_each_floor():
    text = report.markdown(
        results(
            run("ours-keys", 0.01),
            run("ours-nokeys", 0.005),
            run("beam-java", 0.02),
            run("beam-java" + COLD, 0.05),
            run("beam-boto3", 0.11, keys=998),
        )
    )
    lines = [[cell.strip() for cell in line.split("|")] for line in text.splitlines()]
    by_name = {cells[-2]: cells for cells in lines if len(cells) == 10}
    assert by_name["ours-keys"][2:7] == ["1,000", "1,000", "10.0 (10.0 to 10.0)", "1.0", "200"]
    assert by_name["beam-java"][1] == "Beam Java DynamoDBIO, direct runner, warm"
    assert by_name["beam-java-cold"][5] == "5.0"
    assert by_name["beam-boto3"][1].endswith("**(NOT ALL WRITTEN)**")
    verdicts = {cells[1]: cells[-2] for cells in lines if len(cells) == 6}
    assert verdicts["CPU per item with dedup keys / without"] == "ABOVE"
    boto3 = "CPU per item of boto3 `batch_writer` in a DoFn / ours, dedup keys"
    assert verdicts[boto3] == "BELOW"
    assert "2026-01-02" in text
    assert "busy for more than 25%" in text


def test_json_gives_the_results_back():
    measured = results(run("ours-keys", 0.01), run("beam-java", 0.02))
    measured.left_out.append("Left out: x needs Java.")
    assert Results.from_json(json.loads(json.dumps(measured.to_json()))) == measured
