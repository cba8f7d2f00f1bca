"""All metrics by name, and which of them suit outputs of each form.

To add one, write a class like those beside this module, a line in :data:`METRICS`, and one in
:data:`nmcore.evaluation.metrics.figures.FIGURES`; every command takes the name from there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from inspect import signature
from types import BuiltinFunctionType
from typing import Any

from nmcore.errors import ArgumentError
from nmcore.evaluation import forms
from nmcore.evaluation.detection.forms import FORMS
from nmcore.evaluation.metrics.base import Metric
from nmcore.evaluation.metrics.boxes import FoundBoxes
from nmcore.evaluation.metrics.channels import Channels
from nmcore.evaluation.metrics.classes import Agreement, TopClasses
from nmcore.evaluation.metrics.custom import Custom, Function
from nmcore.evaluation.metrics.deviation import Deviation
from nmcore.evaluation.metrics.ids import Ids
from nmcore.evaluation.metrics.masks import AbsoluteError, Overlap
from nmcore.evaluation.metrics.pictures import Psnr, Ssim
from nmcore.evaluation.metrics.strings import Strings
from nmcore.evaluation.metrics.vectors import Cosine

# The name of a metric, or a function of the caller's own.
MetricLike = str | Function
# What makes each metric anew, by name.
Makers = Mapping[str, Callable[[], Metric]]

METRICS: Makers = {
    "top1": partial(TopClasses, 1),
    "top5": partial(TopClasses, 5),
    "agreement": Agreement,
    "deviation": Deviation,
    "channels": Channels,
    "cosine": Cosine,
    "psnr": Psnr,
    "ssim": Ssim,
    "iou": Overlap,
    "mae": AbsoluteError,
    "ctc": Strings,
    "ids": Ids,
    "boxes": FoundBoxes,
    **{f"boxes:{form}": partial(FoundBoxes, form) for form in FORMS},
}
# What is told of outputs of each form where nobody says what counts.
OF_FORM = {
    forms.SCORES: ("top1", "agreement", "deviation"),
    forms.VECTORS: ("deviation", "cosine"),
    forms.PICTURES: ("deviation", "psnr", "ssim"),
    forms.MASKS: ("deviation", "iou", "mae"),
    forms.BOXES: ("boxes", "deviation"),
    forms.STRINGS: ("ctc", "deviation"),
    forms.OTHER: ("deviation",),
}
# The first of these that tells something says what a result lost.
JUDGED_BY = {
    forms.SCORES: ("top1", "agreement"),
    forms.VECTORS: ("cosine",),
    forms.PICTURES: ("ssim",),
    forms.MASKS: ("iou",),
    forms.BOXES: ("boxes",),
    forms.STRINGS: ("ctc",),
    forms.OTHER: (),
}


# What is always told, as far as the form tells it.
_ALWAYS = ("top1", "agreement", "deviation")


def makers_for(form: str, asked: Makers) -> Makers:
    """What makes the metrics of outputs of a form, where some are asked for.

    Those that suit it; with others in their place what is always told, and what shows that outputs
    lost what they were for.

    Examples
    --------
    >>> [*makers_for("strings", {})], [*makers_for("boxes", metrics_of("boxes:detr"))]
    (['ctc', 'deviation'], ['deviation', 'boxes:detr'])
    """
    if not asked:
        return {name: METRICS[name] for name in OF_FORM[form]}
    kept = [name for name in OF_FORM[form] if name in (*_ALWAYS, *JUDGED_BY[form])]
    figures = {each for make in asked.values() for each in make().values()}
    own = {name: METRICS[name] for name in kept if not figures & set(METRICS[name]().values())}
    return own | dict(asked)


def metrics_of(given: MetricLike | Sequence[MetricLike] | None) -> dict[str, Callable[[], Metric]]:
    """What makes each metric that a caller named or wrote, by its name.

    Parameters
    ----------
    given : str, callable, or sequence of these, or None
        None gives none.

    Raises
    ------
    ArgumentError
        There is none of that name, or it is neither a name nor a function, or two tell a figure of
        one name.

    Examples
    --------
    >>> [*metrics_of(["top5", lambda original, outputs, y: 1.0])]
    ['top5', '<lambda>']
    """
    if given is None:
        return {}
    found: dict[str, Callable[[], Metric]] = {}
    each: Any
    for each in given if isinstance(given, (list, tuple)) else [given]:
        if isinstance(each, str) and each in METRICS:
            _check_apart(each, METRICS[each], found)
            found[each] = METRICS[each]
        elif _takes_outputs(each):
            name, make = Custom(each).name, partial(Custom, each)
            _check_apart(name, make, found | dict(METRICS))
            found[name] = make
        else:
            raise ArgumentError(
                f"metric is {each!r}; one of {', '.join(METRICS)}, or a function of the outputs of "
                "the original, those of the result and y, is needed"
            )
    return found


def _takes_outputs(function: Any) -> bool:
    """Whether it can be called with outputs, outputs and classes; what Python itself brings is none
    that gives a figure of them.
    """
    if not callable(function) or isinstance(function, BuiltinFunctionType):
        return False
    try:
        signature(function).bind(None, None, None)
    except (TypeError, ValueError):
        return False
    return True


def _check_apart(name: str, make: Callable[[], Metric], others: Makers) -> None:
    """Raise where another metric has this name, or tells a figure of this name."""
    figures = {name, *make().values()}
    for other, maker in others.items():
        if figures & {other, *maker().values()}:
            raise ArgumentError(
                f"metric {name} is given beside {other}, which tells "
                f"{' and '.join(maker().values())}: one of a kind, or a function of another name, "
                "is needed"
            )


def check_measures_loss(makers: Makers) -> None:
    """Raise where the first metric has no measure of what a result lost.

    Raises
    ------
    ArgumentError
        It is PSNR, which is infinite without a loss, or MAE, which is of no common unit.
    """
    first = next(iter(makers), None)
    if first is not None and type(makers[first]()).loss is Metric.loss:
        able = [name for name, make in METRICS.items() if type(make()).loss is not Metric.loss]
        raise ArgumentError(
            f"metric {first} is no measure of what is lost; {', '.join(able)} or a function is"
        )
