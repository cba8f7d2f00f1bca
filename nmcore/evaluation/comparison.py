"""Running several models on the same inputs and counting how alike their outputs are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nmcore.calibration.padding import padding_mask
from nmcore.data.batches import BatchRunner
from nmcore.data.dataset import Dataset
from nmcore.data.feeds import batch_size, feeder
from nmcore.errors import DataError, ModelError, OutOfMemoryError
from nmcore.evaluation.forms import BOXES, SCORES, form_of
from nmcore.evaluation.metrics.base import Metric
from nmcore.evaluation.metrics.deviation import Deviation
from nmcore.evaluation.metrics.registry import Makers, makers_for
from nmcore.evaluation.outputs import Batch, Outputs, class_scores, joined
from nmcore.group import Array
from nmcore.plugins import capabilities, protocols
from nmcore.utils.progress import Progress
from nmcore.utils.text import shape_text

# Padding is looked for in so many inputs at a time.
_LOOKED = 8
# Kinds of what outputs are compared by.
_NUMBERS = "fiub"


class Runner:
    """One model, fed from one data set in batches of the size it takes."""

    def __init__(self, name: str, session: protocols.Session, data: Dataset) -> None:
        self.name = name
        self.session = session
        self.data = data
        self.feed = feeder(data, session.inputs)
        self._batch_runner = BatchRunner(session, divisible=self.feed.fixed is None)
        self._alone = False
        # Height, width and channels of the one picture that the model saw last, of each input.
        self.picture: tuple[int, int, int] | None = None

    @property
    def most(self) -> int:
        """How many inputs one run takes at most, as far as the runs so far tell."""
        return self.feed.fixed or (1 if self._alone else self._batch_runner.most)

    def once(self) -> object:
        """Run the first input, or the first fixed batch."""
        return self.session.run(self._first)

    @cached_property
    def _first(self) -> dict[str, Array]:
        return self.feed(next(self.data.alike(self.feed.fixed or 1)))

    def __call__(self, chosen: NDArray[np.intp]) -> Outputs:
        """Return each output for some inputs of one shape; see :data:`Outputs`."""
        size = self.feed.fixed or len(chosen)
        runs = [
            run
            for first in range(0, len(chosen), size)
            for run in self._runs(chosen[first : first + size])
        ]
        return [
            joined(parts) if all(part.dtype.kind in _NUMBERS for part in parts) else None
            for parts in zip(*runs, strict=True)
        ]

    def _runs(self, chosen: NDArray[np.intp]) -> list[list[Array]]:
        """What one run gives, or as many runs as memory and the model turn out to want."""
        count = len(chosen)
        if self._alone and count > 1:
            return [run for one in chosen for run in self._runs(np.array([one]))]
        feeds = self.feed(chosen)
        self.picture = _picture_in(feeds)
        if self.feed.fixed or count == 1:
            return [self._per_input(self.session.run(feeds), count)]
        # Many a graph says that its batch is dynamic and then reshapes to a batch of one; others
        # have outputs, such as lists of what was found, that several inputs would share.
        try:
            runs = [*self._batch_runner(feeds)]
        except OutOfMemoryError:
            raise
        except ModelError:
            runs = []
        if runs and all(_has_parts(outputs, taken) for taken, outputs in runs):
            return [self._per_input(outputs, taken) for taken, outputs in runs]
        self._alone = True
        return self._runs(chosen)

    def _per_input(self, outputs: Sequence[Array], count: int) -> list[Array]:
        """The outputs with a part for each input, the whole where they have none.

        The first output must have them.
        """
        taken = self.feed.fixed or count
        first = outputs[0]
        if first.shape[:1] != (taken,) and taken != 1:
            raise ModelError(
                f"{self.name} takes {taken} inputs at a time, but its first output has shape "
                f"{shape_text(first.shape)}, which is not one part an input"
            )
        return [
            output[:count]
            if output.shape[:1] == (taken,)
            else np.broadcast_to(output, (count, *output.shape))
            for output in outputs
        ]


def changed_states(sessions: Sequence[protocols.Session]) -> list[str]:
    """The states whose shapes are not the same for all of some models, by name."""
    shapes: dict[str, set[tuple[int | None, ...]]] = {}
    for session in sessions:
        for spec in session.inputs:
            if spec.state:
                shapes.setdefault(spec.name, set()).add(spec.shape)
    return [name for name, found in shapes.items() if len(found) > 1]


def _picture_in(feeds: Mapping[str, Array]) -> tuple[int, int, int] | None:
    """Height, width and channels of the one picture that a model is given for each input."""
    shapes = [array.shape for array in feeds.values() if array.ndim == 4]
    if len(shapes) != 1:
        return None
    _, first, second, last = shapes[0]
    if first in (1, 3):
        return second, last, first
    return (first, second, last) if last in (1, 3) else None


def _has_parts(outputs: Sequence[Array], count: int) -> bool:
    """Whether the outputs have one part for each of so many inputs, as far as they are numbers."""
    numbers = [each for each in outputs[1:] if each.dtype.kind in _NUMBERS]
    return all(each.shape[:1] == (count,) for each in (outputs[0], *numbers))


@dataclass(eq=False)
class Tally:
    """The running account of one model.

    Attributes
    ----------
    first : bool
        Whether it is the model that others are compared with.
    form : str
        Of the first model's outputs; see :func:`nmcore.evaluation.forms.form_of`.
    metrics : mapping of str to Metric
        What is counted.
    n : int
        Of how many inputs.
    places : list of int array
        Which of the data these were, a batch each.
    """

    first: bool
    form: str
    metrics: Mapping[str, Metric]
    n: int = 0
    places: list[NDArray[np.intp]] = field(default_factory=list)

    def add(self, batch: Batch) -> None:
        """Account for some inputs."""
        self.n += len(batch.places)
        self.places.append(batch.places)
        for metric in self.metrics.values():
            if not (self.first and metric.relative):
                metric.add(batch)

    @cached_property
    def values(self) -> dict[str, float | None]:
        """All figures by name; None for what turned out not to apply."""
        return self.figures(self.metrics)

    def figures(self, names: Iterable[str]) -> dict[str, float | None]:
        """The figures of some metrics."""
        found: dict[str, float | None] = {}
        for metric in (self.metrics[name] for name in names):
            values = metric.values()
            found |= dict.fromkeys(values) if self.first and metric.relative else values
        return found

    @property
    def lost(self) -> list[str]:
        """What the metrics say of outputs that plainly lost what they were for."""
        return [
            str(metric.told())
            for metric in self.metrics.values()
            # Boxes that change their order are found nevertheless.
            if metric.is_lost and not (self.form == BOXES and isinstance(metric, Deviation))
        ]


def compare(
    runners: Sequence[Runner],
    data: Dataset,
    progress: Progress,
    *,
    asked: Makers | None = None,
    features: bool = False,
) -> list[Tally]:
    """Run all models batch by batch: only one batch of the first one's outputs is ever held.

    Parameters
    ----------
    runners : sequence of Runner
        Models, each of which is compared with the first.
    data : Dataset
        What they are fed with.
    progress : callable
        Wraps the iteration over batches.
    asked : mapping of str to callable
        Metrics in place of those that suit the form of the outputs; see
        :func:`nmcore.evaluation.metrics.registry.makers_for`.
    features : bool
        Whether the first output holds features, which are no class scores; classes ``y`` say that
        it does not.

    Raises
    ------
    DataError
        Labels do not fit, or the outputs are none that a metric could be told of.
    """
    tallies: list[Tally] = []
    labels = data.y
    mask = _mask(runners[0], data)
    names = capabilities.output_names(runners[0].session)
    for chosen in progress("evaluating", [*data.alike(batch_size(data))]):
        counts = None
        if mask is not None:
            counts = runners[0].feed(chosen)[mask][: len(chosen)] != 0
        original: Outputs | None = None
        for place, runner in enumerate(runners):
            outputs = runner(chosen)
            original = outputs if original is None else original
            if not tallies:
                labels = labels if _are_classes_of(outputs, data) else None
                seen = Batch(original, outputs, None, chosen, counts, names, runners[0].picture)
                form = form_of(seen, features=features and labels is None)
                wanted = makers_for(form, asked or {})
                tallies = [
                    Tally(each is runner, form, {name: make() for name, make in wanted.items()})
                    for each in runners
                ]
            y = None if labels is None else labels[chosen]
            if y is not None and form == SCORES:
                _check_labels(data.name, runner.name, outputs[0], y)
            tallies[place].add(
                Batch(original, outputs, y, chosen, counts, names, runners[0].picture)
            )
    _check_told(tallies, asked or {})
    return tallies


def _mask(runner: Runner, data: Dataset) -> str | None:
    """The input that marks padding; a model with one input has none."""
    if len(runner.session.inputs) < 2 or runner.feed.apart:
        return None
    runner(next(data.alike(_LOOKED)))  # Tells how many it takes at once.
    size = runner.feed.fixed or min(runner.most, _LOOKED)
    return padding_mask(runner.session, map(runner.feed, data.alike(size)))


def _are_classes_of(outputs: Outputs, data: Dataset) -> bool:
    """Whether classes that names tell apart can be those of a model: there are as many."""
    scores = class_scores(outputs[0])
    known = data.named_classes
    return known is None or (scores is not None and scores.shape[1] == known)


def _check_told(tallies: Sequence[Tally], asked: Iterable[str]) -> None:
    """Raise where a metric that was asked for tells nothing of any model."""
    for name in asked:
        metrics = [each.metrics[name] for each in tallies]
        others = [
            metric
            for tally, metric in zip(tallies, metrics, strict=True)
            if not (tally.first and metric.relative)
        ]
        if others and not any(metric.was_told for metric in others):
            raise DataError(f"metric {name} needs {metrics[0].needs}")


def _check_labels(data: str, model: str, output: Array | None, labels: Array) -> None:
    scores = class_scores(output)
    if scores is not None and not 0 <= labels.min() <= labels.max() < scores.shape[1]:
        raise DataError(
            f"the classes of {data} go from {labels.min()} to {labels.max()}, but {model} gives "
            f"{scores.shape[1]} scores an input"
        )
