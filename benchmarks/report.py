"""The results as tables: on the screen, and in RESULTS.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.cases import CASES, ROWS, Case
from benchmarks.floors import FLOORS, Reached
from benchmarks.results import COLD, Measurement, Results, Spread, ratios, spread

__all__ = ["markdown", "reached", "summary"]

_HOW = """\
`make bench` writes this page. It runs every contender in a process of its own, one after the
other, in {rounds} rounds; each figure is the median of the rounds, with the least and the
greatest in parentheses, and each ratio is that of the two runs of a round that were nearest in
time.

**What is written.** Rows of `user_behavior` as in the connector's documentation, three numbers and
a short text, about 130 bytes on the wire; each `user_id` is another, so that all of them are
written though all contenders that can are told to keep the latest of each key. A generator within
the pipeline makes them, and what that costs is counted for each contender.

{where}

**What is counted.** User and system time of the contender's process and of the workers that it
started, from the start of the pipeline to its end. A Python process has imported its libraries
and has written a thousand rows before; where all rows take it less than 6 s it writes them again,
up to five times, and the mean counts, since what neighbours on the machine take from two seconds
is another share each time. A JVM has written all rows twice before ("warm", the mean of two runs),
or nothing ("cold"), and its compiler and collector are counted. Where worker processes are said,
starting them is counted. A local runner's own processes end one after the other before its pipeline
has ended; those of a worker pool, as portable runners have it, end after it, and the time they take
to end is counted as CPU time only. Memory is the greatest size of the process from its start to the
end of that run, or of the first of several. What is in Python runs in an environment with what it
requires, and no tools for developing.
"""

_STUB = """\
**Where to.** A stub of DynamoDB on the loopback interface, in a process of its own, whose CPU time
is nobody's. It answers at once, or as late as a case says, and counts: a contender that writes less
than it was given is marked. It was never busy for more than {busy:.0%} of a case's time."""

_LIMIT = """\
**All that is possible.** 50 calls in flight, of 25 items each, that are answered after 10 ms write
125,000 items a second. A sink that writes more than 208,000 where nothing is late cannot reach 0.6
of it, and with the start and the end of a pipeline of 300,000 rows it cannot from 190,000 on."""

_REAL = "**Where to.** A table of a DynamoDB endpoint, which counts nothing."


def summary(results: Results) -> str:
    """The table of all cases, then the floors, as plain text."""
    parts = [_table(*_cases_table(results))]
    floors = reached(results)
    if floors:
        parts.append(_table(*_floors_table(floors)))
    if floors and results.rows != ROWS:
        parts.append(f"These figures are asked for with {ROWS:,} rows, not {results.rows:,}.")
    return "\n\n".join([*parts, *results.left_out])


def markdown(results: Results) -> str:
    """RESULTS.md."""
    rounds = max((each.round for each in results.measurements), default=0)
    busy = [each.stub_busy for each in results.measurements if each.stub_busy is not None]
    where = _STUB.format(busy=max(busy)) if busy else _REAL
    facts = {"date": results.date, **results.machine, **results.versions}
    parts = [
        "# What writing costs",
        _HOW.format(rounds=rounds, where=where).rstrip(),
        "![CPU seconds and items a second of each contender](results.svg)",
        *_floors(results),
        "## All cases",
        _table(*_cases_table(results)),
        "## Measured on",
        _table(("What", "Which"), list(facts.items())),
        *results.left_out,
    ]
    return "\n\n".join(parts) + "\n"


def _floors(results: Results) -> list[str]:
    found = reached(results)
    if not found:
        return []
    limits = [_LIMIT] if any(each.at_limit for each in found) else []
    return ["## Figures that must be reached", _table(*_floors_table(found)), *limits]


def reached(results: Results) -> list[Reached]:
    """The floors whose cases were measured."""
    return [found for found in (floor.reached(results) for floor in FLOORS) if found]


# --- the tables ----------------------------------------------------------------------------

_Table = tuple[Sequence[str], list[tuple[str, ...]]]


def _cases_table(results: Results) -> _Table:
    head = ("Case", "Rows", "Items/s", "CPU s per million items", "CPU against ours",
            "Peak MB", "Items a request", "Name")  # fmt: skip
    return head, list(_case_lines(results))


def _case_lines(results: Results) -> Iterator[tuple[str, ...]]:
    for case in CASES:
        for name, title in _runs_of(case):
            runs = results.of(name)
            if runs:
                yield _case_line(title, case, runs, results.of(case.versus))


def _runs_of(case: Case) -> list[tuple[str, str]]:
    if not case.is_java:
        return [(case.name, case.title)]
    return [(case.name, f"{case.title}, warm"), (case.name + COLD, f"{case.title}, cold")]


def _case_line(
    title: str, case: Case, runs: list[Measurement], ours: list[Measurement]
) -> tuple[str, ...]:
    against_ours = ratios(runs, ours, "cpu_per_million")
    cost = spread(each.cpu_per_million for each in runs)
    peak = spread(each.peak_bytes / 1e6 for each in runs)
    workers = spread(each.worker_peak_bytes / 1e6 for each in runs).median
    return (
        title + ("" if all(each.complete for each in runs) else " **(NOT ALL WRITTEN)**"),
        f"{runs[0].rows:,}",
        f"{spread(each.per_second for each in runs).median:,.0f}",
        _spread(cost, ".1f"),
        f"{spread(against_ours).median:.1f}" if against_ours else "",
        f"{peak.median:,.0f}" + (f" + {workers:,.0f}" if workers else ""),
        _items_a_request(runs),
        runs[0].case,
    )


def _items_a_request(runs: list[Measurement]) -> str:
    counts = [each.items / each.requests for each in runs if each.items and each.requests]
    return f"{spread(counts).median:.1f}" if counts else ""


def _floors_table(floors: list[Reached]) -> _Table:
    head = ("Figure", "Asked for", "Measured", "")
    return head, [
        (
            each.floor.figure,
            each.floor.bound,
            _spread(each.ratio, ".2f"),
            _verdict(each),
        )
        for each in floors
    ]


def _verdict(reached: Reached) -> str:
    if reached.at_limit:
        return f"{reached.share:.0%} of all that is possible"
    return "ok" if reached.ok else ("BELOW" if reached.floor.least is not None else "ABOVE")


def _spread(value: Spread, form: str) -> str:
    return f"{value.median:{form}} ({value.least:{form}} to {value.greatest:{form}})"


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns line up."""
    widths = [max(3, *map(len, column)) for column in zip(head, *lines, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        return f"| {' | '.join(padded)} |"

    rule = f"|{'|'.join('-' * (width + 2) for width in widths)}|"
    return "\n".join([line(head), rule, *map(line, lines)])
