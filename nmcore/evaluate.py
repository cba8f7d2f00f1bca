"""How good and how fast models are on the same inputs.

Everything here goes through :class:`nmcore.plugins.Session`; no framework is named.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmcore import arguments, plugins
from nmcore.data import DataLike, Dataset, normalisation, only_input, opened
from nmcore.errors import DataError, ModelError, OutOfMemoryError
from nmcore.feeding import MADE, Data, NamedInputs, batch_size, data_for, feeder, made
from nmcore.files import size_of
from nmcore.group import Cost
from nmcore.images import load_pictures
from nmcore.latency import Latency, measure, on_one_device
from nmcore.plan import silent
from nmcore.probes import scaling_doubt
from nmcore.steps import step
from nmcore.wording import shape_text

Array = NDArray[Any]
Progress = Callable[[str, Sequence[int]], Iterable[int]]

# A model and its compressed form are compared on so many inputs of the data at most, and slow ones
# on fewer: so many multiply-accumulates, or so few inputs.
FIDELITY_SAMPLES, FIDELITY_MACS, FEWEST_OF_DATA = 1_000, 500_000_000_000, 64
# The same where inputs are made.
COMPARED_MACS, FEWEST_COMPARED = 32_000_000_000, 16
# Added to the seed of made inputs that no step before has seen.
UNSEEN_SEED = 1_000_000


@dataclass(frozen=True)
class Evaluation:
    """What one model does on a data set, and what it costs.

    Attributes
    ----------
    model : str
        The file, as given.
    n : int
        How many inputs were used.
    top1 : float or None
        Percent of them whose top class is ``y``; None without ``y`` or class scores.
    agreement : float or None
        Percent on which it gives the first model's top class; None for the first model and
        without class scores.
    deviation : float or None
        Root mean square of the difference to the first model's output, in percent of the root mean
        square of that output; None for the first model and where the two cannot be compared.
    latency_ms : float
        Median time of one run.
    latency_low_ms, latency_high_ms : float
        The 10th and 90th percentile.
    latency_batch : int
        How many inputs such a run takes.
    params, macs, bytes : int
        Numbers in the weights, multiply-accumulates of one sample (None where unknown), and the
        size of the file with those that hold its weights.
    provider : str
        Where it ran.
    threads : int
        How many threads one operator may use.
    data : str or None
        The inputs, as given; None where they were made.
    """

    model: str
    n: int
    top1: float | None
    agreement: float | None
    deviation: float | None
    latency_ms: float
    latency_low_ms: float
    latency_high_ms: float
    latency_batch: int
    params: int
    macs: int | None
    bytes: int
    provider: str
    threads: int
    data: str | None


def evaluate(
    models: str | Path | Sequence[str | Path],
    data: DataLike | NamedInputs | None = None,
    *,
    samples: int | None = None,
    scale: float | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    seed: int = 0,
    providers: Sequence[str] = ("auto",),
    threads: int = 0,
    runs: int | None = None,
    progress: Progress = silent,
    notify: Callable[[str], None] = lambda _line: None,
) -> list[Evaluation]:
    """Run models on the same inputs and compare each with ``y`` and with the first model.

    The first output counts. It holds class scores where it has one axis of more than one number
    besides the batch; a vector of integers is taken for the classes themselves.

    Parameters
    ----------
    models : path, or sequence of path
        Model files.
    data : path, array, mapping of str to array, or sequence of path, optional
        The inputs: a file with ``x`` (n, ...), or for models with several inputs one with an array
        for each, by its name; and optionally the classes ``y`` (n,); or the same in memory, as for
        :func:`nmcore.compress`. Without it inputs are made, which tell how alike models are, though
        on nothing real.
    samples : int, optional
        Use the first so many of the data, or make so many.
    scale, mean, std
        Inputs are ``(x / scale - mean) / std``; see :func:`nmcore.data.load`.
    seed : int
        For made inputs.
    providers : sequence of {"auto", "cuda", "cpu"}
        Where to run, in order of preference.
    threads : int
        Threads that one operator may use on the CPU; 0 for all there are.
    runs : int, optional
        How many runs of each model are timed; by default as many as make a steady median.
    progress : callable, optional
        Wraps the iteration over batches, as in ``progress("evaluating", starts)``.
    notify : callable, optional
        Takes lines that the user should know.

    Raises
    ------
    ModelError, DataError
        A model cannot be used, or the data does not fit it, or one model runs on another device
        than the rest.
    """
    said = arguments.checked(locals())
    paths = [Path(models)] if isinstance(models, (str, Path)) else [Path(each) for each in models]
    weights = [_weight(path) for path in paths]
    runtime = plugins.runtime()
    sessions = [
        runtime.session(path, providers=said["providers"], threads=said["threads"])
        for path in paths
    ]
    form = {name: said[name] for name in ("samples", "scale", "mean", "std", "seed")}
    inputs = data_for(sessions[0], data, **form)
    runners = [_runner(*each, inputs) for each in zip(paths, sessions, strict=True)]
    if isinstance(inputs, Dataset) and data is not None:
        takes = sessions[0].inputs[0].dtype
        doubt = scaling_doubt(inputs, plugins.open_graph(paths[0]), takes)
        if doubt is not None:
            notify(doubt)
    for notice in dict.fromkeys(session.notice for session in sessions if session.notice):
        notify(notice)
    with step(f"running {len(runners)} models on {len(inputs)} inputs"):
        tallies = _compare(runners, inputs, progress)
    with step("timing"):
        once = [runner.once for runner in runners]
        times = on_one_device(sessions, lambda: measure(once, said["runs"]))
    source = None if data is None else inputs.name
    return [
        _evaluation(runner, tally, time, *weight, source)
        for runner, tally, time, weight in zip(runners, tallies, times, weights, strict=True)
    ]


def _runner(path: Path, session: plugins.Session, inputs: Data) -> _Runner:
    try:
        return _Runner(str(path), session, inputs)
    except DataError as error:
        raise DataError(f"{path} does not take these inputs: {error}") from error


def _weight(path: Path) -> tuple[Cost, int]:
    """What a model costs, and the bytes of its file and of those that hold its weights."""
    graph = plugins.open_graph(path)
    return graph.cost(), size_of([path, *graph.data_files()])


@dataclass(frozen=True)
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
        As in :class:`Evaluation`.
    made : bool
        Whether the inputs were made, and for nothing but this comparison.
    """

    data: str
    n: int
    top1_before: float | None
    top1_after: float | None
    agreement: float | None
    deviation: float | None
    made: bool = False

    @property
    def inputs(self) -> str:
        """The inputs in words."""
        return f"{self.n} {self.data}" if self.made else f"{self.n} inputs of {self.data}"


