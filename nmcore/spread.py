"""How much a result owes to the seed of made inputs: several seeds, compared with each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmcore import plugins
from nmcore.data import normalisation
from nmcore.errors import ArgumentError
from nmcore.evaluate import top_class
from nmcore.probes import Inputs, probes_for, work
from nmcore.recipe import RECONSTRUCTION, Options

# Made inputs that the results are compared on, fewer for a model that takes much work: so many
# multiply-accumulates in all, or so few inputs.
COMPARED, COMPARED_WORK, FEWEST = 1_000, 1.3e11, 16
# Added to the first seed, for inputs that no result was measured on.
_SEED = 2_000_000


@dataclass(frozen=True)
class Spread:
    """How results of the same options with other seeds differ, as far as made inputs tell.

    Attributes
    ----------
    seeds : tuple of int
        What was tried.
    kept : int
        The seed whose result was nearest to the original, and was taken.
    n : int
        Inputs that they were compared on; no result was measured on any of them.
    agreement : tuple of float, or None
        Percent of them on which each result gives the original's top class; None without class
        scores.
    agreement_among : float or None
        The same of two results, the mean over all pairs.
    deviation : tuple of float
        Root mean square of each result's difference to the original in the first output, in percent
        of the root mean square of that output.
    deviation_among : float
        The same for the difference of two results.
    """

    seeds: tuple[int, ...]
    kept: int
    n: int
    agreement: tuple[float, ...] | None
    agreement_among: float | None
    deviation: tuple[float, ...]
    deviation_among: float

    def __str__(self) -> str:
        inputs = f"{self.n:,} made inputs that nothing was measured on"
        if self.agreement is None:
            own = f"on {inputs} outputs deviate by {_range(self.deviation)} % from the original's"
            among = f"by {self.deviation_among:.1f} % from each other's"
        else:
            own = f"on {_range(self.agreement)} % of {inputs} results give the original's top class"
            among = f"on {self.agreement_among:.1f} % each other's"
        return (
            f"seeds {self.seeds[0]} to {self.seeds[-1]}: {own}, {among}; where they differ the "
            f"seed decides; seed {self.kept} was kept"
        )


def _range(numbers: Sequence[float]) -> str:
    return f"{min(numbers):.1f} to {max(numbers):.1f}"


def check_tries(given: Mapping[str, Any]) -> None:
    """Raise where the seed changes nothing.

    Parameters
    ----------
    given : mapping of str to object
        The arguments of :func:`nmcore.compress`.

    Raises
    ------
    ArgumentError
        There is data to measure on, or the method looks at weights alone.
    """
    options = Options(**{name: given[name] for name in ("method", "threshold", "lam", "bn_form")})
    if given["data"] is not None:
        raise ArgumentError(
            "tries compares seeds of made inputs, and with data none are made; leave out either"
        )
    method = options.method
    if method not in ("auto", RECONSTRUCTION) or options.of_merging:
        shown = "merge" if method == "auto" else method
        raise ArgumentError(
            f"tries compares seeds of made inputs, and method {shown} looks at weights alone; "
            "leave out tries"
        )


def spread_of(
    original: plugins.Graph,
    results: Mapping[int, plugins.Graph],
    given: Mapping[str, Any],
) -> Spread:
    """Compare results with the original and with each other, on made inputs.

    Parameters
    ----------
    original : Graph
        Before the compression.
    results : mapping of int to Graph
        By their seeds.
    given : mapping of str to object
        The arguments of :func:`nmcore.compress`.
    """
    count = int(min(COMPARED, max(FEWEST, COMPARED_WORK // max(1, work(original)))))
    steps = normalisation(given["scale"], given["mean"], given["std"])
    providers, seed = given["providers"], min(results) + _SEED
    probes = probes_for(original, Inputs(None, count, steps), providers, seed)
    graphs = [original, *results.values()]
    sessions = [plugins.runtime().session(g.serialize(), providers=providers) for g in graphs]
    likeness = Likeness(len(sessions))
    for feeds in given["progress"]("comparing seeds", probes.batches):
        likeness.add([session.run(feeds)[0] for session in sessions])
    return likeness.spread(tuple(results), probes.count)


class Likeness:
    """Sums over inputs for every pair of models, of which the first is the original."""

    def __init__(self, models: int) -> None:
        self.same: NDArray[np.int64] | None = np.zeros((models, models), np.int64)
        self.squares = np.zeros((models, models))
        self.power = 0.0
        self.answers = 0

    def add(self, outputs: Sequence[NDArray[Any]]) -> None:
        """Account for what all models make of the same inputs."""
        tops = [top_class(output) for output in outputs]
        classes = [top for top in tops if top is not None]
        if self.same is None or len(classes) < len(tops):
            self.same = None
        else:
            top = np.stack(classes)
            self.same += ((top[:, None] == top) & (top >= 0)).sum(axis=-1)
            self.answers += top.shape[1]
        numbers = [np.nan_to_num(output.astype(np.float64)).ravel() for output in outputs]
        self.power += float(np.square(numbers[0]).sum())
        for a, b in combinations(range(len(numbers)), 2):
            self.squares[a, b] += float(np.square(numbers[a] - numbers[b]).sum())

    def spread(self, seeds: tuple[int, ...], count: int) -> Spread:
        """The account of all inputs."""
        deviations = 100 * np.sqrt(self.squares / (self.power or 1.0))
        agreements = None if self.same is None else 100 * self.same / max(1, self.answers)
        # The original's top class first, as what counts; where it is as often met, or there is
        # none, the outputs.
        alike = np.zeros(len(seeds)) if agreements is None else agreements[0, 1:]
        nearest = int(np.lexsort((deviations[0, 1:], -alike))[0])
        return Spread(
            seeds=seeds,
            kept=seeds[nearest],
            n=count,
            agreement=None if agreements is None else _rounded(agreements[0, 1:]),
            agreement_among=None if agreements is None else _mean_of_pairs(agreements),
            deviation=_rounded(deviations[0, 1:]),
            deviation_among=_mean_of_pairs(deviations),
        )


def _mean_of_pairs(table: NDArray[np.float64]) -> float:
    """The mean over pairs of results, without the original."""
    above = table[1:, 1:][np.triu_indices(len(table) - 1, 1)]
    return round(float(above.mean()), 2)


def _rounded(numbers: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(round(float(number), 2) for number in numbers)
