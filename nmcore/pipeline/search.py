"""Results that are found by compressing several times: with other seeds, or to other sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nmcore.budgets import max_drop
from nmcore.budgets.allocation import Budget, Spent
from nmcore.calibration.collect import REAL_SAMPLES
from nmcore.data.dataset import Dataset, only_input
from nmcore.data.images import load_pictures
from nmcore.data.loading import opened
from nmcore.data.normalisation import normalisation
from nmcore.errors import ArgumentError, DataError, ModelError
from nmcore.evaluation.fidelity import fidelity
from nmcore.evaluation.seed_spread import SEED_HINT, check_tries, spread_of
from nmcore.pipeline.resolve import AMOUNTS
from nmcore.pipeline.result import Result
from nmcore.plugins import protocols, registry
from nmcore.utils.logs import step

# Compresses once, with some of the arguments of :func:`nmcore.compress` changed.
Once = Callable[[Mapping[str, Any]], Result]


def best_of_seeds(given: Mapping[str, Any], once: Once) -> Result:
    """The result nearest to the original, of as many seeds as ``tries`` says.

    The first where they cannot be compared.

    Parameters
    ----------
    given : mapping of str to object
        The arguments of :func:`nmcore.compress`.
    once : callable
        Compresses with one seed.

    Raises
    ------
    ArgumentError
        The seed changes nothing.
    """
    check_tries(given)
    results = {}
    for seed in range(given["seed"], given["seed"] + given["tries"]):
        with step(f"compressing with seed {seed}"):
            results[seed] = once({"seed": seed})
    original = registry.open_graph(given["model"])
    graphs = {seed: result.graph for seed, result in results.items()}
    try:
        with step("comparing seeds"):
            spread = spread_of(original, graphs, given)
    except (ModelError, DataError) as error:
        return _noted(results[given["seed"]], f"the seeds are not compared: {error}")
    return replace(_noted(results[spread.kept], str(spread)), spread=spread)


def _noted(result: Result, note: str) -> Result:
    """A result of several seeds, with what is to be said of them."""
    notes = [each for each in result.notes if each != SEED_HINT]
    return replace(result, notes=[note, *notes])


def within_drop(given: Mapping[str, Any], once: Once) -> Result:
    """The smallest result that loses no more than ``max_drop`` says.

    Parameters are those of :func:`best_of_seeds`.

    Raises
    ------
    ArgumentError
        There is no data to judge on, or another budget.
    BudgetError
        Every result loses more.
    """
    limit, progress = given["max_drop"], given["progress"]
    Budget.of(max_drop=limit, **{name: given[name] for name in AMOUNTS})
    if given["data"] is None:
        raise ArgumentError("max-drop needs data to judge results on, with or without labels")
    original = registry.runtime().session(
        registry.open_graph(given["model"]).serialize(), providers=given["providers"]
    )
    judged = parts(given, original.inputs)[1]

    def attempt(share: float) -> max_drop.Attempt[Result]:
        with step(f"trying {share:.3f} of the MACs"):
            result = once({"macs": share})
        smaller = registry.runtime().session(result.graph.serialize(), providers=given["providers"])
        return max_drop.Attempt(
            result, share, max_drop.Loss.of(fidelity(original, smaller, judged, progress))
        )

    best = max_drop.smallest_within(limit, attempt)
    note = (
        f"{best.loss} of {judged.name} that nothing was measured on, at most {limit:g} asked for: "
        f"an estimate, of the smallest of shares of the MACs that lie 1/{max_drop.STEPS} apart"
    )
    spent = Spent("max-drop", limit, best.loss.points)
    return replace(best.result, notes=[note, *best.result.notes], budget=spent)


def parts(
    given: Mapping[str, Any], inputs: Sequence[protocols.InputSpec]
) -> tuple[Dataset, Dataset]:
    """What is measured on, and what results are judged on, where ``max_drop`` was given."""
    steps = given["scale"], given["mean"], given["std"]
    samples = given["samples"] or REAL_SAMPLES
    data = opened(given["data"], *steps)
    if isinstance(data, (Path, tuple)):
        data = load_pictures(data, only_input(inputs), 2 * samples, normalisation(*steps))
    assert data is not None
    return max_drop.halves(data, samples)
