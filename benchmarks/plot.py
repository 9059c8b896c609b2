"""The contenders' costs as a picture that the README shows."""

from __future__ import annotations

from pathlib import Path

from benchmarks.results import COLD, Results, spread

__all__ = ["PLOTTED", "draw"]

PLOTTED = {
    "ours-nokeys": "beam-dynamodb, no keys",
    "ours-keys": "beam-dynamodb, dedup keys",
    "beam-java": "Beam Java DynamoDBIO, warm",
    "flink-2": "Flink DynamoDbSink, 2 slots, warm",
    "beam-java" + COLD: "Beam Java DynamoDBIO, cold",
    "flink-2" + COLD: "Flink DynamoDbSink, 2 slots, cold",
    "boto3-threads": "boto3 client, 16 threads",
    "boto3-batch-writer": "boto3 batch_writer",
    "beam-boto3": "boto3 batch_writer in a DoFn",
    "awswrangler": "awswrangler put_items",
    "aiobotocore": "aiobotocore, 50 in flight",
}
"""The cases that are drawn, and what they are called there."""

_OURS, _OTHERS = "#1f77b4", "#b0b7bf"


def draw(results: Results, into: Path) -> None:
    """Writes an SVG: CPU time of a million items, and items a second."""
    import matplotlib as mpl

    mpl.use("svg")
    # Text stays text, and the same results make the same file.
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "benchmarks", "font.size": 9})
    from matplotlib import pyplot

    measured = {name: results.of(name) for name in PLOTTED if results.of(name)}
    costs = {n: spread(r.cpu_per_million for r in runs).median for n, runs in measured.items()}
    speeds = {n: spread(r.per_second for r in runs).median for n, runs in measured.items()}
    order = sorted(costs, key=costs.__getitem__, reverse=True)
    figure, panels = pyplot.subplots(
        1, 2, sharey=True, figsize=(9, 0.7 + 0.3 * len(order)), layout="constrained"
    )
    for panel, values, title in (
        (panels[0], costs, "CPU seconds per million items"),
        (panels[1], speeds, "items per second"),
    ):
        colors = [_OURS if name.startswith("ours") else _OTHERS for name in order]
        bars = panel.barh([PLOTTED[n] for n in order], [values[n] for n in order], color=colors)
        panel.bar_label(bars, fmt="{:,.0f}", padding=3)
        panel.set_title(title, fontsize=10)
        panel.margins(x=0.15)
        panel.xaxis.set_visible(False)
        panel.spines[["top", "right", "bottom"]].set_visible(False)
        panel.tick_params(axis="y", length=0)
    figure.savefig(into, metadata={"Date": None})
    pyplot.close(figure)
