"""Narrower attention heads: the best channels for the scores, measured and removed in the walk.

See :mod:`nmcore.arrays.attention_scores` for the mathematics. Error curves are those of the
original; when the walk has come to the scores, the channels are chosen anew by the moments of the
network compressed so far, and what is refitted behind them sees narrower heads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nmcore.arrays.attention_scores import ScoreBasis, score_basis
from nmcore.arrays.elimination import Curve
from nmcore.compression.carrier import PROBE_NUMBERS
from nmcore.compression.moments import Sums
from nmcore.compression.output_error import tried_count
from nmcore.compression.reconstruction import MAX_FEATURES, Reconstruction
from nmcore.group import Float64Array, Narrowing, Reading, ScorePair
from nmcore.options.methods import RECONSTRUCTION
from nmcore.plan.outcome import Outcome
from nmcore.plan.plan import GroupPlan
from nmcore.plugins import capabilities, protocols
from nmcore.utils.chunks import in_chunks

REASON = "query/key width {} -> {} in each of {} heads, by what the scores depend on most"


@dataclass(frozen=True, eq=False)
class HeadTrial:
    """Narrower heads alone; see :class:`nmcore.compression.trial_runs.Tried`."""

    group: ScorePair
    narrowing: Narrowing
    error: float

    def apply(self, graph: protocols.Graph) -> None:
        """Make the heads of a graph narrower."""
        assert isinstance(graph, capabilities.Narrowable)
        graph.narrow(self.group, self.narrowing)


class HeadNarrowing:
    """What becomes of the heads of a model while its groups are walked over.

    Parameters
    ----------
    walk : Reconstruction
        The walk over the groups, which says where it stands.
    """

    def __init__(self, walk: Reconstruction) -> None:
        self._walk = walk
        self._counts: Mapping[str, int] = {}
        self._bases: dict[str, ScoreBasis] = {}

    @property
    def pairs(self) -> list[ScorePair]:
        """What can become narrower, of those whose moments are of a manageable size."""
        found = capabilities.score_pairs(self._walk.graph)
        return [pair for pair in found if max(_sizes(pair)) <= MAX_FEATURES]

    def curves(self, pairs: Sequence[ScorePair]) -> dict[str, Curve]:
        """The error of the scores of each pair as channels go, on the network as it stands."""
        for chunk in _chunks(pairs):
            sums = self._walk.score_sums(chunk)
            for pair, both in zip(chunk, zip(sums[::2], sums[1::2], strict=True), strict=True):
                self._bases[pair.name] = self._basis(pair, *both)
        order = {pair.name: np.arange(pair.width - 1, 0, -1) for pair in pairs}
        return {name: Curve(order[name], self._bases[name].error) for name in order}

    def trials(self, curves: Mapping[str, Curve]) -> list[HeadTrial]:
        """A part of the channels of each pair removed, and half of them.

        A softmax may bear small errors far better than large ones.
        """
        found = []
        for pair in self.pairs:
            error = curves[pair.name].error if pair.name in curves else np.zeros(0)
            if not len(error) or error[-1] <= 0:
                continue
            for count in {tried_count(error): None, pair.width // 2: None}:
                maps = self._maps(pair, self._bases[pair.name], pair.width - count)
                found.append(HeadTrial(pair, maps, float(error[count - 1])))
        return found

    def expect(self, counts: Mapping[str, int]) -> None:
        """Say how many channels each pair keeps; those that lose none are left alone."""
        self._counts = counts
        self._walk.waiting = [p for p in self.pairs if counts.get(p.name, p.width) < p.width]

    def narrow_before(self, ahead: Sequence[Reading]) -> dict[str, Outcome]:
        """Narrow all heads that no reading ahead runs before."""
        graph = self._walk.graph
        if not isinstance(graph, capabilities.Narrowable):
            return {}
        due = [
            pair
            for pair in self._walk.waiting
            if not any(graph.precedes(reading, pair) for reading in ahead)
        ]
        return {pair.name: self._narrow(graph, pair) for pair in due}

    def _narrow(self, graph: capabilities.Narrowable, pair: ScorePair) -> Outcome:
        width = self._counts[pair.name]
        basis = self._basis(pair, *self._walk.score_sums([pair]))
        maps = self._maps(pair, basis, width)
        graph.narrow(pair, maps)
        self._walk.waiting = [each for each in self._walk.waiting if each != pair]
        reason = REASON.format(pair.width, width, pair.heads)
        plan = GroupPlan(pair.name, pair.width, tuple(range(width)), RECONSTRUCTION, reason)
        curve = Curve(np.arange(pair.width - 1, 0, -1), basis.error, original=False)
        return Outcome(plan, pair.width - width, curve=curve, narrowing=maps)

    def _basis(self, pair: ScorePair, queries: Sums, keys: Sums) -> ScoreBasis:
        """The channels of the heads that are left."""
        mean, covariance = queries.features()
        second = covariance + np.outer(mean, mean)
        per_key = list(_blocks(keys.features()[1], pair.width))
        shared = pair.heads // pair.key_heads
        moments = np.stack(list(_blocks(second, pair.width)))
        summed = moments.reshape(-1, shared, pair.width, pair.width).sum(axis=1)
        return score_basis(list(summed), per_key)

    def _maps(self, pair: ScorePair, basis: ScoreBasis, width: int) -> Narrowing:
        """The maps of all heads, zero for those that have been removed."""
        graph = self._walk.graph
        assert isinstance(graph, capabilities.Narrowable)
        left = graph.heads_left(pair)
        found = basis.narrowing(width, len(left[0]))
        whole = []
        for heads, maps, places in zip(
            (pair.heads, pair.key_heads), (found.query, found.key), left, strict=True
        ):
            full = np.zeros((heads, pair.width, width))
            full[places] = maps
            whole.append(full)
        return Narrowing(*whole)


def _blocks(matrix: Float64Array, width: int) -> Iterator[Float64Array]:
    """The blocks of a matrix (heads * D, heads * D) on its diagonal, one a head."""
    for start in range(0, len(matrix), width):
        yield matrix[start : start + width, start : start + width]


def _sizes(pair: ScorePair) -> tuple[int, int]:
    """How many numbers the queries and the keys of one position are."""
    return pair.heads * pair.width, pair.key_heads * pair.width


def _chunks(pairs: Sequence[ScorePair]) -> Iterator[list[ScorePair]]:
    """Pairs whose moments fit into memory together."""
    return in_chunks(pairs, lambda pair: sum(each**2 for each in _sizes(pair)), PROBE_NUMBERS)
