"""A load's report as a page."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree

from pipelines.progress import Counts, History, time_text
from pipelines.report import html_report

FACTS = {"Table": "a<b>", "Input": "</script>"}


def history(*samples):
    found = History()
    for seconds, counts in samples:
        found.add(seconds, counts)
    return found


def points(page, plot):
    svg = re.search(rf'<svg id="{plot}".*?</svg>', page, re.DOTALL)[0]
    line = ElementTree.fromstring(svg).find("polyline").get("points")
    return [tuple(map(float, each.split(","))) for each in line.split()]


def test_plots_show_what_happened_in_each_stretch_of_time():
    page = html_report(
        "Load",
        history(
            (0.0, Counts()),
            (1.0, Counts(read=10, written=10, calls=1, latency_ms=20)),
            (2.0, Counts(read=10, written=10, calls=1, latency_ms=20, failed=5, throttled=3)),
        ),
        {},
    )
    (_, start), (_, first), (_, second) = points(page, "rate")
    assert start == first < second, "10 a second, then 5; the axis goes down"
    assert points(page, "latency")[1][1] < points(page, "latency")[2][1]
    assert points(page, "failures")[1][1] > points(page, "failures")[2][1]
    assert points(page, "throttling")[1][1] > points(page, "throttling")[2][1]


def test_a_run_of_no_time_has_a_report_too():
    page = html_report("Load", history((0.0, Counts())), FACTS)
    assert page.count("<svg") == 5


def test_no_fact_breaks_out_of_the_page():
    page = html_report("x</title>", history((0.0, Counts()), (1.0, Counts(read=1))), FACTS)
    assert page.count("</script>") == 1
    assert "a&lt;b&gt;" in page
    samples = re.search(r'id="samples">(.*?)</script>', page, re.DOTALL)[1]
    assert json.loads(samples)[-1][1] == 1


def test_a_long_history_is_thinned_out_and_keeps_its_ends():
    found = history(*((float(n), Counts(read=n)) for n in range(5000)))
    assert len(found.samples) <= 600
    assert (found.samples[0][0], found.samples[-1][0]) == (0.0, 4999.0)
    assert [at for at, _ in found.samples] == sorted(at for at, _ in found.samples)


def test_lengths_of_time():
    assert [time_text(each) for each in (0, 65, 3725)] == ["0:00", "1:05", "1:02:05"]
