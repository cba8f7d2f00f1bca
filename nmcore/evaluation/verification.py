"""The proof that cutting channels out of a model changed nothing else."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmcore.calibration.random_inputs import hints_of, random_inputs_for
from nmcore.data.feeds import feeder
from nmcore.data.loading import Opened
from nmcore.errors import ModelError, VerificationError
from nmcore.group import Scaling
from nmcore.plugins import capabilities, protocols, registry
from nmcore.plugins.open_sizes import Stated
from nmcore.plugins.sized_session import sized
from nmcore.plugins.states import marked, serialized_alike

Outputs = Sequence[NDArray[Any]]

log = logging.getLogger(__name__)

# The two models add up the same products in another order, layer after layer.
_TOLERANCE = {np.dtype(np.float16): 5e-2, np.dtype(np.float32): 1e-3, np.dtype(np.float64): 1e-9}

# How many positions of the past random inputs of a decoder bring, where it runs on that.
_PAST = 5

# In rows of fewer weights the median is no more usual than the largest.
_FEW = 4
# Few rows of a layer are damaged, but many may be all but zero: below this quantile none is large.
_HEALTHY = 0.9
# Absolute differences up to so many units in the last place of 1 count as none.
SATURATED = 4


def verify(
    graph: protocols.Graph,
    scalings: Mapping[str, Scaling],
    *,
    original: Callable[[], protocols.Session] | None = None,
    providers: Sequence[str] = ("auto",),
    seed: int = 0,
    stated: Stated | None = None,
    data: Opened | None = None,
) -> float:
    """Compare the compressed model with its full-width reference.

    Groups with a scaling matrix are rebuilt through Z in the original, which proves absorption and
    cutting; groups without one have their refitted weights there, which proves the cutting alone.

    Parameters
    ----------
    graph : Graph
        All of its groups are written.
    scalings : mapping of group name to Scaling
        What was applied.
    original : callable, optional
        Gives the model before anything was removed, loaded; asked only where the two differ.
    providers : sequence of str
        Where both models run.
    seed : int
        For the random inputs.
    stated : mapping of str to shape, optional
        The shapes of these.
    data : Dataset, Pictures, FeedList or None
        What is fed instead where the model runs on no random inputs.

    Returns
    -------
    float
        The largest difference of any output, relative to the largest entry of that output.

    Raises
    ------
    VerificationError
        The outputs differ by more than rounding.
    ModelError
        They do, but the original itself gives NaN or infinity there, or its outputs move as much
        when its inputs change in their last digit, or single weights are so large that sums hold
        nothing else.
    """
    return verify_same(
        graph,
        graph.reference(scalings),
        original=original,
        providers=providers,
        seed=seed,
        stated=stated,
        data=data,
    )


def verify_same(
    graph: protocols.Graph,
    reference: bytes,
    *,
    original: Callable[[], protocols.Session] | None = None,
    providers: Sequence[str] = ("auto",),
    seed: int = 0,
    stated: Stated | None = None,
    data: Opened | None = None,
) -> float:
    """Compare the compressed model with another one that should give the same outputs.

    Parameters
    ----------
    reference : bytes
        That model, serialised.
    graph, original, providers, seed, stated, data
        As for :func:`verify`, which says what is returned and raised as well.
    """
    runtime = registry.runtime()
    compressed = _exact(graph)
    small = runtime.session(compressed, providers=providers)
    full = sized(runtime.session(reference, providers=providers), stated)
    feeds = _feeds(full, graph, seed, data)
    wanted = full.run(feeds)
    kinds = [each.dtype for each in feeds.values()]
    if isinstance(graph, protocols.Telling):
        kinds += graph.precisions()
    try:
        found = small.run(feeds)
    except ModelError as refusal:
        raise VerificationError(f"where the original runs: {refusal}") from refusal
    try:
        worst = _compare(found, wanted, kinds)
        for pair in _forced(graph, compressed, reference):
            worst = max(worst, _compare_forced(pair, feeds, kinds, providers))
    except VerificationError as difference:
        session = None if original is None else original()
        reason = None if session is None else _unsteadiness(session, feeds, kinds) or _excess(graph)
        if reason is None:
            raise
        raise ModelError(
            f"nothing can be proven of this model: {reason}; are its weights damaged?"
        ) from difference
    log.info("verified: largest relative difference %.1e", worst)
    return worst


def _exact(graph: protocols.Graph) -> bytes:
    """The compressed model without what rounding to levels adds, which is no part of the proof."""
    if isinstance(graph, capabilities.Quantised) and graph.quantised:
        return graph.serialize_floats(rounded=False)
    return serialized_alike(graph)


def _forced(
    graph: protocols.Graph, compressed: bytes, reference: bytes
) -> Iterator[tuple[bytes, bytes]]:
    """Both models with conditions that turn out in each way, as inputs need not reach all."""
    if isinstance(graph, capabilities.Branching):
        yield from zip(graph.forced(compressed), graph.forced(reference), strict=True)


def _compare_forced(
    pair: tuple[bytes, bytes],
    feeds: Mapping[str, NDArray[Any]],
    kinds: Sequence[np.dtype[Any]],
    providers: Sequence[str],
) -> float:
    """The largest difference of two models; none where the second cannot run in that way."""
    runtime = registry.runtime()
    compressed, reference = pair
    try:
        wanted = runtime.session(reference, providers=providers).run(feeds)
    except ModelError as refusal:
        log.info("a way through the model does not run on these inputs: %s", refusal)
        return 0.0
    try:
        found = runtime.session(compressed, providers=providers).run(feeds)
    except ModelError as refusal:
        raise VerificationError(f"where the original runs: {refusal}") from refusal
    return _compare(found, wanted, kinds)


def _feeds(
    session: protocols.Session, graph: protocols.Graph, seed: int, data: Opened | None
) -> Mapping[str, NDArray[Any]]:
    """Random inputs, or the first ones of the data where the model runs on none."""
    try:
        return random_inputs_for(session, seed=seed, hints=hints_of(graph), past=_PAST)
    except ModelError:
        if data is None:
            raise
    bound = data.for_model(marked(session, graph).inputs, 1)
    feed = feeder(bound, session.inputs)
    return feed(next(bound.alike(feed.fixed or 1)))


def _compare(found: Outputs, wanted: Outputs, kinds: Sequence[np.dtype[Any]]) -> float:
    """The largest relative difference; raises VerificationError where it is more than rounding."""
    worst = 0.0
    for number, got, want in _tensors(found, wanted):
        if got.shape != want.shape:
            raise VerificationError(f"output {number} has shape {got.shape}, not {want.shape}")
        if not np.issubdtype(want.dtype, np.floating):
            continue
        error = relative_error(got, want)
        worst = max(worst, error)
        if not error <= _tolerance([want.dtype, *kinds]):
            raise VerificationError(
                f"output {number} differs from the full-width reference by {error:.2e}"
            )
    return worst


def _tensors(found: Outputs, wanted: Outputs) -> Iterator[tuple[int, NDArray[Any], NDArray[Any]]]:
    """Every tensor of the outputs of two models, also of those inside sequences and maps."""
    for number, (got, want) in enumerate(zip(found, wanted, strict=True)):
        mine, theirs = _opened(got), _opened(want)
        if len(mine) != len(theirs):
            raise VerificationError(f"output {number} holds {len(mine)} parts, not {len(theirs)}")
        for pair in zip(mine, theirs, strict=True):
            yield number, *pair


def _opened(output: Any) -> list[NDArray[Any]]:
    """The tensors in an output, in order."""
    if isinstance(output, Mapping):
        return [np.asarray([output[key] for key in sorted(output)])]
    if isinstance(output, np.ndarray) and output.dtype == object:
        return [part for each in output.ravel().tolist() for part in _opened(each)]
    return [np.asarray(output)]


def _unsteadiness(
    session: protocols.Session, feeds: Mapping[str, NDArray[Any]], kinds: Sequence[np.dtype[Any]]
) -> str | None:
    """Why the outputs of the original say nothing themselves, or None.

    With weights of 1e30, say, sums overflow, or rounding alone changes everything.
    """
    nudged = {
        name: np.nextafter(array, array.dtype.type(np.inf)) if array.dtype.kind == "f" else array
        for name, array in feeds.items()
    }
    for _, first, second in _tensors(session.run(feeds), session.run(nudged)):
        if not np.issubdtype(first.dtype, np.floating):
            continue
        if not np.isfinite(first).all():
            return "it gives NaN or infinity"
        moved = relative_error(second, first)
        if moved > _tolerance([first.dtype, *kinds]):
            return f"its outputs move by {moved:.0e} where inputs move by their last digit"
    return None


def _excess(graph: protocols.Graph) -> str | None:
    """Which row of weights makes sums of which nothing but one product is left, or None.

    Beside a product with 1e28 the others of its sum vanish, so that what is left of them is
    rounding, which no change of the inputs need show: the next layer may saturate.
    """
    for group in graph.groups:
        for producer in graph.producers(group):
            rows = np.abs(producer.weight.reshape(len(producer.weight), -1))
            if rows.shape[1] < _FEW or rows.dtype.kind != "f":
                continue
            usual, largest = np.median(rows, axis=1), rows.max(axis=1)
            # Training leaves rows that are all but zero, so it takes one that is large besides.
            lost = largest * np.finfo(rows.dtype).eps
            healthy = np.quantile(largest, _HEALTHY, method="lower")
            alone = (usual > 0) & (usual < lost) & (healthy < lost)
            if alone.any():
                row = int(np.argmax(np.where(alone, largest, 0)))
                return (
                    f"of the weights for channel {row} of {producer.name} most are about "
                    f"{usual[row]:.0e} and one is {largest[row]:.0e}, beside which sums lose the "
                    "others"
                )
    return None


def _tolerance(kinds: Sequence[np.dtype[Any]]) -> float:
    """By the coarsest type at hand: a model may widen its output after computing in less."""
    floats = [kind for kind in kinds if kind.kind not in "biuOSU"]
    return max(_TOLERANCE.get(kind, 5e-2) for kind in floats)


def relative_error(got: NDArray[Any], want: NDArray[Any]) -> float:
    """The largest difference, relative to the largest finite entry; equal infinities agree.

    >>> round(relative_error(np.array([1.0, np.inf]), np.array([1.5, np.inf])), 6)
    0.333333
    """
    same = (got == want) | (np.isnan(got) & np.isnan(want))
    if same.all():
        return 0.0
    finite = want[np.isfinite(want)]
    scale = float(np.abs(finite).max()) if finite.size else 1.0
    difference = np.abs(got[~same].astype(np.float64) - want[~same].astype(np.float64))
    # Runtimes compute sigmoids to a few units in the last place of 1, however small they come out.
    difference -= SATURATED * np.finfo(want.dtype).eps
    return max(float(difference.max()), 0.0) / (scale or 1.0) if difference.size else 0.0
