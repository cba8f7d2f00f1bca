"""The figures as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nmcore.bench.table import sizes
from nmcore.errors import ArgumentError

OURS, OTHERS, REFERENCE = "tab:blue", "0.7", "0.35"


def plot(result: Mapping[str, Any], path: Path) -> None:
    """Draw every contender's rate, as a share of sgemm's, into a picture file.

    Raises
    ------
    ArgumentError
        If matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ArgumentError("plot: needs matplotlib; install nmcore[report]") from error
    shown = sizes(result)
    panels = [[row for row in result["rows"] if row["size"] == size] for size in shown]
    heights = [len(rows) + 2 for rows in panels]
    with matplotlib.rc_context({"svg.hashsalt": path.stem, "font.size": 9}):
        figure = Figure(figsize=(7, 0.24 * sum(heights) + 0.4), layout="constrained")
        grid = figure.subplots(
            len(shown), 1, squeeze=False, sharex=True, gridspec_kw={"height_ratios": heights}
        )
        for axes, size, rows in zip(grid[:, 0], shown, panels, strict=True):
            axes.set_title(f"{size} kept", loc="left")
            _draw(axes, rows)
        grid[-1, 0].set_xlabel("rate, in % of this machine's sgemm in the same turn")
        # Without the date, the same figures give the same file.
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _draw(axes: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """Draw a bar a contender, the fastest on top."""
    rows = sorted(rows, key=lambda row: float(row["sgemm_share"]))
    shares = [100 * row["sgemm_share"] for row in rows]
    colours = [
        OURS if row["ours"] else REFERENCE if row["sgemm_share"] == 1 else OTHERS for row in rows
    ]
    bars = axes.barh([row["name"] for row in rows], shares, color=colours, height=0.75)
    axes.bar_label(
        bars, [f"{share:.0f}" if share >= 10 else f"{share:.1f}" for share in shares], padding=3
    )
    axes.axvline(100, color=REFERENCE, linewidth=0.8, linestyle=":", zorder=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False, labelbottom=True)
    axes.margins(x=0.08, y=0.02)
