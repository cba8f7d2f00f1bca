"""Residual blocks of a smaller network, the weights of each fitted together.

A layer of its own makes up for what reaches it; the layers of a block can do so together. They are
fitted to what the block gave in the original, while it reads what the smaller network gives. That
is done block by block from the input on, as BRECQ does for quantised networks (Li et al., ICLR
2021), by Adam on mini-batches.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from nmcore.calibration.calibration_set import CalibrationSet
from nmcore.calibration.collect import work
from nmcore.compression.baseline import deviations
from nmcore.compression.joint.adam import Adam
from nmcore.compression.stream import Batch, Stream
from nmcore.data.batches import length_of
from nmcore.errors import ModelError
from nmcore.group import Array, Consumer, FloatArray, Reading, Refit
from nmcore.plugins import protocols
from nmcore.plugins.capabilities import Block, Differentiable
from nmcore.utils.progress import Progress, silent

log = logging.getLogger(__name__)

# All steps together may take so many multiply-accumulates, and as many as so many passes of the
# original over the inputs that are fitted to.
BLOCK_WORK, BLOCK_PASSES = 6e11, 120
# How many blocks in sequence are fitted together: each alone first, then again in sequences; where
# none follows another, once more alone.
TOGETHER = (1, 3)
# The most steps of a block each time, and the fewest of blocks and sequences; sequences alone take
# half as many, with less they hardly change.
STEPS, FEWEST_STEPS = 300, 130
# Inputs of one step.
BATCH = 8
# A step takes so many times the multiply-accumulates of its block: one for what it gives, one for
# the derivatives with respect to weights, one for those with respect to what layers read.
PER_STEP = 3
# How far a step moves a weight, relative to the deviation of the layer's weights; a bias, relative
# to the mean magnitude of the layer's biases, or to the least that is taken for one.
RATE, LEAST_BIAS = 13.5e-3, 1e-3
# Inputs of one run where only the error is wanted.
_TOLD = 32
# Numbers that a block reads and should give, which are held in memory.
_BLOCK_NUMBERS = 2**26

NOT_FITTED = "residual blocks are not fitted together"

# A weight (F, O) or a bias (O,), by the input of the probe that takes it.
Weights = dict[str, FloatArray]
# New weights of consumers.
Changes = list[tuple[Reading, Refit]]


@dataclass(frozen=True, eq=False)
class Rows:
    """What a block reads now and what it gave in the original, (n, ...) both."""

    read: Array
    wanted: Array

    def part(self, places: Array | slice) -> Rows:
        """Those of some inputs."""
        return Rows(self.read[places], self.wanted[places])


@dataclass(frozen=True, eq=False)
class BlockRefit:
    """The walk over residual blocks, once the channels inside are cut.

    Attributes
    ----------
    graph : Measurable
        What is compressed.
    original : Graph
        The same before anything was changed.
    session : callable
        Loads a model.
    calibration : CalibrationSet
        What the network is shown.
    """

    graph: protocols.Measurable
    original: protocols.Graph
    session: Callable[[bytes], protocols.Session]
    calibration: CalibrationSet

    def __call__(
        self, changed: Collection[str], scaled: Collection[str], progress: Progress = silent
    ) -> str:
        """Fit the blocks from the first on that has lost channels.

        Only where some inputs are held back: a block changes if its error falls there, and the
        network if its outputs then deviate less.

        Parameters
        ----------
        changed : collection of str
            The groups that have lost channels.
        scaled : collection of str
            Those whose consumers must stay what a scaling matrix has made of them.

        Returns
        -------
        str
            What came of it, for the user; nothing where there are no blocks.
        """
        clone = self.graph.clone()
        if not self.calibration.unseen or not isinstance(clone, Differentiable):
            return ""
        blocks = _concerned(clone.blocks(), changed, scaled)
        if not blocks:
            return ""
        sweeps, steps = self._schedule(blocks)
        if not steps:
            return f"{NOT_FITTED}: that would take too long"
        try:
            found = [
                each
                for count in sweeps
                for each in self._fitted(clone, in_sequences(blocks, count), steps, progress)
            ]
            failures = [each for each in found if isinstance(each, ModelError)]
            if len(failures) == len(found):
                return f"{NOT_FITTED}: {failures[0]}"
            changes = [c for each in found if not isinstance(each, ModelError) for c in each]
            shares = self._deviations(clone) if changes else [0.0, 0.0]
        except ModelError as error:
            return f"{NOT_FITTED}: {error}"
        if shares is None:
            return f"{NOT_FITTED}: how far the outputs change cannot be told"
        return self._taken(changes, *shares)

    def _taken(self, changes: Changes, before: float, after: float) -> str:
        """Change the graph if its outputs deviate less by that."""
        on = f"on {self.calibration.judged_by}s kept to judge by"
        if not after < before:
            return f"{NOT_FITTED}: {on} that does not help"
        for reading, change in changes:
            _update(self.graph, reading, change)
        return (
            f"residual blocks fitted together: {on} the outputs deviate by {after:.2f} % "
            f"instead of {before:.2f} %"
        )

    def _schedule(self, blocks: Sequence[Block]) -> tuple[Sequence[int], int]:
        """In sequences of how many blocks they are fitted, and in how many steps each.

        Only in the longest ones, which gain most, where that would take too long; in none where
        even they would.
        """
        batch = min(BATCH, self.calibration.count)
        allowed = min(BLOCK_WORK, BLOCK_PASSES * self.calibration.count * work(self.original))
        one = sum(PER_STEP * batch * self._work(block) for block in blocks)
        steps = min(STEPS, int(allowed // (len(TOGETHER) * one))) if one else 0
        if steps >= FEWEST_STEPS:
            return TOGETHER, steps
        return (TOGETHER[-1:], steps) if 2 * steps >= FEWEST_STEPS else ((), 0)

    def _work(self, block: Block) -> float:
        """The multiply-accumulates of a block's layers for one input."""
        return sum(
            self.graph.unfolded_numbers(reading) * len(self.graph.consumer(reading).weight)
            for reading in block.weights
        )

    @cached_property
    def _batches(self) -> list[Batch]:
        return [Batch(feeds, unseen=False) for feeds in self.calibration.batches] + [
            Batch(feeds, unseen=True) for feeds in self.calibration.unseen
        ]

    def _fitted(
        self,
        graph: Differentiable,
        blocks: Sequence[Block],
        steps: int,
        progress: Progress,
    ) -> Iterator[Changes | ModelError]:
        """Fit blocks one after the other, and yield what has changed of each, or why it cannot be
        fitted.
        """
        now, wanted = Stream(), Stream(original=True)
        for block in progress("fitting blocks", blocks):
            self._carry(graph, now, block.start)
            try:
                found = self._fit(graph, block, now, wanted, steps)
            except ModelError as error:
                log.info("the block to %s is not fitted: %s", block.stop.name, error)
                wanted.clear()  # it may have stopped half way
                yield error
                continue
            for reading, change in found:
                _update(graph, reading, change)
            yield found

    def _carry(self, graph: protocols.Measurable, stream: Stream, to: protocols.Carried) -> None:
        """Let a stream go on to a value."""
        span, arriving = stream.to([to]), stream.expect([to])
        if span.stop:
            part = {"original" if stream.original else "current": span}
            session = self.session(graph.moment_probe([], rows=1, samples=1, **part))
            for number, (feeds, _) in enumerate(self._batches):
                arriving.add(session.run({**feeds, **stream.feeds(number)}))
        arriving.done()

    def _fit(
        self,
        graph: Differentiable,
        block: Block,
        now: Stream,
        wanted: Stream,
        steps: int,
    ) -> Changes:
        """New weights for a block; none where they do not help.

        Raises
        ------
        ModelError
            The block cannot be run.
        """
        self._carry(graph, wanted, block.stop)
        shown, unseen = self._rows(block, now, wanted)
        probe = _Probe(self.session(graph.block_probe(block)), block)
        consumers = [graph.consumer(reading) for reading in block.weights]
        before = _weights(block, consumers)
        after = fit(probe, shown, before, steps)
        tried = [before, _half_way(before, after), after]
        errors = [probe.error(unseen, weights) for weights in tried]
        told = " -> ".join(f"{error:.4g}" for error in errors)
        log.info("the block to %s, half way and all of it: errors %s", block.stop.name, told)
        # The first of equals: nothing changes for no gain.
        best = int(np.argmin(np.where(np.isnan(errors), np.inf, errors)))
        return _changes(block, consumers, tried[best]) if best else []

    def _rows(self, block: Block, now: Stream, wanted: Stream) -> tuple[Rows, Rows]:
        """What a block reads and should give, of what is fitted to and of what is held back.

        Raises
        ------
        ModelError
            Inputs are not told apart along the first axis, or they take too much memory.
        """
        found: dict[bool, list[Rows]] = {False: [], True: []}
        numbers = 0
        for number, (feeds, unseen) in enumerate(self._batches):
            read = now.feeds(number)[block.start.current]
            rows = Rows(read, wanted.feeds(number)[block.stop.original])
            numbers += rows.read.size + rows.wanted.size
            first = found[False][0] if found[False] else rows
            if not _alike(rows, first, length_of(feeds)) or numbers > _BLOCK_NUMBERS:
                raise ModelError("their values are too many, or not of one shape")
            found[unseen].append(rows)
        shown, unseen_rows = (
            Rows(
                np.concatenate([each.read for each in rows]),
                np.concatenate([each.wanted for each in rows]),
            )
            for rows in found.values()
        )
        return shown, unseen_rows

    def _deviations(self, graph: protocols.Graph) -> list[float] | None:
        """How much the outputs of the graph and of another one deviate on what is held back."""
        original = self.session(self.original.serialize())
        sessions = [self.session(each.serialize()) for each in (self.graph, graph)]
        return deviations(original, sessions, self.calibration)


