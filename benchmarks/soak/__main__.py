"""`python -m benchmarks.soak`: one line of figures for each promise; fails if one is broken."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.soak.endpoint import Seen, failing_endpoint
from benchmarks.soak.load import Load, is_poison
from benchmarks.soak.pipeline import Outcomes, run

_MAY_GROW = 0.1
_MAY_GROW_BYTES = 16 << 20


class Promise(NamedTuple):
    """One promise, and whether it was kept."""

    name: str
    kept: bool
    figures: str


def promises(load: Load, outcomes: Outcomes, seen: Seen) -> list[Promise]:
    """What the run says about each promise."""
    return [
        _conservation(load, outcomes),
        Promise(
            "final table",
            seen.wrong == 0,
            f"{seen.items:,} items, {seen.wrong:,} other than in the replay of the input",
        ),
        _dead_letters(load, outcomes),
        Promise(
            "order per key",
            seen.stale == 0,
            f"{seen.writes:,} writes in {seen.calls:,} calls, up to {seen.in_flight} in flight; "
            f"{seen.stale:,} landed after a newer one",
        ),
        _memory(outcomes),
        _faults(seen),
    ]


def _conservation(load: Load, outcomes: Outcomes) -> Promise:
    counted = outcomes.counters
    ends = ("written", "superseded", "failed", "ignored")
    out = sum(outcomes.written)
    kept = (
        load.rows == counted["received"] == sum(counted[end] for end in ends)
        and out == counted["written"]
        and len(outcomes.failed) == counted["failed"]
        and max(outcomes.written) <= 1
    )
    sums = " + ".join(f"{counted[end]:,} {end}" for end in ends)
    return Promise("conservation", kept, f"{load.rows:,} rows = {sums}; {out:,} came out written")


def _dead_letters(load: Load, outcomes: Outcomes) -> Promise:
    poison = {row["version"] for row in load.all_changes() if is_poison(row["id"])}
    failed = {version for version, code in outcomes.failed if code == "ValidationException"}
    others = len(outcomes.failed) - len(failed & poison)
    figures = f"{len(poison):,} poison rows, {len(failed & poison):,} dead letters, {others} others"
    return Promise("dead letters", failed == poison and others == 0, figures)


def _memory(outcomes: Outcomes) -> Promise:
    warm, peak = outcomes.warm_bytes, outcomes.peak_bytes
    kept = peak <= warm * (1 + _MAY_GROW) + _MAY_GROW_BYTES
    return Promise(
        "memory", kept, f"peak {warm >> 20:,} MB after a third, {peak >> 20:,} MB in the end"
    )


def _faults(seen: Seen) -> Promise:
    met = seen.faults
    late = met.get("Delayed", 0)
    held, errors, refused = (met.get(name, 0) for name in ("items held", "ServerError", "Rejected"))
    resets = met.get("Reset", 0) + late
    figures = (
        f"{held:,} items held ({held / (held + seen.writes):.0%} of those asked for), "
        f"{errors:,} calls with 500, {resets:,} resets ({late:,} carried out seconds later), "
        f"{refused:,} calls refused for a poison row"
    )
    return Promise("faults met", bool(held and errors and resets and refused), figures)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a soak and reports; 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    add = parser.add_argument
    add("--rows", type=int, default=1_000_000, help="how many changes")
    add("--keys", type=int, help="of how many keys; a fifth of the rows by default")
    add("--seed", type=int, default=1, help="decides the changes and the faults")
    add("--in-flight", type=int, default=50, help="sink.requests.max-inflight")
    add("--keyed", action="store_true", help="with partitioned_by: through the stateful step")
    options = parser.parse_args(argv)
    logging.getLogger("apache_beam").setLevel(logging.ERROR)
    load = Load(options.seed, options.rows, options.keys or options.rows // 5)
    with failing_endpoint(load) as endpoint:
        began, cpu = time.monotonic(), time.process_time()
        outcomes = run(load, endpoint.url, keyed=options.keyed, in_flight=options.in_flight)
        took, cpu = time.monotonic() - began, time.process_time() - cpu
        found = promises(load, outcomes, endpoint.judged())
    for name, kept, figures in found:
        print(f"{'kept  ' if kept else 'BROKEN'} {name:13} {figures}")
    print(f"       time          {took:.0f} s, {cpu:.0f} s of CPU, {load.rows / took:,.0f} rows/s")
    return 0 if all(each.kept for each in found) else 1


if __name__ == "__main__":
    sys.exit(main())
