"""What a load shows while it runs."""

from __future__ import annotations

import io
import re

from pipelines.progress import Counts, Total, shown


def test_counts_add_up_in_the_summary():
    counts = Counts(read=1_005, written=1_000, superseded=3, failed=2)
    assert counts.settled == counts.read
    assert str(counts) == "1,005 read = 1,000 written + 3 superseded + 2 failed"


def test_counts_that_do_not_add_up_say_so():
    assert "1 unaccounted" in str(Counts(read=3, written=2))


def test_ignored_rows_are_settled_and_told():
    counts = Counts(read=3, written=1, superseded=1, ignored=1)
    assert counts.settled == counts.read
    assert str(counts) == "3 read = 1 written + 1 superseded + 0 failed + 1 ignored"


def test_rows_in_all_are_told_or_reckoned_from_what_is_read_of_the_files():
    counts = Counts(read=10, written=5, bytes=250)
    assert Total(rows=30).rows_of(counts) == 30
    assert Total(bytes=1000).rows_of(counts) == 40
    assert Total(bytes=250).rows_of(counts) == 10, "all is read"
    assert Total().rows_of(counts) == 10


def test_lines_end_with_the_final_counts():
    stream = io.StringIO()
    with shown(lambda: Counts(read=10, written=7, failed=1), stream=stream):
        pass
    assert re.match(
        r"10 read, 8 settled, [\d,]+ items/s, 0 write units, 0 retried, 1 failed, ",
        stream.getvalue(),
    )
