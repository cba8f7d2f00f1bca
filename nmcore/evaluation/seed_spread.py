"""How much a result depends on the seed of synthetic inputs: several seeds compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from nmcore.calibration.collect import work
from nmcore.calibration.random_inputs import hints_of
from nmcore.errors import ArgumentError
from nmcore.evaluation.fidelity import Fidelity, fidelity
from nmcore.evaluation.inputs import synthetic_data
from nmcore.options.methods import RECONSTRUCTION
from nmcore.options.options import CompressOptions
from nmcore.plugins import capabilities, protocols, registry
from nmcore.plugins.states import serialized_alike
from nmcore.utils.progress import Progress, silent

# Synthetic inputs that the results are compared on, fewer for a model that takes much work: so many
# multiply-accumulates in all, or so few inputs.
COMPARED, COMPARED_WORK, FEWEST = 1_000, 1.3e11, 16
# Added to the first seed, for inputs that no result was measured on.
_SEED = 2_000_000
# What a result on synthetic inputs says of itself.
SEED_HINT = "other seeds make other inputs: --tries 5 warns where results depend on them"


@dataclass(frozen=True)
class Spread:
    """How alike the results of several seeds are, as far as synthetic inputs tell.

    Attributes
    ----------
    seeds : tuple of int
        What was tried.
    kept : int
        The seed whose result was nearest to the original on these inputs, and was taken; the first
        where nothing can be compared.
    n : int
        Inputs that they were compared on; no result was measured on any of them.
    agreement : tuple of float, or None
        Percent of them on which each result gives the original's top class; None without class
        scores.
    agreement_among : float or None
        The same of two results, the mean over all pairs.
    deviation : tuple of float, or None
        Root mean square of each result's difference to the original in all outputs, in percent of
        the root mean square of these; None where they cannot be compared.
    deviation_among : float or None
        The same for two results, the mean over all pairs.
    """

    seeds: tuple[int, ...]
    kept: int
    n: int
    agreement: tuple[float, ...] | None
    agreement_among: float | None
    deviation: tuple[float, ...] | None
    deviation_among: float | None

    @classmethod
    def of(cls, seeds: Sequence[int], own: Sequence[Fidelity], among: Sequence[Fidelity]) -> Spread:
        """Sum up comparisons with the original, one a seed, and of all pairs of results."""
        agreement, deviation = (
            _all(getattr(each, name) for each in own) for name in ("agreement", "deviation")
        )

        def nearness(index: int) -> tuple[float, float, int]:
            alike = agreement[index] if agreement else 0.0
            return alike, -deviation[index] if deviation else 0.0, -index

        nearest = max(range(len(seeds)), key=nearness)
        return cls(
            seeds=tuple(seeds),
            kept=seeds[nearest],
            n=own[0].n,
            agreement=agreement,
            agreement_among=_mean(_all(each.agreement for each in among)),
            deviation=deviation,
            deviation_among=_mean(_all(each.deviation for each in among)),
        )

    def __str__(self) -> str:
        tried = f"seeds {self.seeds[0]} to {self.seeds[-1]}"
        kept = f"seed {self.kept} was kept"
        inputs = f"{self.n:,} synthetic inputs that nothing was measured on"
        if self.agreement is not None:
            own = f"on {_range(self.agreement)} % of {inputs} they give the original's top class"
            return f"{tried}: {own}, on {self.agreement_among:.1f} % each other's; {kept}"
        if self.deviation is not None and self.deviation_among is not None:
            own = f"on {inputs} they deviate by {_range(self.deviation)} % from the original"
            return f"{tried}: {own}, by {self.deviation_among:.1f} % from each other; {kept}"
        return f"{tried}: their outputs cannot be compared; {kept}"


def _all(values: Iterable[float | None]) -> tuple[float, ...] | None:
    """All of them to two decimals; None where one is missing."""
    found = tuple(values)
    return None if None in found else tuple(round(v, 2) for v in found if v is not None)


def _mean(values: tuple[float, ...] | None) -> float | None:
    return round(sum(values) / len(values), 2) if values else None


def _range(numbers: Sequence[float]) -> str:
    return f"{min(numbers):.1f} to {max(numbers):.1f}"


def check_tries(options: CompressOptions, *, data: bool) -> None:
    """Raise where the seed changes nothing.

    Parameters
    ----------
    data : bool
        Whether there is data to measure on.

    Raises
    ------
    ArgumentError
        There is data to measure on or a largest drop, which needs some, or the method looks at
        weights alone.
    """
    if options.max_drop is not None:
        raise ArgumentError("tries and max-drop were given; one works without data, one with it")
    if data:
        raise ArgumentError(
            "tries compares seeds of synthetic inputs; with data there are none: leave out either"
        )
    method = options.method
    if method not in ("auto", RECONSTRUCTION) or options.of_method.of_merging:
        shown = "merge" if method == "auto" else method
        raise ArgumentError(
            f"tries compares seeds of synthetic inputs, and method {shown} looks at weights alone; "
            "leave out tries"
        )


def spread_of(
    original: protocols.Graph,
    session: protocols.Session,
    results: Mapping[int, protocols.Graph],
    options: CompressOptions,
    progress: Progress = silent,
) -> Spread:
    """Compare results with the original and with each other, on synthetic inputs.

    Parameters
    ----------
    original, session : Graph, Session
        The model before the compression.
    results : mapping of int to Graph
        By their seeds, at least two.
    options : CompressOptions
        Of all of them.
    progress : callable
        Wraps the iteration over comparisons.

    Raises
    ------
    ModelError, DataError
        The model runs on no synthetic input.
    """
    runtime = registry.runtime()
    others = [
        runtime.session(serialized_alike(graph), providers=options.providers)
        for graph in results.values()
    ]
    count = int(min(COMPARED, max(FEWEST, COMPARED_WORK // max(1, work(original)))))
    inputs = synthetic_data(
        session,
        count,
        seed=min(results) + _SEED,
        normalisation=options.normalisation,
        hints=hints_of(original),
    )
    pairs = [*((session, each) for each in others), *combinations(others, 2)]
    compared = progress("comparing seeds", pairs)
    features = capabilities.gives_features(original)
    found = [fidelity(one, other, inputs, features=features) for one, other in compared]
    return Spread.of(tuple(results), found[: len(others)], found[len(others) :])
