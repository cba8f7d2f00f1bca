"""What the errors of groups do to the outputs of a network, on inputs that no fit has seen.

The error of a group is relative to what its consumers feed, which tells nothing of what comes
behind: early layers may amplify it, late ones have learnt the calibration data by heart. So a part
of each group is removed alone, its consumers are refitted, and the outputs are compared.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nmcore.arrays.elimination import Curve
from nmcore.calibration.calibration_set import CalibrationSet
from nmcore.calibration.collect import work
from nmcore.compression.consumer_fit import solved_refit
from nmcore.compression.moments import Moments
from nmcore.compression.trial_runs import TrialRuns, Tried
from nmcore.data.batches import Feeds, length_of, part_of
from nmcore.errors import ModelError
from nmcore.group import (
    Array,
    Consumer,
    Float64Array,
    Group,
    IntArray,
    Reading,
    Refit,
    ScorePair,
)
from nmcore.plugins import protocols
from nmcore.plugins.states import serialized_alike
from nmcore.utils.progress import Progress, silent

log = logging.getLogger(__name__)

# So many channels of a group are removed that this much of the variance of what its consumers feed
# is lost: at the same share of channels some groups would lose nothing, and tell nothing.
LEVEL = 0.03
# All groups together may take so many times the inputs of the calibration set, or so many
# multiply-accumulates if that is more, and each at least so many inputs; with more groups than that
# allows nothing is measured.
PASSES, TRIAL_WORK, FEWEST = 2, 2.5e11, 4
# What is measured is taken within bounds, as few inputs tell little.
BOUND = 16.0
# Errors of scores are in a unit of their own, so these bounds only keep numbers finite.
BOUND_INSIDE = 2.0**30
# A channel of an output that has changed by all of its variance is lost, and cannot be more so.
LOST = 1.0
# So many times as much as errors of the first layer do those of the last one count, beside what
# each does to the outputs: layers that are refitted later make up for errors of earlier ones. On
# synthetic inputs it is more, as these are of no class that late layers tell apart.
LATE, LATE_SYNTHETIC = 2.0, 4.0


@dataclass(frozen=True, eq=False)
class Trial:
    """A part of a group, removed alone.

    Attributes
    ----------
    group : Group
        The group.
    kept : int array, shape (P,)
        The channels that stay.
    changes : sequence of Refit
        The new weights of its consumers.
    error : float
        The error that its curve has there.
    """

    group: Group
    kept: IntArray
    changes: Sequence[Refit]
    error: float

    def apply(self, graph: protocols.Graph) -> None:
        """Remove it from a graph."""
        for index, change in enumerate(self.changes):
            graph.update(self.group, index, change)
        graph.remove(self.group, self.kept)


def trial(
    group: Group, consumers: Sequence[Consumer], seen: Sequence[Moments], curve: Curve
) -> Trial:
    """A part of a group removed alone, its consumers refitted.

    Parameters
    ----------
    consumers, seen : sequence of Consumer, of Moments
        Of the original, and what each reads there.
    curve : Curve
        The error of the group; it says in which order channels go.
    """
    count = tried_count(curve.averaged(len(consumers)).error)
    kept = np.delete(np.arange(group.width), curve.order[:count])
    changes = [
        solved_refit(consumer, moments, kept, final=False)
        for consumer, moments in zip(consumers, seen, strict=True)
    ]
    return Trial(group, kept, changes, float(curve.error[count - 1]) if count else 0.0)


def tried_count(error: Float64Array) -> int:
    """How many channels are removed on trial, by the error (n,) after each removal."""
    return min(int(np.searchsorted(error, LEVEL)) + 1, len(error))


def scales(
    graph: protocols.Graph,
    trials: Sequence[Tried],
    calibration: CalibrationSet,
    session: Callable[[bytes], protocols.Session],
    progress: Progress = silent,
) -> dict[str, float]:
    """By how much the errors of each group count more, or less, than those of the median group.

    Parameters
    ----------
    graph : Graph
        What is compressed, before any channel has gone.
    trials : sequence of Tried
        One a group, or several.
    calibration : CalibrationSet
        Its unseen inputs are used.
    session : callable
        Loads a model.
    progress : callable
        Wraps the iteration over groups.

    Returns
    -------
    dict of group name to float
        From 1 / BOUND to BOUND, of score pairs as it is measured; empty where nothing can be told.
    """
    shown = _shown(calibration, len(trials), work(graph))
    if not shown or len(trials) < 2:
        return {}
    try:
        wanted = _outputs(session(serialized_alike(graph)), shown, calibration.mask)
        # On synthetic inputs probes may run with other statistics of batch norms.
        runs = TrialRuns(graph, shown, session, carries=calibration.real)
        changes = {
            number: _change(*runs.of(trials[number]), wanted, calibration.mask)
            for number in progress("weighing groups", runs.order(trials))
        }
    except ModelError as error:
        log.info("no output errors: %s", error)
        return {}
    measured: dict[str, tuple[float, float]] = {}
    for number, trial in enumerate(trials):
        found, known = (changes[number], trial.error), measured.get(trial.group.name)
        # Of several trials of one the worst counts.
        if known is None or found[0] * known[1] > known[0] * found[1]:
            measured[trial.group.name] = found
    return relative(
        measured,
        frozenset(t.group.name for t in trials if isinstance(t.group, ScorePair)),
    )


def relative(
    measured: Mapping[str, tuple[float, float]], inside: frozenset[str] = frozenset()
) -> dict[str, float]:
    """Scales from what was measured: the change of the outputs, and the error that made it.

    A group that changes nothing counts least; one behind which outputs are no numbers counts most.

    Parameters
    ----------
    measured : mapping of group name to (float, float)
        Both, of groups and of score pairs.
    inside : frozenset of str
        The score pairs among them. Their errors are in units of their own, parts of the scores,
        which tell nothing of what outputs do: the median is that of groups, and nothing is bounded.

    Examples
    --------
    >>> relative({"a": (0.16, 0.01), "b": (0.04, 0.01), "c": (0.01, 0.01), "dead": (0.0, 0.0)})
    {'a': 4.0, 'b': 1.0, 'c': 0.25}
    >>> relative({"a": (0.04, 0.01), "scores": (0.0004, 0.01)}, inside=frozenset(["scores"]))
    {'a': 1.0, 'scores': 0.01}
    """
    ratios = {
        name: change / error
        for name, (change, error) in measured.items()
        if error > 0 and np.isfinite(change) and change > 0
    }
    if not ratios:
        return {}
    of_groups = [ratio for name, ratio in ratios.items() if name not in inside]
    median = float(np.median(of_groups or list(ratios.values())))
    bounds = {name: BOUND_INSIDE if name in inside else BOUND for name in measured}
    return {
        name: float(np.clip(ratio / median, 1 / bounds[name], bounds[name]))
        for name, ratio in ratios.items()
    } | {
        name: 1 / bounds[name] if change == 0 else bounds[name]
        for name, (change, error) in measured.items()
        if error > 0 and name not in ratios
    }


def late_heavier(
    scales: Mapping[str, float],
    readings: Sequence[Reading],
    pairs: Iterable[str] = (),
    *,
    synthetic: float = 0.0,
) -> dict[str, float]:
    """Scales that grow with the depth, by ``LATE`` from the first layer to the last one.

    Parameters
    ----------
    scales : mapping of group name to float
        What :func:`scales` gave; a group that it lacks has 1.
    readings : sequence of Reading
        Of the whole graph, in topological order. The depth of a group is where it is first read.
    pairs : iterable of str
        The score pairs among them, which are taken to be half way.
    synthetic : float
        The share of the inputs that are synthetic; where all are, it is ``LATE_SYNTHETIC``.

    Examples
    --------
    >>> readings = [Reading("a", 0, "x"), Reading("b", 0, "y"), Reading("c", 0, "z")]
    >>> late_heavier({"a": 2.0, "c": 0.5}, readings)
    {'a': 2.0, 'b': 1.4142135623730951, 'c': 1.0}
    """
    last = max(len(readings) - 1, 1)
    depths: dict[str, float] = {}
    for number, reading in enumerate(readings):
        depths.setdefault(reading.group, number / last)
    depths |= dict.fromkeys(pairs, 0.5)
    late = LATE ** (1 - synthetic) * LATE_SYNTHETIC**synthetic
    return {name: scales.get(name, 1.0) * late**depth for name, depth in depths.items()}


def _shown(calibration: CalibrationSet, groups: int, work_of_one: float) -> list[Feeds]:
    """Some of the unseen inputs, as many as all groups together can afford."""
    affordable = max(PASSES * calibration.count, TRIAL_WORK / max(work_of_one, 1.0))
    left = int(affordable // max(groups, 1))
    if left < FEWEST:
        return []
    found = []
    for feeds in calibration.unseen:
        length = length_of(feeds)
        if length > left and calibration.any_length:
            feeds, length = part_of(feeds, 0, left), left
        found.append(feeds)
        left -= length
        if left <= 0:
            break
    return found


def _change(
    session: protocols.Session,
    shown: Sequence[Feeds],
    wanted: Sequence[Sequence[Float64Array]],
    mask: str | None,
) -> float:
    """The squared change of the outputs, relative to their variance, summed over outputs."""
    found = _outputs(session, shown, mask)
    return sum(_relative_change(*both) for both in zip(wanted, found, strict=True))


def _relative_change(wanted: Sequence[Float64Array], found: Sequence[Float64Array]) -> float:
    """The squared change of one output, run by run, relative to its variance.

    Outputs may have other sizes in each run; where a run gives another size than it did, there is
    nothing to compare.
    """
    alike: dict[tuple[int, ...], list[tuple[Float64Array, Float64Array]]] = defaultdict(list)
    for want, got in zip(wanted, found, strict=True):
        if want.shape == got.shape and want.size:
            alike[want.shape[1:]].append((want, got))
    wrong: list[Float64Array] = []
    power: list[Float64Array] = []
    for pairs in alike.values():
        want, got = (np.concatenate(each) for each in zip(*pairs, strict=True))
        wrong.append(per_channel(np.square(got - want)))
        power.append(per_channel(np.square(want - want.mean(axis=0))))
    if len({len(each) for each in power}) != 1:  # no channel is the same in each run
        wrong, power = ([np.array([each.sum()]) for each in sums] for sums in (wrong, power))
    lost, whole = np.sum(wrong, axis=0), np.sum(power, axis=0)
    told = whole > 0
    if not told.any():
        return 0.0
    shares = lost[told] / whole[told]
    return float(np.mean(shares if len(whole) == 1 else np.minimum(shares, LOST)))


def per_channel(squares: Float64Array) -> Float64Array:
    """Sums of squares (n, ...) for each channel: each may be of another kind and size, as the
    coordinates and scores of a detector are.

    Channels are the shorter of two axes, or the last where there are more; all numbers of a vector
    are one channel, as those of class scores are alike.

    Examples
    --------
    >>> per_channel(np.ones((2, 3, 100))).tolist(), per_channel(np.ones((2, 5))).tolist()
    ([200.0, 200.0, 200.0], [10.0])
    """
    if squares.ndim < 3:
        return np.array([squares.sum()])
    first = squares.ndim == 3 and squares.shape[1] < squares.shape[2]
    channels = np.moveaxis(squares, 1 if first else -1, 0)
    result: Float64Array = channels.reshape(len(channels), -1).sum(axis=1)
    return result


def _outputs(
    session: protocols.Session, shown: Sequence[Feeds], mask: str | None = None
) -> list[list[Float64Array]]:
    """All floating-point outputs of each run, (n, ...), an input each where they have a batch.

    Positions of padding, which an input called ``mask`` marks by zeros, are zero.
    """
    runs = [
        [without_padding(each, feeds.get(mask) if mask else None) for each in session.run(feeds)]
        for feeds in shown
    ]
    return [
        [comparable(each) for each in same]
        for same in zip(*runs, strict=True)
        if same[0].dtype.kind == "f"
    ]


def without_padding(output: Array, mask: Array | None) -> Array:
    """An output (n, positions, ...) with zeros where a mask (n, positions) has them; any other as
    it is.

    Examples
    --------
    >>> without_padding(np.ones((1, 3, 1)), np.array([[1, 1, 0]])).ravel()
    array([1., 1., 0.])
    """
    if mask is None or output.ndim < 3 or output.shape[:2] != mask.shape:
        return output
    counts = (mask != 0).reshape(*mask.shape, *[1] * (output.ndim - 2))
    return np.where(counts, output, output.dtype.type(0))


def comparable(output: Array) -> Float64Array:
    """An output (n, ...), with class probabilities as scores around their mean.

    Probabilities hide what happens to all classes but one.

    Examples
    --------
    >>> comparable(np.array([[3.0, -1.0]]))
    array([[ 3., -1.]])
    >>> comparable(np.array([[0.999, 0.001]])).round(2)
    array([[ 3.45, -3.45]])
    """
    values = output.astype(np.float64)
    if (
        values.ndim > 1
        and values.size
        and (values >= 0).all()
        and np.allclose(values.sum(axis=-1), 1, atol=1e-3)
    ):
        values = np.log(np.maximum(values, 1e-12))
        values -= values.mean(axis=-1, keepdims=True)
    return values.reshape(1, -1) if values.ndim < 2 else values
