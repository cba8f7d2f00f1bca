"""Fully connected layers around a cut, fitted in pairs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass

import numpy as np

from nmcore.calibration.augmentation import VERSIONS, augmented
from nmcore.calibration.calibration_set import CalibrationSet
from nmcore.calibration.collect import work
from nmcore.compression.joint.gauss_newton import (
    ROUNDS,
    SOLVER_STEPS,
    TRIED,
    Layers,
    acts_alone,
    refit_pair,
)
from nmcore.compression.refit import REFIT_RIDGE, SCARCITY
from nmcore.data.batches import BatchRunner
from nmcore.errors import ModelError
from nmcore.group import Float64Array, Group, Reading, Refit
from nmcore.plugins import protocols
from nmcore.utils.progress import Progress, silent

log = logging.getLogger(__name__)

# Multiply-accumulates that fitting a pair may take, with the augmented calibration set.
PAIR_WORK = 3e11
# Numbers in the rows that a pair is fitted to, in the runtime's memory and in ours.
_PAIR_NUMBERS = 2**26


@dataclass(frozen=True, eq=False)
class PairRefit:
    """The walk over pairs of layers, once the groups between them are cut.

    Attributes
    ----------
    graph : Measurable
        What is compressed.
    session : callable
        Loads a model to run probes with.
    calibration : CalibrationSet
        What the network is shown.
    """

    graph: protocols.Measurable
    session: Callable[[bytes], protocols.Session]
    calibration: CalibrationSet

    def __call__(self, groups: Sequence[Group], progress: Progress = silent) -> None:
        """Fit fully connected layers that read some groups together with those that make these.

        Only on pictures in several versions: what is fitted harder to few inputs fits others worse.
        A pair that cannot be fitted stays as it is.
        """
        names = {group.name for group in groups}
        second = [reading for reading in self.graph.readings() if self._is_second(reading, names)]
        for reading in progress("fitting pairs of layers", second):
            pair = self._pair(reading)
            assert pair is not None
            shown = augmented(self.calibration, self._versions(pair))
            if shown.count == self.calibration.count:
                continue
            try:
                self._refit_pair(pair, reading, shown)
            except ModelError as error:
                log.info("no pair at %s: %s", self.graph.consumer(reading).name, error)

    def _is_second(self, reading: Reading, names: Container[str]) -> bool:
        """Whether a consumer and the layer before it are a pair around groups of these names."""
        pair = self._pair(reading) if reading.group in names else None
        return pair is not None and pair.maker.group in names

    def _pair(self, reading: Reading) -> protocols.Pair | None:
        return self.graph.pair(reading) if isinstance(self.graph, protocols.Pairable) else None

    def _refit_pair(self, pair: protocols.Pair, reading: Reading, shown: CalibrationSet) -> None:
        """Fit a consumer together with the layer that makes what it reads.

        Raises
        ------
        ModelError
            What lies between them does not run by itself or mixes channels, they read several rows
            of each input, or memory does not suffice.
        """
        first, last = self.graph.consumer(pair.maker), self.graph.consumer(reading)
        features, wanted = self._rows(pair, shown)
        session = self.session(pair.between)
        (made,) = session.inputs

        def activation(rows: Float64Array) -> Float64Array:
            return session.run({made.name: rows.astype(made.dtype)})[0].astype(np.float64)

        layers = Layers(first.matrix(), first.offsets(), activation, last.matrix(), last.offsets())
        if not acts_alone(activation, layers.made(features[:TRIED])):
            raise ModelError("what lies between the two layers mixes channels")
        weights, equations = first.matrix().size, self.calibration.count * wanted.shape[1]
        layers = refit_pair(
            features,
            wanted,
            layers,
            ridge=REFIT_RIDGE + SCARCITY * weights / equations,
            last_ridge=REFIT_RIDGE + SCARCITY * len(last.matrix()) / len(features),
        )
        self._give(pair.maker, layers.first, layers.shift)
        self._give(reading, layers.last, layers.bias)

    def _versions(self, pair: protocols.Pair) -> int:
        """In how many versions a pair may be shown the calibration set."""
        first = self.graph.consumer(pair.maker)
        one = 2 * work(self.graph) + 2 * ROUNDS * SOLVER_STEPS * first.weight.size
        affordable = int(PAIR_WORK // max(1, one * self.calibration.count))
        fitting = _PAIR_NUMBERS // (self.calibration.count * first.features)
        return max(1, min(VERSIONS, affordable, fitting))

    def _rows(
        self, pair: protocols.Pair, shown: CalibrationSet
    ) -> tuple[Float64Array, Float64Array]:
        """What the first layer of a pair reads, and what the second should give."""
        divided = BatchRunner(self.session(pair.rows), shown.any_length)
        runs = []
        for count, outputs in (run for feeds in shown.batches for run in divided(feeds)):
            if len(outputs[0]) != count:
                raise ModelError(f"{len(outputs[0])} rows of {count} inputs")
            runs.append(outputs)
        features, wanted = (
            np.concatenate(parts).astype(np.float64) for parts in zip(*runs, strict=True)
        )
        return features, wanted

    def _give(self, reading: Reading, matrix: Float64Array, bias: Float64Array) -> None:
        """Write a consumer's weight (F, O) and bias (O,)."""
        consumer = self.graph.consumer(reading)
        kept = np.arange(consumer.weight.shape[1])
        weight = matrix.T.reshape(consumer.weight.shape)
        group = next(each for each in self.graph.groups if each.name == reading.group)
        self.graph.update(group, reading.index, Refit(kept, weight, bias - consumer.offsets()))