@dataclass(frozen=True, eq=False)
class _Probe:
    """The error of a block and its derivatives."""

    session: protocols.Session
    block: Block

    def __call__(self, rows: Rows, weights: Weights) -> tuple[float, Weights]:
        """The sum of squared differences, and its derivatives."""
        feeds = {self.block.start.current: rows.read, self.block.stop.original: rows.wanted}
        error, *derivatives = self.session.run({**feeds, **weights})
        return float(error), dict(zip(self.block.inputs, derivatives, strict=True))

    def error(self, rows: Rows, weights: Weights) -> float:
        """The mean of squared differences."""
        starts = range(0, len(rows.read), _TOLD)
        parts = (rows.part(slice(start, start + _TOLD)) for start in starts)
        return sum(self(part, weights)[0] for part in parts) / rows.wanted.size


def fit(
    derivatives: Callable[[Rows, Weights], tuple[float, Weights]],
    rows: Rows,
    weights: Weights,
    steps: int,
) -> Weights:
    """Weights of a lower error: so many steps of Adam on mini-batches.

    The rate falls to 0 as a cosine does.

    Parameters
    ----------
    derivatives : callable
        The error of some rows and its derivatives with respect to each weight.
    weights : dict of name to array
        Where to start.
    """
    rng = np.random.default_rng(0)
    batch = min(BATCH, len(rows.read))
    scale = rows.wanted.size / len(rows.wanted) * batch * max(float(rows.wanted.var()), 1e-12)
    adam = Adam(dict(weights), {name: _rate(array) for name, array in weights.items()})
    for number in range(steps):
        places = rng.choice(len(rows.read), batch, replace=False)
        _, found = derivatives(rows.part(places), adam.weights)
        factor = (1 + np.cos(np.pi * number / steps)) / 2
        adam.step({name: array / scale for name, array in found.items()}, factor)
    return adam.weights


