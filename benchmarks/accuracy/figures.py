"""Results as a picture of several panels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

Point = tuple[float | str, float]
COLUMNS = 3
# One method has one colour in all pictures.
COLOURS = {
    "as it is": "0.6",
    "prune": "tab:red",
    "merge": "tab:blue",
    "ridge": "tab:purple",
    "nmf": "tab:brown",
    "nmf, free atoms": "tab:brown",
    "moments": "tab:orange",
    "moments+data": "tab:green",
}


@dataclass(frozen=True)
class Panel:
    """Curves over numbers, or dots over words."""

    title: str
    curves: Mapping[str, Sequence[Point]]
    xlabel: str
    ylabel: str = "top-1 %"


def can_draw() -> bool:
    """Whether the library is installed."""
    return find_spec("matplotlib") is not None


def draw(panels: Sequence[Panel], path: Path) -> None:
    """Write a picture in the format of the path's suffix; the same panels give the same file."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = min(COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    with matplotlib.rc_context({"svg.hashsalt": path.stem, "font.size": 9}):
        figure, grid = pyplot.subplots(
            rows,
            columns,
            figsize=(max(6.4, 4.2 * columns), 3.4 * rows),
            layout="constrained",
            squeeze=False,
        )
        for axes, panel in zip(grid.flat, panels, strict=False):
            _draw_panel(axes, panel)
        for axes in grid.flat[len(panels) :]:
            axes.remove()
        metadata = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(path, dpi=150, metadata=metadata)
        pyplot.close(figure)


def _draw_panel(axes: Any, panel: Panel) -> None:
    for name, points in panel.curves.items():
        words = any(isinstance(x, str) for x, _ in points)
        axes.plot(
            *zip(*points, strict=True),
            marker="o",
            markersize=4,
            linestyle="none" if words else "-",
            color=COLOURS.get(name),
            label=name,
        )
    axes.set(title=panel.title, xlabel=panel.xlabel, ylabel=panel.ylabel)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
