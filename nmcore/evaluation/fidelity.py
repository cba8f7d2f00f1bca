"""How alike the outputs of a model and of its compressed form are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from nmcore.data.dataset import Dataset
from nmcore.data.loading import Opened
from nmcore.data.normalisation import Normalisation
from nmcore.evaluation.comparison import Runner, Tally, compare
from nmcore.evaluation.examples import Example, examples
from nmcore.evaluation.inputs import SYNTHETIC, synthetic_data
from nmcore.evaluation.metrics.base import Loss, Metric
from nmcore.evaluation.metrics.deviation import Deviation
from nmcore.evaluation.metrics.figures import in_words
from nmcore.evaluation.metrics.registry import JUDGED_BY, OF_FORM, Makers
from nmcore.plugins import protocols
from nmcore.plugins.inputs import InputHint
from nmcore.utils.progress import Progress, silent
from nmcore.utils.text import counted, printable

# A model and its compressed form are compared on so many inputs of the data at most, and slow ones
# on fewer: so many multiply-accumulates, or so few inputs.
FIDELITY_SAMPLES, FIDELITY_MACS, FEWEST_OF_DATA = 1_000, 500_000_000_000, 64
# The same for synthetic inputs.
COMPARED_MACS, FEWEST_COMPARED = 32_000_000_000, 16
# Added to the seed of synthetic inputs, so that no step before has seen them.
UNSEEN_SEED = 1_000_000


@dataclass(frozen=True, repr=False)
class Fidelity:
    """How the results of a compressed model compare with those of its original.

    Attributes
    ----------
    data : str
        The inputs, as given.
    n : int
        How many of them were used.
    top1_before, top1_after : float or None
        Percent whose top class is ``y``; None without ``y`` or class scores.
    agreement, deviation : float or None
        As in :class:`~nmcore.evaluation.evaluate.Evaluation`.
    synthetic : bool
        Whether the inputs are synthetic, and nothing was measured on them.
    held : bool
        Whether nothing was fitted to the inputs, though they are of the data that was given.
    form : str
        What the outputs were taken for; see :func:`nmcore.evaluation.forms.form_of`.
    metrics : mapping of str to float or None
        The figures that were asked for, by name, else those that suit the form.
    before : mapping of str to float
        Of these, those of the original that do not compare with it.
    told : sequence of str
        What was counted for them, in words.
    lost : sequence of str
        How the outputs plainly lost what they were for, whatever was asked for; mostly empty.
    loss : Loss or None
        How much worse the result is, by the first metric that was asked for, else by that of the
        form; None where that has no measure.
    judged_by : str or None
        The metric of the form that says more than the deviation does, such as ``boxes``; None where
        there is none, or the inputs tell nothing by it.
    deviations : sequence of float
        The deviation of each input alone, in percent, in no order; empty where outputs cannot be
        compared input by input.
    examples : sequence of Example
        The inputs whose outputs changed most, where that was asked for.
    """

    data: str
    n: int
    top1_before: float | None
    top1_after: float | None
    agreement: float | None
    deviation: float | None
    synthetic: bool = False
    held: bool = False
    form: str = ""
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    before: Mapping[str, float] = field(default_factory=dict)
    told: Sequence[str] = ()
    lost: Sequence[str] = ()
    loss: Loss | None = None
    judged_by: str | None = None
    deviations: Sequence[float] = ()
    examples: Sequence[Example] = field(default=(), compare=False)

    def __repr__(self) -> str:
        words = [*in_words(self.metrics, self.before), *self.told] or ["nothing to compare"]
        return f"Fidelity({', '.join(words)} on {printable(self.inputs)})"

    def to_dict(self) -> dict[str, Any]:
        """Return plain dicts, lists, strings and numbers."""
        return asdict(self)

    @property
    def limit(self) -> str:
        """What to bear in mind about the inputs."""
        if self.synthetic:
            return "real ones may fare worse"
        return f"which {'nothing was' if self.held else 'it may have been'} fitted to"

    @property
    def inputs(self) -> str:
        """The inputs in words."""
        if self.synthetic:
            return counted(self.n, "synthetic input")
        return f"{counted(self.n, 'input')} of {self.data}"


def fidelity(
    before: protocols.Session,
    after: protocols.Session,
    data: Dataset,
    progress: Progress | None = None,
    *,
    features: bool = False,
    asked: Makers | None = None,
    shown: int = 0,
) -> Fidelity:
    """Run a model and its compressed form on the same inputs and compare them.

    Parameters
    ----------
    before, after : Session
        The models.
    data : Dataset
        What they are fed with.
    progress : callable, optional
        Wraps the iteration over batches.
    features : bool
        Whether the first output holds features, which are no class scores; see
        :func:`nmcore.plugins.capabilities.gives_features`.
    asked : mapping of str to callable, optional
        Metrics instead of those that suit the form of the outputs.
    shown : int
        How many of the inputs whose outputs changed most are told.

    Raises
    ------
    ModelError, DataError
        A model cannot be used, the data does not fit it, or the outputs are none that a metric
        could be told of.
    """
    runners = [Runner("the original", before, data), Runner("the result", after, data)]
    original, result = compare(runners, data, progress or silent, asked=asked, features=features)
    names, found = [*(asked or {})] or OF_FORM[result.form], result.values
    known = {name: value for name, value in original.figures(names).items() if value is not None}
    metrics = [result.metrics[name] for name in names]
    return Fidelity(
        data.name,
        result.n,
        top1_before=original.values.get("top1"),
        top1_after=found.get("top1"),
        agreement=found.get("agreement"),
        deviation=found["deviation"],
        form=result.form,
        metrics=result.figures(names),
        before=known,
        deviations=_each(result.metrics.get("deviation")),
        examples=examples(runners, data, result, shown) if shown else (),
        told=[told for metric in metrics if (told := metric.told()) is not None],
        lost=result.lost,
        loss=_loss(original, result, [*(asked or {})][:1] or JUDGED_BY[result.form]),
        judged_by=next((n for n in JUDGED_BY[result.form] if found.get(n) is not None), None),
    )


def _loss(original: Tally, result: Tally, names: Sequence[str]) -> Loss | None:
    """By the first metric that has a measure."""
    losses = (result.metrics[name].loss(original.metrics[name]) for name in names)
    return next((loss for loss in losses if loss is not None), None)


def _each(metric: Metric | None) -> tuple[float, ...]:
    return tuple(metric.each) if isinstance(metric, Deviation) else ()


def compared(
    before: protocols.Session,
    after: protocols.Session,
    data: Opened | None,
    *,
    held: Dataset | None = None,
    macs: int | None,
    seed: int,
    steps: Normalisation | None = None,
    hints: Mapping[str, InputHint] | None = None,
    progress: Progress | None = None,
    features: bool = False,
    asked: Makers | None = None,
    shown: int = 0,
) -> Fidelity:
    """Compare a model and its compressed form on data, or on synthetic inputs of their own.

    Parameters
    ----------
    data : Dataset, Folder, FeedList or None
        The first inputs of it are used, unless some are held back.
    held : Dataset or None
        Inputs of the data that nothing was fitted to.
    macs : int or None
        The multiply-accumulates of the model for one input, None where unknown; a slow one is
        compared on fewer inputs.
    seed : int
        What the model was compressed with; synthetic inputs are of another seed.
    steps : Normalisation or None
        What synthetic inputs go through.
    hints : mapping of str to InputHint, optional
        What the graph tells of them.
    features, asked, shown
        As for :func:`fidelity`.

    Raises
    ------
    ModelError, DataError
        A model cannot be used, or the data does not fit it.
    """
    how: dict[str, Any] = {"features": features, "asked": asked, "shown": shown}
    if data is None:
        count = _affordable(macs, SYNTHETIC, COMPARED_MACS, FEWEST_COMPARED)
        unseen = synthetic_data(
            before, count, seed=seed + UNSEEN_SEED, normalisation=steps, hints=hints
        )
        return replace(fidelity(before, after, unseen, progress, **how), synthetic=True)
    count = _affordable(macs, FIDELITY_SAMPLES, FIDELITY_MACS, FEWEST_OF_DATA)
    if held is not None:
        return replace(fidelity(before, after, held.first(count), progress, **how), held=True)
    given = data.for_model(before.inputs, count)
    return fidelity(before, after, given.first(count), progress, **how)


def _affordable(macs: int | None, most: int, total: int, fewest: int) -> int:
    """How many inputs to compare a model on that takes so many multiply-accumulates for one."""
    return min(most, max(fewest, total // macs)) if macs else most
