"""Draw the figures of *How it works*: ``python docs/draw_figures.py`` writes docs/figures/*.svg.

It needs ``pip install '.[report]'``. Figures whose colours would not show on both are drawn twice,
for light pages and for dark ones. What shows measurements is measured while it is drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle

import nmcore
from nmcore.calibration.photographs import crops

FOLDER = Path(__file__).parent
EXAMPLE = FOLDER.parent / "examples/fashion_mnist"
BLUE, ORANGE, GREEN, PURPLE = "#3b82d6", "#dd7a2b", "#2f9e6e", "#9a63c9"
# A page is about so wide; text of this size is still legible where a phone shrinks it.
WIDTH, SIZE = 5.4, 10.5


@dataclass(frozen=True)
class Scheme:
    """The colours that depend on the page."""

    name: str
    ink: str
    muted: str


SCHEMES = (Scheme("light", "#1f2328", "#59636e"), Scheme("dark", "#e6edf3", "#9198a1"))


def similar(scheme: Scheme) -> Figure:
    """Merging in the plane: a removed row, the kept row of the greatest cosine, and the factor."""
    figure, (plane, response) = plt.subplots(1, 2, figsize=(WIDTH, 2.6), layout="constrained")
    kept, other, removed = np.array([1.9, 0.6]), np.array([0.1, 1.5]), np.array([1.05, 0.55])
    rows = (
        (kept, BLUE, "kept", (8, -4)),
        (other, GREEN, "kept", (8, -2)),
        (removed, ORANGE, "removed", (-4, 8)),
    )
    for row, colour, name, offset in rows:
        _arrow(plane, (0, 0), row, colour, width=2.2)
        align = "right" if colour == ORANGE else "left"
        plane.annotate(name, row, offset, textcoords="offset points", color=colour, ha=align)
    cosine = kept @ removed / np.linalg.norm(kept) / np.linalg.norm(removed)
    scale = np.linalg.norm(removed) / np.linalg.norm(kept)
    plane.set(xlim=(-0.2, 2.75), ylim=(-0.25, 1.9), xticks=[], yticks=[], aspect="equal")
    plane.set_title(f"rows of W: cosine {cosine:.2f}")
    along = np.linspace(-2, 2, 101)
    inputs = np.stack([along, 0.5 * np.sin(2 * along)])
    response.plot(along, np.maximum(removed @ inputs, 0), color=ORANGE, label="removed")
    rebuilt = scale * np.maximum(kept @ inputs, 0)
    response.plot(along, rebuilt, color=BLUE, ls="--", label=f"{scale:.2f} × kept")
    response.set(xticks=[], yticks=[], xlabel="inputs", title="after ReLU")
    response.legend(frameon=False, loc="upper left", labelcolor=scheme.ink)
    return figure


def batch_norm(scheme: Scheme) -> Figure:
    """Two channels with equal rows and different batch norms."""
    figure, axes = plt.subplots(figsize=(WIDTH, 2.5), layout="constrained")
    total = np.linspace(-3, 4, 201)
    kept, removed = np.maximum(total, 0), np.maximum(0.6 * (total - 1), 0)
    axes.plot(total, kept, color=BLUE, label="kept: gamma 1, beta 0")
    axes.plot(total, removed, color=ORANGE, label="removed: gamma 0.6, beta -0.6")
    axes.plot(total, 0.6 * kept, color=BLUE, ls="--", label="0.6 × kept")
    axes.fill_between(total, removed, 0.6 * kept, color=ORANGE, alpha=0.2, lw=0)
    axes.annotate(
        "bias distance", (2.4, 1.15), (3.0, 0.35), color=scheme.muted,
        arrowprops={"arrowstyle": "-", "color": scheme.muted},
    )  # fmt: skip
    axes.set(xlabel="weighted sum of the inputs, the same for both", ylabel="after ReLU")
    axes.legend(frameon=False, loc="upper left", labelcolor=scheme.ink)
    axes.margins(x=0)
    return figure


def walk(scheme: Scheme) -> Figure:
    """One step of the default method."""
    figure, axes = _canvas(WIDTH, 3.4, (0, 10.8), (-0.8, 6.0))
    _box(axes, (0.2, 2.6), (2.0, 1.4), "inputs,\nreal or made", scheme.muted, scheme)
    _box(axes, (3.1, 4.3), (3.0, 1.3), "original", GREEN, scheme)
    _box(axes, (3.1, 1.0), (3.0, 1.3), "compressed\nso far", BLUE, scheme)
    _box(axes, (7.2, 2.6), (3.3, 1.4), "choose channels,\nrefit the next layer", ORANGE, scheme)
    for end in (4.95, 1.65):
        _arrow(axes, (2.3, 3.3), (3.0, end), scheme.muted)
    _arrow(axes, (6.2, 4.95), (8.2, 4.1), GREEN)
    _arrow(axes, (6.2, 1.65), (8.2, 2.5), BLUE)
    axes.text(7.5, 5.05, "what the next layer\nshould compute", color=GREEN, va="center")
    axes.text(7.5, 1.45, "what it can read", color=BLUE, va="center")
    axes.plot([10.1, 10.1, 4.6], [2.5, 0.35, 0.35], color=ORANGE, lw=1.5)
    _arrow(axes, (4.6, 0.35), (4.6, 0.95), ORANGE)
    axes.text(7.4, 0.1, "written, then the next step", color=ORANGE, ha="center", va="top")
    return figure


def curves(scheme: Scheme) -> Figure:
    """The error curves of the example, and where a budget of half the MACs stops on them."""
    result = nmcore.compress(
        EXAMPLE / "lenet5_bn.onnx", macs=0.5, data=EXAMPLE / "calibration_256.npz",
        scale=255, mean=[0.2860], std=[0.3530],
    )  # fmt: skip
    figure, axes = plt.subplots(figsize=(WIDTH, 2.9), layout="constrained")
    for outcome, colour in zip(result.outcomes, (BLUE, ORANGE, GREEN, PURPLE), strict=True):
        assert outcome.curve is not None
        width, gone = outcome.plan.width, outcome.plan.width - len(outcome.plan.kept)
        share = 100 * np.arange(1, width) / width
        label = f"{outcome.plan.name} ({width} channels)"
        axes.semilogy(share, np.maximum(outcome.curve.error, 1e-6), color=colour, label=label)
        if gone:
            axes.plot(share[gone - 1], outcome.curve.error[gone - 1], "o", color=colour)
    axes.set(xlabel="channels removed, %", ylabel="error", ylim=(1e-5, 1), xlim=(0, 100))
    axes.legend(frameon=False, loc="lower right", labelcolor=scheme.ink)
    return figure


def coupled(scheme: Scheme) -> Figure:
    """A residual stream: what is added must keep the same channels."""
    figure, axes = _canvas(WIDTH, 2.3, (0, 12.6), (-0.9, 4.3))
    low, high = 0.9, 3.2
    for name, (x, y), colour in (
        ("conv 1", (0.1, low), BLUE),
        ("conv 2", (2.5, high), ORANGE),
        ("conv 3", (4.4, high), BLUE),
        ("conv 4", (7.0, high), GREEN),
        ("conv 5", (8.9, high), BLUE),
    ):
        _box(axes, (x, y - 0.45), (1.45, 0.9), name, colour, scheme)
    for start, inner in ((1.85, ORANGE), (6.35, GREEN)):
        axes.plot([start, start], [low, high], color=BLUE, lw=1.5)
        _arrow(axes, (start, high), (start + 0.6, high), BLUE)
        _arrow(axes, (start + 2.15, high), (start + 2.5, high), inner)
        axes.plot([start + 4.05, start + 4.25], [high, high], color=BLUE, lw=1.5)
        _arrow(axes, (start + 4.25, high), (start + 4.25, low + 0.25), BLUE)
        axes.text(start + 4.25, low, "+", ha="center", va="center", color=BLUE, fontsize=16)
    for start, end in ((1.6, 5.85), (6.3, 10.35), (10.8, 12.3)):
        _arrow(axes, (start, low), (end, low), BLUE)
    words = "one group: what conv 1, 3 and 5 make is added up"
    axes.text(6.2, -0.05, words, color=BLUE, ha="center", va="center")
    axes.text(3.2, 2.3, "a group", color=ORANGE, ha="center")
    axes.text(7.7, 2.3, "a group", color=GREEN, ha="center")
    return figure


def blocks(scheme: Scheme) -> Figure:
    """Attention: queries, keys, values and outputs of a head stay or go together."""
    figure, axes = _canvas(WIDTH, 2.4, (0, 13), (-1.3, 4.8))
    colours = (BLUE, ORANGE, GREEN, PURPLE)
    for column, name in enumerate(("queries", "keys", "values", "output")):
        left = 0.4 + 3.2 * column
        for row in range(8):
            head, gone = row // 2, row // 2 == 2
            look = {"alpha": 0.12, "ls": "--", "lw": 1.2} if gone else {"alpha": 0.55}
            place = (left, 3.6 - 0.5 * row - 0.12 * head)
            axes.add_patch(Rectangle(place, 2.3, 0.44, fc=colours[head], ec=colours[head], **look))
        axes.text(left + 1.15, 4.3, name, ha="center", color=scheme.ink)
    words = "4 x 2: one head of four goes, with all its rows and columns"
    axes.text(0.4, -1.0, words, color=scheme.muted)
    return figure


def synthetic_inputs(scheme: Scheme) -> Figure:
    """What a network is shown where there is no data."""
    figure, panels = plt.subplots(2, 6, figsize=(WIDTH, 1.85), layout="constrained")
    pictures = crops(panels.size, 3, (96, 96), seed=1)
    for panel, picture in zip(panels.flat, pictures, strict=True):
        panel.imshow(picture.transpose(1, 2, 0), interpolation="nearest")
        panel.set_axis_off()
    return figure


def _canvas(
    width: float, height: float, x: tuple[float, float], y: tuple[float, float]
) -> tuple[Figure, Axes]:
    figure = plt.figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=x, ylim=y)
    axes.set_axis_off()
    return figure, axes


def _box(
    axes: Axes,
    corner: tuple[float, float],
    size: tuple[float, float],
    words: str,
    colour: str,
    scheme: Scheme,
) -> None:
    shape = "round,pad=0,rounding_size=0.15"
    fill = mpl.colors.to_rgba(colour, 0.18)
    axes.add_patch(FancyBboxPatch(corner, *size, boxstyle=shape, fc=fill, ec=colour, lw=1.5))
    middle = corner[0] + size[0] / 2, corner[1] + size[1] / 2
    axes.text(*middle, words, ha="center", va="center", color=scheme.ink)


def _arrow(
    axes: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    colour: str,
    width: float = 1.5,
) -> None:
    style = {"arrowstyle": "-|>", "color": colour, "lw": width, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", end, start, arrowprops=style)


FIGURES: tuple[Callable[[Scheme], Figure], ...] = (
    similar, batch_norm, walk, curves, coupled, blocks,
)  # fmt: skip


def style(scheme: Scheme) -> dict[str, object]:
    """Settings of matplotlib for one kind of page: text stays text, the ground is the page's."""
    ink = dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"),
        scheme.ink,
    )
    return {
        "svg.fonttype": "none", "svg.hashsalt": "nmcore", "savefig.transparent": True,
        "font.family": "sans-serif", "font.size": SIZE, "axes.titlesize": SIZE,
        "legend.fontsize": SIZE - 1, "axes.spines.top": False, "axes.spines.right": False,
        "lines.linewidth": 2.0,
    } | ink  # fmt: skip


def main() -> None:
    """Write every figure."""
    folder = FOLDER / "figures"
    folder.mkdir(exist_ok=True)
    for scheme in SCHEMES:
        with mpl.rc_context(style(scheme)):
            for draw in FIGURES:
                name = draw.__name__.replace("_", "-")
                save(draw(scheme), folder / f"{name}-{scheme.name}.svg")
    with mpl.rc_context(style(SCHEMES[0])):
        save(synthetic_inputs(SCHEMES[0]), folder / "synthetic-inputs.svg")


def save(figure: Figure, path: Path) -> None:
    """Write a figure without the date, so that drawing it again changes nothing."""
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    main()
