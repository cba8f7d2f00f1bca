"""Results that are found by compressing several times: with other seeds, or to other sizes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

from nmcore.budgets import max_drop
from nmcore.budgets.allocation import Budget, Spent
from nmcore.calibration.collect import REAL_SAMPLES
from nmcore.data.dataset import Dataset
from nmcore.errors import ArgumentError, DataError, ModelError
from nmcore.evaluation.fidelity import fidelity
from nmcore.evaluation.metrics.base import Loss
from nmcore.evaluation.metrics.registry import check_measures_loss
from nmcore.evaluation.seed_spread import SEED_HINT, spread_of
from nmcore.pipeline.job import Job
from nmcore.pipeline.resolve import amounts
from nmcore.pipeline.result import Result
from nmcore.plugins import capabilities, registry
from nmcore.plugins.states import serialized_alike
from nmcore.utils.logs import step

# A loss whose standard error is so many points may be anything; that of five inputs of which half
# change their class is more, that of eight is less.
TELLS_NOTHING = 20.0

Once = Callable[[Job], Result]


def best_of_seeds(job: Job, once: Once) -> Result:
    """The result nearest to the original, of as many seeds as ``tries`` says.

    The first where they cannot be compared.

    Parameters
    ----------
    once : callable
        Compresses once.
    """
    first = job.options.seed
    results = {}
    for seed in range(first, first + job.options.tries):
        with step(f"compressing with seed {seed}"):
            results[seed] = once(job.changed(seed=seed))
    graphs = {seed: result.graph for seed, result in results.items()}
    try:
        with step("comparing seeds"):
            spread = spread_of(
                job.original.graph, job.original.session(), graphs, job.options, job.progress
            )
    except (ModelError, DataError) as error:
        return _noted(results[first], f"the seeds are not compared: {error}")
    return replace(_noted(results[spread.kept], str(spread)), spread=spread)


def _noted(result: Result, note: str) -> Result:
    """A result of several seeds, with what is to be said of them."""
    notes = [each for each in result.notes if each != SEED_HINT]
    return replace(result, notes=[note, *notes])


def within_drop(job: Job, once: Once) -> Result:
    """The smallest result that loses no more than ``max_drop`` says.

    Parameters are those of :func:`best_of_seeds`.

    Raises
    ------
    ArgumentError
        There is no data to judge on, or another budget, or the metric has no measure of a loss.
    BudgetError
        Every result loses more.
    """
    check_measures_loss(job.metrics)
    limit = job.options.max_drop
    assert limit is not None
    Budget.of(max_drop=limit, **amounts(job.options))
    if job.data is None:
        raise ArgumentError("max-drop needs data to judge results on, with or without labels")
    original, judged = job.original.session(), parts(job)[1]
    features = capabilities.gives_features(job.original.graph)

    def attempt(share: float) -> max_drop.Attempt[Result]:
        with step(f"trying {share:.3f} of the MACs"):
            result = once(job.changed(macs=share))
        smaller = registry.runtime().session(
            serialized_alike(result.graph), providers=job.options.providers
        )
        found = fidelity(
            original, smaller, judged, job.progress, features=features, asked=job.metrics
        )
        return max_drop.Attempt(result, share, _loss_of(found.loss))

    best = max_drop.smallest_within(limit, attempt)
    note = (
        f"{best.loss} of {judged.name} that nothing was measured on, at most {limit:g} asked for: "
        f"an estimate; shares of the MACs were tried to within 1/{max_drop.STEPS}"
    )
    spent = Spent("max-drop", limit, best.loss.points)
    cautions = [*best.result.cautions, *_too_few(best.loss, limit)]
    notes = [note, *best.result.notes]
    # What the last lines compare on, too: nothing was fitted to these inputs, and they are more.
    return replace(best.result, notes=notes, budget=spent, cautions=cautions, held=judged)


def _too_few(loss: Loss, limit: float) -> Iterator[str]:
    """Say where the inputs at hand do not tell a loss as small as the limit."""
    if loss.error is not None and limit > 0 and loss.error > limit:
        wanted = math.ceil(loss.n * (loss.error / limit) ** 2)
        yield (
            f"whether the limit holds is not certain: the standard error of the loss is "
            f"{loss.error:.2f} points, more than --max-drop {limit:g}; some {wanted:,} inputs to "
            f"judge on, beside those to measure on, would tell ({loss.n:,} were there)"
        )


def _loss_of(loss: Loss | None) -> Loss:
    """What a result lost, where the outputs have a measure and inputs are enough to tell."""
    if loss is None:
        raise DataError(
            "max-drop compares top classes, vectors, boxes, strings, masks or pictures, and the "
            "outputs of the model hold none of them; metric takes another measure"
        )
    if loss.error is not None and loss.error > TELLS_NOTHING:
        raise DataError(
            f"max-drop cannot be judged: {loss} that nothing was measured on; more data is needed, "
            "some hundreds of inputs to tell a point"
        )
    return loss


def parts(job: Job) -> tuple[Dataset, Dataset]:
    """What is measured on, and what results are judged on, where ``max_drop`` was given."""
    assert job.data is not None
    samples = job.options.samples or REAL_SAMPLES
    return max_drop.halves(job.data.for_model(job.original.session().inputs, 2 * samples), samples)
