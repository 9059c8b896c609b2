"""`python -m benchmarks`: what writing costs, ours and others', side by side in one run."""

from __future__ import annotations

import argparse
import json
import pstats
import sys
import tempfile
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from benchmarks import plot, report
from benchmarks.cases import CASES, ROWS, Case, in_pairs, named
from benchmarks.environments import OWN, Missing, java_command, machine, python_of, versions
from benchmarks.results import Results
from benchmarks.runner import Failed, Target, measure, profiled

_HERE = Path(__file__).parent
_PACKAGES = ("apache-beam", "boto3", "botocore")
_PROFILE_LINES = 45


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and reports; 1 if a contender failed or did not write all its rows."""
    options = _options(argv)
    if options.list:
        print("\n".join(f"{case.name:20} {case.title}" for case in CASES))
        return 0
    if options.profile:
        return _profile(_available(options.profile)[0], options.rows)
    cases, left_out = _available(options.only)
    results = _new_results(options.rows, cases, left_out)
    target = None
    if options.endpoint or options.table:
        target = Target(options.endpoint, options.region, options.table)
    try:
        _measure_all(results, cases, options.repeat, target)
    except KeyboardInterrupt:
        results.left_out.append("Interrupted: later cases and rounds are missing.")
    print(report.summary(results))
    folder = options.output or _folder_of_full_run(results, options, target)
    if folder is not None:
        _write(results, folder)
    return 0 if results.complete else 1


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("--rows", type=int, default=ROWS, help="how many rows; a case may have a share of them")
    add("--repeat", type=int, default=3, help="how many rounds; figures are their medians")
    add("--only", type=_cases, default=list(CASES), help="cases, with commas between them")
    add("--list", action="store_true", help="list the cases, and end")
    add("--output", type=Path, help="the folder for RESULTS.md, results.json and results.svg; "
        "a full run writes them into benchmarks/")  # fmt: skip
    add("--profile", type=_cases, metavar="CASE", help="run cases under cProfile instead")
    add("--endpoint", help="the URL of a DynamoDB to write to, instead of the stub")
    add("--table", help="a table there whose key is the number user_id")
    add("--region", default="us-east-2", help="its AWS region")
    options = parser.parse_args(argv)
    if options.profile and any(case.is_java for case in options.profile):
        parser.error("--profile takes cases in Python")
    if options.endpoint and not options.table:
        parser.error("--endpoint needs --table, the name of a table whose key is `user_id` (N)")
    return options


def _cases(names: str) -> list[Case]:
    try:
        return named(names)
    except ValueError as unknown:
        raise argparse.ArgumentTypeError(str(unknown)) from unknown


def _available(cases: list[Case]) -> tuple[list[Case], list[str]]:
    """The cases that can be run here, and a sentence for each that cannot; makes what is needed."""
    here, left_out = [], []
    for case in cases:
        try:
            if case.is_java:
                java_command(case.contender.partition(".")[2])
            else:
                python_of(case.environment)
            here.append(case)
        except Missing as missing:
            left_out.append(f"Left out: {case.title} (`{case.name}`) {missing}.")
            print(left_out[-1], file=sys.stderr)
    return here, left_out


def _new_results(rows: int, cases: list[Case], left_out: list[str]) -> Results:
    environments = {case.environment for case in cases if not case.is_java}
    packages = dict.fromkeys(_PACKAGES if OWN in environments else (), OWN)
    packages |= {each: each for each in sorted(environments - {OWN})}
    programs = {case.contender.partition(".")[2] for case in cases if case.is_java}
    return Results(
        rows=rows,
        date=datetime.now(timezone.utc).date().isoformat(),
        machine=machine(),
        versions=versions(packages, programs),
        left_out=left_out,
    )


def _measure_all(results: Results, cases: list[Case], rounds: int, target: Target | None) -> None:
    for number in range(1, rounds + 1):
        for case in in_pairs(cases):
            try:
                measured = measure(case, results.rows, target, number)
            except Failed as failed:
                results.failed.append(case.name)
                print(f"{case.name} failed:\n{failed}", file=sys.stderr)
                continue
            results.measurements += measured
            for each in measured:
                print(
                    f"{number}/{rounds} {each.case:22} {each.cpu_per_million:8.1f} CPU s per "
                    f"million, {each.per_second:9,.0f} items/s",
                    file=sys.stderr,
                )


def _folder_of_full_run(
    results: Results, options: argparse.Namespace, target: Target | None
) -> Path | None:
    full = len(options.only) == len(CASES) and results.rows == ROWS and target is None
    return _HERE if full and results.complete and not results.left_out else None


def _write(results: Results, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "RESULTS.md").write_text(report.markdown(results))
    (folder / "results.json").write_text(json.dumps(results.to_json(), indent=1) + "\n")
    plot.draw(results, folder / "results.svg")


def _profile(cases: list[Case], rows: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        for case in cases:
            statistics = Path(folder) / "profile"
            profiled(case, rows, statistics)
            print(f"{case.name}, {case.rows_of(rows):,} rows, by time in each function itself:")
            pstats.Stats(str(statistics)).sort_stats("tottime").print_stats(_PROFILE_LINES)
    return 0


if __name__ == "__main__":
    sys.exit(main())