def _half_way(before: Weights, after: Weights) -> Weights:
    """Weights between others: where an end fits its rows by heart, half of the way may not."""
    return {name: (before[name] + after[name]) / 2 for name in before}


def _rate(array: FloatArray) -> float:
    """How far a step moves the numbers of a weight or a bias."""
    size = array.std() if array.ndim > 1 else max(np.abs(array).mean(), LEAST_BIAS)
    return RATE * float(size)


def in_sequences(blocks: Sequence[Block], count: int) -> list[Block]:
    """Blocks of which each begins where the one before it ends as one, so many at a time.

    Examples
    --------
    >>> a, b, c, d = (protocols.Carried(name, 0) for name in "abcd")
    >>> blocks = [Block(a, b, (), True), Block(b, c, (), True), Block(c, d, (), False)]
    >>> [(each.start.name, each.stop.name) for each in in_sequences(blocks, 3)]
    [('a', 'c'), ('c', 'd')]
    """
    found: list[list[Block]] = []
    for block in blocks:
        last = found[-1] if found else []
        if last and len(last) < count and last[-1].stop == block.start and block.open:
            last.append(block)
        else:
            found.append([block])
    return [
        replace(some[0], stop=some[-1].stop, weights=tuple(w for b in some for w in b.weights))
        for some in found
    ]


def _concerned(
    blocks: Sequence[Block], changed: Collection[str], scaled: Collection[str]
) -> list[Block]:
    """The blocks from the first on that reads groups that have changed, without the weights that
    must stay.
    """
    found: list[Block] = []
    for block in blocks:
        if found or any(reading.group in changed for reading in block.weights):
            weights = tuple(each for each in block.weights if each.group not in scaled)
            found += [replace(block, weights=weights)] if weights else []
    return found


def _alike(rows: Rows, other: Rows, count: int) -> bool:
    """Whether rows are of so many inputs, and of the shape of others."""
    return len(rows.read) == len(rows.wanted) == count and (
        rows.read.shape[1:] == other.read.shape[1:]
        and rows.wanted.shape[1:] == other.wanted.shape[1:]
    )


def _weights(block: Block, consumers: Sequence[Consumer]) -> Weights:
    """The weights of some layers as they are."""
    arrays = [array for each in consumers for array in (each.matrix(), each.offsets())]
    return {
        name: array.astype(np.float32) for name, array in zip(block.inputs, arrays, strict=True)
    }


def _changes(block: Block, consumers: Sequence[Consumer], weights: Weights) -> Changes:
    """What is to be written for new weights."""
    names = iter(block.inputs)
    changes = []
    for reading, consumer in zip(block.weights, consumers, strict=True):
        weight, bias = weights[next(names)], weights[next(names)]
        kept = np.arange(consumer.weight.shape[1])
        change = Refit(kept, weight.T.reshape(consumer.weight.shape), bias - consumer.offsets())
        changes.append((reading, change))
    return changes


def _update(graph: protocols.Graph, reading: Reading, change: Refit) -> None:
    """Write the new weights of a consumer."""
    group = next(each for each in graph.groups if each.name == reading.group)
    graph.update(group, reading.index, change)
