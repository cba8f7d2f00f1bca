"""How figures are written, and what they mean in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nmcore.evaluation import forms

DEVIATION = "root mean square of the difference, in percent of that of the outputs"


@dataclass(frozen=True)
class Figure:
    """How one figure is written.

    Attributes
    ----------
    header : str
        What heads its column.
    phrase : str
        What it is in a sentence, with the number in place of ``{}``.
    meaning : str
        What it means; empty where that is plain.
    digits : int
        Behind the point.
    drop : str
        What the loss by it is called; empty where it measures none.
    """

    header: str
    phrase: str
    meaning: str = ""
    digits: int = 2
    drop: str = ""

    @property
    def in_percent(self) -> bool:
        """Whether it is a share.

        >>> FIGURES["top1"].in_percent, FIGURES["cosine"].in_percent
        (True, False)
        """
        return self.header.endswith(" %")

    @property
    def name(self) -> str:
        """What it is called without its unit.

        >>> FIGURES["top1"].name
        'top-1'
        """
        return self.header.removesuffix(" %")

    def number(self, value: float | None) -> str:
        """The number alone, ``-`` where there is none.

        >>> FIGURES["cosine"].number(0.99), FIGURES["boxes"].number(None)
        ('0.9900', '-')
        """
        return "-" if value is None else f"{value:.{self.digits}f}"

    def text(self, value: float | None) -> str:
        """The number in words.

        >>> FIGURES["boxes"].text(93.456)
        'boxes kept 93.46 %'
        """
        return self.phrase.format(self.number(value))


FIGURES: Mapping[str, Figure] = {
    "top1": Figure("top-1 %", "top-1 {} %", drop="points of top-1 accuracy lost"),
    "top5": Figure("top-5 %", "top-5 {} %", drop="points of top-5 accuracy lost"),
    "agreement": Figure(
        "agreement %",
        "agreement {} %",
        "percent of inputs with the same top class",
        drop="percent of inputs that get another top class",
    ),
    "boxes": Figure(
        "boxes %",
        "boxes kept {} %",
        "percent of the original's boxes that are still found",
        drop="percent of the original's boxes that are no longer found",
    ),
    "new_boxes": Figure(
        "new boxes %", "new boxes {} %", "percent of the boxes found that the original has not"
    ),
    "ctc": Figure(
        "strings %",
        "strings kept {} %",
        "percent of inputs of which both models read the same string",
        drop="percent of strings that changed",
    ),
    "deviation": Figure(
        "deviation %",
        "deviation {} %",
        DEVIATION,
        drop=f"deviation of the outputs, {DEVIATION}",
    ),
    "channel": Figure(
        "channel %",
        "worst channel deviates by {} %",
        "deviation of the channel of the last axis that deviates most",
    ),
    "median_channel": Figure(
        "median channel %",
        "median channel by {} %",
        "deviation of the channel in the middle, by how far they deviate",
    ),
    "ids": Figure(
        "ids %",
        "ids kept {} %",
        "percent of positions at which both models choose the same id",
        drop="percent of ids that changed",
    ),
    "paths": Figure(
        "paths %",
        "whole paths kept {} %",
        "percent of inputs of which both models choose the same id at every position",
    ),
    "cosine": Figure(
        "cosine",
        "cosine {}",
        "mean cosine of the vectors that both models give for an input",
        digits=4,
        drop="hundredths of the cosine of the vectors lost",
    ),
    "neighbours": Figure(
        "neighbours %",
        "nearest neighbour kept by {} %",
        "percent of inputs whose nearest other input is the same for both models",
    ),
    "psnr": Figure(
        "PSNR dB", "PSNR {} dB", "peak signal-to-noise ratio of the pictures, in decibel"
    ),
    "ssim": Figure(
        "SSIM",
        "SSIM {}",
        "structural similarity of the pictures, at most 1",
        digits=4,
        drop="hundredths of the structural similarity lost",
    ),
    "iou": Figure(
        "IoU %",
        "IoU {} %",
        "intersection over union of both models' masks",
        drop="percent of the overlap of the masks lost",
    ),
    "mae": Figure("MAE", "MAE {}", "mean absolute difference of the masks", digits=4),
}
# What outputs were taken for.
SAID = {
    forms.SCORES: "the first output is taken for class scores",
    forms.VECTORS: "the outputs are taken for vectors, one an input, and not for class scores",
    forms.PICTURES: "the outputs are taken for pictures",
    forms.MASKS: "the outputs are taken for masks of the picture",
    forms.BOXES: "the outputs are taken for boxes of a detector",
    forms.STRINGS: "the outputs are taken for strings, a class at each step",
    forms.OTHER: "the outputs are none of class scores, boxes, strings, masks, vectors, pictures",
}


def in_words(
    figures: Mapping[str, float | None], before: Mapping[str, float] | None = None
) -> list[str]:
    """Figures as phrases, those that are known, each with what it was of the original.

    >>> in_words({"top1": 91.5, "agreement": None}, {"top1": 92.0})
    ['top-1 91.50 % (92.00 before)']
    """
    words = []
    for name, value in figures.items():
        if value is not None:
            figure = figure_of(name)
            was = f" ({figure.number(before[name])} before)" if before and name in before else ""
            words.append(f"{figure.text(value)}{was}")
    return words


def figure_of(name: str) -> Figure:
    """How a figure is written, a caller's own as well.

    >>> figure_of("worst_class").text(0.25)
    'worst_class 0.2500'
    """
    return FIGURES.get(name) or Figure(name, f"{name} {{}}", drop=f"{name} lost", digits=4)
