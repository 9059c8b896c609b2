"""A load's report: one HTML file without anything from elsewhere, its plots drawn in SVG."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pipelines.progress import Counts, History, time_text

__all__ = ["html_report"]

_WIDTH, _HEIGHT = 640, 160
_LEFT, _BOTTOM, _TOP, _RIGHT = 64, 24, 12, 24
_POINTS = 120

Of = Callable[[Counts, Counts, float], float]


@dataclass(frozen=True, slots=True)
class _Plot:
    """One plot: what is drawn over time.

    Attributes:
        id: The plot's id in the page.
        title: What it shows.
        unit: Of the values.
        value: Gives a value for the counts before and after a stretch of so many seconds.
    """

    id: str
    title: str
    unit: str
    value: Of


_PLOTS = (
    _Plot("rate", "Rate", "items/s", lambda a, b, s: (b.settled - a.settled) / s),
    _Plot(
        "latency", "Latency of a batch", "ms",
        lambda a, b, _: (b.latency_ms - a.latency_ms) / max(b.calls - a.calls, 1),
    ),
    _Plot("throttling", "Throttled writes", "/s", lambda a, b, s: (b.throttled - a.throttled) / s),
    _Plot("failures", "Failed rows", "/s", lambda a, b, s: (b.failed - a.failed) / s),
    _Plot("units", "Write units", "/s", lambda a, b, s: (b.units - a.units) / s),
)  # fmt: skip

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 42rem; margin: 2rem auto; padding: 0 1rem;
  color: #1b1f24; background: #fff; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.05rem; margin: 1.5rem 0 .25rem; }
table { border-collapse: collapse; width: 100%; } th { text-align: left; font-weight: 500; }
td { text-align: right; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .5rem; border-bottom: 1px solid #d0d7de; }
svg { width: 100%; height: auto; } svg text { font: 11px system-ui, sans-serif; fill: #57606a; }
.line { fill: none; stroke: #0969da; stroke-width: 1.5; } .grid { stroke: #d0d7de; }
.bad { color: #cf222e; }
@media (prefers-color-scheme: dark) {
  body { background: #0d1117; color: #e6edf3; } .line { stroke: #58a6ff; }
  svg text { fill: #9198a1; } .grid, th, td { stroke: #30363d; border-color: #30363d; }
}
"""


def html_report(title: str, history: History, facts: Mapping[str, str]) -> str:
    """The report of a run.

    Args:
        title: What was run.
        history: The counts over time.
        facts: What else to say of it, by name.

    Returns:
        A whole page that needs no other file.
    """
    seconds, last = history.samples[-1]
    plots = "".join(_figure(each, history) for each in _PLOTS)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{html.escape(title)}</h1>{_table(last, seconds, facts)}{plots}"
        f'<script type="application/json" id="samples">{_data(history)}</script>'
        "</body></html>\n"
    )


def _table(last: Counts, seconds: float, facts: Mapping[str, str]) -> str:
    rows = {
        "Rows read": f"{last.read:,}",
        "Written": f"{last.written:,}",
        "Superseded by a later row of the key": f"{last.superseded:,}",
        "Failed": f"{last.failed:,}",
        "Ignored, such as an UPDATE_BEFORE": f"{last.ignored:,}",
        "Retried writes": f"{last.retried:,}",
        "Throttled writes": f"{last.throttled:,}",
        "Write units": f"{last.units:,}",
        "Time": time_text(seconds),
        "Items per second": f"{last.settled / max(seconds, 1e-3):,.0f}",
        "Mean latency of a batch": f"{last.latency_ms / max(last.calls, 1):,.1f} ms",
        **facts,
    }
    bad = {"Failed"} if last.failed else set()
    return "".join(
        [
            "<table>",
            *(
                f"<tr><th>{html.escape(name)}</th>"
                f"<td{' class=bad' if name in bad else ''}>{html.escape(value)}</td></tr>"
                for name, value in rows.items()
            ),
            "</table>",
        ]
    )


def _data(history: History) -> str:
    """The samples as JSON that no text in it can end."""
    rows = [
        [round(seconds, 3), each.read, each.written, each.superseded, each.failed]
        for seconds, each in history.samples
    ]
    return json.dumps(rows).replace("</", "<\\/")


def _figure(plot: _Plot, history: History) -> str:
    points = _points(plot, _evenly(history))
    most = _round_up(max(value for _, value in points))
    seconds = max(points[-1][0], 1e-3)
    across, down = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def x(at: float) -> float:
        return _LEFT + across * at / seconds

    def y(value: float) -> float:
        return _TOP + down * (1 - value / most)

    line = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in points)
    grid = "".join(
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(v):.1f}" y2="{y(v):.1f}"/>'
        f'<text x="{_LEFT - 6}" y="{y(v) + 4:.1f}" text-anchor="end">{v:,g}</text>'
        for v in (0.0, most / 2, most)
    )
    times = "".join(
        f'<text x="{x(at):.1f}" y="{_HEIGHT - 6}" text-anchor="middle">{time_text(at)}</text>'
        for at in (0.0, seconds / 2, seconds)
    )
    heading = f"{plot.title}, {plot.unit}"
    return (
        f"<h2>{heading}</h2>"
        f'<svg id="{plot.id}" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{heading}">'
        f'{grid}{times}<polyline class="line" points="{line}"/></svg>'
    )


def _evenly(history: History) -> Sequence[tuple[float, Counts]]:
    """At most so many samples as a plot shows."""
    samples = history.samples
    step = max(1, len(samples) // _POINTS)
    return [*samples[:-1:step], samples[-1]]


def _points(plot: _Plot, samples: Sequence[tuple[float, Counts]]) -> list[tuple[float, float]]:
    points = [
        (after, max(0.0, plot.value(a, b, max(after - before, 1e-3))))
        for (before, a), (after, b) in zip(samples, samples[1:], strict=False)
        if after > before
    ]
    return [(0.0, points[0][1]), *points] if points else [(0.0, 0.0), (1.0, 0.0)]


def _round_up(value: float) -> float:
    """The next of 1, 2, 5, 10, 20, … as a scale's end."""
    unit = 1.0
    while unit < value:
        unit *= 10
    return next((unit * part for part in (0.1, 0.2, 0.5) if unit * part >= value), unit)