def fidelity(
    before: plugins.Session,
    after: plugins.Session,
    data: Data,
    progress: Progress | None = None,
) -> Fidelity:
    """Run a model and its compressed form on the same inputs and compare them.

    Raises
    ------
    ModelError, DataError
        A model cannot be used, or the data does not fit it.
    """
    runners = [_Runner("the original", before, data), _Runner("the result", after, data)]
    original, result = _compare(runners, data, progress or (lambda _text, starts: starts))
    return Fidelity(
        data.name, result.n, original.top1, result.top1, result.agreement, result.deviation
    )


def compared(
    before: plugins.Session,
    after: plugins.Session,
    data: str | Path | None,
    *,
    macs: int | None,
    seed: int,
    progress: Progress | None = None,
    scale: float | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Fidelity:
    """Compare a model and its compressed form on data, or on inputs made for nothing else.

    Parameters
    ----------
    data : path or None
        A file, of which the first inputs are used, or a folder of pictures.
    macs : int or None
        The multiply-accumulates of the model for one input, None where unknown; fewer inputs are
        made for one that takes many.
    seed : int
        What the model was compressed with; the inputs that are made are others.
    scale, mean, std
        See :func:`nmcore.data.load`.

    Raises
    ------
    ModelError, DataError
        A model cannot be used, or the data does not fit it.
    """
    if data is None:
        count = _affordable(macs, MADE, COMPARED_MACS, FEWEST_COMPARED)
        unseen = made(
            before, count, seed=seed + UNSEEN_SEED, normalisation=normalisation(scale, mean, std)
        )
        return replace(fidelity(before, after, unseen, progress), made=True)
    given = opened(data, scale, mean, std)
    count = _affordable(macs, FIDELITY_SAMPLES, FIDELITY_MACS, FEWEST_OF_DATA)
    if isinstance(given, (Path, tuple)):
        spec = only_input(before.inputs)
        given = load_pictures(given, spec, count, normalisation(scale, mean, std))
    assert given is not None
    return fidelity(before, after, given.first(count), progress)


def _affordable(macs: int | None, most: int, total: int, fewest: int) -> int:
    """How many inputs to compare a model on that takes so many multiply-accumulates for one."""
    return min(most, max(fewest, total // macs)) if macs else most


def _evaluation(
    runner: _Runner, tally: _Tally, time: Latency, cost: Cost, size: int, source: str | None
) -> Evaluation:
    return Evaluation(
        model=runner.name,
        n=tally.n,
        top1=tally.top1,
        agreement=tally.agreement,
        deviation=tally.deviation,
        latency_ms=time.median_ms,
        latency_low_ms=time.low_ms,
        latency_high_ms=time.high_ms,
        latency_batch=runner.feed.fixed or 1,
        params=cost.params,
        macs=cost.macs,
        bytes=size,
        provider=runner.session.provider,
        threads=runner.session.threads,
        data=source,
    )


class _Runner:
    """One model, fed from one data set in batches of the size it takes."""

    def __init__(self, name: str, session: plugins.Session, data: Data) -> None:
        self.name = name
        self.session = session
        self.data = data
        self.feed = feeder(data, session.inputs)
        self.size = self.feed.fixed or batch_size(data)

    def once(self) -> object:
        """Run the first input, or the first fixed batch."""
        return self.session.run(self._first)

    @cached_property
    def _first(self) -> dict[str, Array]:
        return self.feed(0, min(self.feed.fixed or 1, len(self.data)))

    def __call__(self, start: int, stop: int) -> Array | None:
        """Return the first output for a range of inputs; None where they cannot be stacked."""
        parts: list[Array] = []
        while start < stop:
            end = min(start + self.size, stop)
            try:
                parts += self._parts(start, end)
            except OutOfMemoryError:
                if self.feed.fixed or end - start == 1:
                    raise
                self.size = (end - start + 1) // 2
                continue
            start = end
        arrays = all(isinstance(part, np.ndarray) and part.dtype.kind in "fiub" for part in parts)
        if not arrays or len({part.shape[1:] for part in parts}) != 1:
            return None
        return np.concatenate(parts)

    def _parts(self, start: int, stop: int) -> list[Array]:
        """What one run gives, or as many runs as the model turns out to want."""
        count = stop - start
        feeds = self.feed(start, stop)
        if self.feed.fixed or count == 1:
            return [self._per_input(self.session.run(feeds)[0], count)]
        # Many a graph says that its batch is dynamic and then reshapes to a batch of one.
        try:
            output = self.session.run(feeds, divisible=True)[0]
        except OutOfMemoryError:
            raise
        except ModelError:
            output = None
        if output is not None and output.shape[:1] == (count,):
            return [output]
        self.size = 1
        return [part for one in range(start, stop) for part in self._parts(one, one + 1)]

    def _per_input(self, output: Array, count: int) -> Array:
        taken = self.feed.fixed or 1
        if output.shape[:1] == (taken,):
            return output[:count]
        if taken == 1:
            return output[None]
        raise ModelError(
            f"{self.name} takes {taken} inputs at a time, but its first output has shape "
            f"{shape_text(output.shape)}, which is not one part an input"
        )


@dataclass
class _Tally:
    """The running account of one model; ``None`` for what turned out not to apply."""

    first: bool
    n: int = 0
    right: int | None = 0
    same: int | None = 0
    squares: list[float] | None = field(default_factory=lambda: [0.0, 0.0])

    def add(
        self,
        output: Array | None,
        reference: Array | None,
        labels: NDArray[np.int64] | None,
        count: int,
    ) -> None:
        """Account for one batch: a model's output, the first model's, and the true classes."""
        self.n += count
        top = None if output is None else top_class(output)
        reference_top = None if reference is None else top_class(reference)
        self.right = _count(self.right, top, labels)
        self.same = _count(self.same, top, reference_top)
        if output is None or reference is None or output.shape != reference.shape:
            self.squares = None
        elif self.squares is not None:
            difference = output.astype(np.float64) - reference
            self.squares[0] += float(np.sum(difference**2))
            self.squares[1] += float(np.sum(reference.astype(np.float64) ** 2))

    @property
    def top1(self) -> float | None:
        return None if self.right is None else 100 * self.right / self.n

    @property
    def agreement(self) -> float | None:
        return None if self.first or self.same is None else 100 * self.same / self.n

    @property
    def deviation(self) -> float | None:
        if self.first or self.squares is None or not self.squares[1]:
            return None
        deviation = 100 * math.sqrt(self.squares[0] / self.squares[1])
        return deviation if math.isfinite(deviation) else None


def _compare(runners: Sequence[_Runner], data: Data, progress: Progress) -> list[_Tally]:
    # Batch by batch through all models: only one batch of the first model's outputs is ever held.
    tallies = [_Tally(first=runner is runners[0]) for runner in runners]
    size = batch_size(data)
    for start in progress("evaluating", range(0, len(data), size)):
        stop = min(start + size, len(data))
        labels = None if data.y is None else data.y[start:stop]
        reference = None
        for runner, tally in zip(runners, tallies, strict=True):
            output = runner(start, stop)
            reference = output if tally.first else reference
            if output is not None and labels is not None:
                _check_labels(runner.name, output, labels)
            tally.add(output, reference, labels, stop - start)
    return tallies


def top_class(output: Array) -> NDArray[np.int64] | None:
    """Return the top class of each input; None where the output holds no class scores.

    Where a score is not a number the class is -1, which is no class and agrees with none.

    Examples
    --------
    >>> top_class(np.array([[0.1, 0.9], [0.8, 0.2]]))
    array([1, 0])
    >>> top_class(np.zeros((2, 1, 320, 320))) is None
    True
    """
    if output.ndim == 1 and output.dtype.kind in "iu":
        return output.astype(np.int64)
    classes = _class_count(output)
    if classes is None:
        return None
    scores = output.reshape(len(output), classes)
    return np.where(np.isnan(scores).any(axis=1), -1, np.argmax(scores, axis=1))


def _class_count(output: Array) -> int | None:
    sizes = [size for size in output.shape[1:] if size != 1]
    return sizes[0] if len(sizes) == 1 and output.dtype.kind == "f" else None


def _count(
    so_far: int | None, top: NDArray[np.int64] | None, other: NDArray[np.int64] | None
) -> int | None:
    if so_far is None or top is None or other is None:
        return None
    return so_far + int(np.count_nonzero((top == other) & (top >= 0)))


def _check_labels(name: str, output: Array, labels: NDArray[np.int64]) -> None:
    classes = _class_count(output)
    if classes is not None and not 0 <= labels.min() <= labels.max() < classes:
        raise DataError(
            f"y holds classes from {labels.min()} to {labels.max()}, but {name} gives "
            f"{classes} scores an input"
        )
