"""The inputs whose outputs changed most, and what both models give for them, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nmcore.data.dataset import Dataset
from nmcore.evaluation.comparison import Runner, Tally
from nmcore.evaluation.detection.boxes import Boxes, in_common
from nmcore.evaluation.forms import BOXES, MASKS, SCORES, STRINGS, VECTORS, first_masks
from nmcore.evaluation.metrics.boxes import FoundBoxes
from nmcore.evaluation.metrics.deviation import Deviation
from nmcore.evaluation.metrics.registry import JUDGED_BY
from nmcore.evaluation.metrics.strings import Strings
from nmcore.evaluation.outputs import Batch, Outputs, class_scores, first_vectors
from nmcore.evaluation.sequences import steps_of, strings_of
from nmcore.evaluation.thumbnails import thumbnail
from nmcore.group import Array

# So many classes, boxes or classes of a mask are named of an output, and so many ids of a text.
_NAMED, _IDS = 3, 16


@dataclass(frozen=True)
class Example:
    """One input, and what two models give for it.

    Attributes
    ----------
    place : int
        Which of the inputs it is, from 0.
    deviation : float or None
        How far the result's outputs are from the original's, in percent; None where the original
        gives nothing but zeros, or only one of the two gives a number.
    given : str
        What is known of the input: its class, or the first of its ids; empty mostly.
    before, after : str
        What the original and the result give, in words; empty where the form of the outputs has
        none.
    picture : str or None
        A small picture of it as the address of an image, which holds it.
    """

    place: int
    deviation: float | None
    given: str = ""
    before: str = ""
    after: str = ""
    picture: str | None = None


def examples(
    runners: Sequence[Runner], data: Dataset, tally: Tally, most: int
) -> tuple[Example, ...]:
    """The inputs whose outputs changed most, the worst first.

    Those that lost most by the metric of the form come first, such as boxes; then those that
    deviate most. Inputs of which nothing changed are left out.

    Parameters
    ----------
    runners : sequence of Runner
        Of the original and the result, which run these inputs again.
    data : Dataset
        The inputs.
    tally : Tally
        The account of the result on them.
    most : int
        How many.
    """
    deviation = tally.metrics.get("deviation")
    if not isinstance(deviation, Deviation) or not tally.places:
        return ()
    places, changed = np.concatenate(tally.places), deviation.by_input
    judged = [
        lost
        for name, metric in tally.metrics.items()
        if name.partition(":")[0] in JUDGED_BY[tally.form] and (lost := metric.by_input) is not None
    ]
    columns = [each for each in (*judged, changed) if len(each) == len(places)]
    if not columns:
        return ()
    order = np.lexsort((-places, *columns[::-1]))[::-1]
    worst = [at for at in order[:most] if any(each[at] > 0 for each in columns)]
    return tuple(
        _example(runners, data, tally, int(places[at]), float(changed[at])) for at in worst
    )


def _example(
    runners: Sequence[Runner], data: Dataset, tally: Tally, place: int, deviation: float
) -> Example:
    chosen = np.array([place])
    outputs = [runner(chosen) for runner in runners]
    before, after = _in_words(Batch(outputs[0], outputs[1], None, chosen), tally)
    return Example(
        place,
        float(f"{deviation:.4g}") if np.isfinite(deviation) else None,
        ", ".join(_known(data, place, tally.form)),
        before,
        after,
        _picture(data, place),
    )


def _known(data: Dataset, place: int, form: str) -> Iterator[str]:
    """What is known of an input beside its numbers, or these where they are few ids."""
    if data.y is not None and form == SCORES:
        yield f"class {data.y[place]}"
    entries = {name: np.asarray(array[place]) for name, array in data.arrays.items()}
    rows = {
        name: entry.ravel()
        for name, entry in entries.items()
        if entry.dtype.kind in "iu" and entry.ndim and max(entry.shape) == entry.size > 1
    }
    if rows:
        # Masks and segments are small numbers, of which nobody can tell the text.
        name = max(rows, key=lambda each: rows[each].max())
        more = " ..." if len(rows[name]) > _IDS else ""
        yield f"{name} {' '.join(map(str, rows[name][:_IDS].tolist()))}{more}"


def _picture(data: Dataset, place: int) -> str | None:
    """Of the one input that may be a picture."""
    entries = [np.asarray(array[place]) for array in data.arrays.values()]
    found = [drawn for entry in entries if (drawn := thumbnail(entry, data.normalisation))]
    return found[0] if len(found) == 1 else None


def _in_words(batch: Batch, tally: Tally) -> tuple[str, str]:
    """What the original and the result give for one input."""
    form, both = tally.form, (batch.original, batch.outputs)
    if form == SCORES:
        return _classes(batch.original), _classes(batch.outputs)
    if form == BOXES:
        return _boxes(both, tally)
    if form == STRINGS:
        one, other = (_string(outputs, tally) for outputs in both)
        return one, other
    if form == MASKS:
        return _covered(batch.original), _covered(batch.outputs)
    if form == VECTORS:
        return "", _cosine(batch)
    return "", ""


def _classes(outputs: Outputs) -> str:
    scores = class_scores(outputs[0])
    if scores is None:
        return "" if outputs[0] is None else f"class {outputs[0].ravel()[0]}"
    best = np.argsort(-np.nan_to_num(scores[0], nan=-np.inf), kind="stable")[:_NAMED]
    return "class " + ", ".join(f"{each} ({scores[0][each]:.3g})" for each in best)


def _boxes(both: Sequence[Outputs], tally: Tally) -> tuple[str, str]:
    decoders = [each.decoder for each in tally.metrics.values() if isinstance(each, FoundBoxes)]
    if not decoders or decoders[0] is None:
        return "", ""
    one, other = (decoders[0](outputs) for outputs in both)
    if one is None or other is None:
        return "", ""
    before, after = one[0], other[0]
    same = in_common(before, after)
    kept = f", {same} of them the original's" if len(after) else ""
    return _found(before), f"{_found(after)}{kept}"


def _found(boxes: Boxes) -> str:
    named = ", ".join(
        f"class {kind} ({score:.2f})"
        for kind, score in zip(boxes.classes[:_NAMED], boxes.scores[:_NAMED], strict=True)
    )
    more = ", ..." if len(boxes) > _NAMED else ""
    count = "no box" if not len(boxes) else f"{len(boxes)} box{'' if len(boxes) == 1 else 'es'}"
    return f"{count}: {named}{more}" if named else count


def _string(outputs: Outputs, tally: Tally) -> str:
    """The ids of the letters, as a model does not tell its alphabet."""
    steps = steps_of(outputs)
    metrics = [each for each in tally.metrics.values() if isinstance(each, Strings)]
    if steps is None or not metrics or metrics[0].blank is None:
        return ""
    (letters,) = strings_of(steps, metrics[0].blank)
    more = " ..." if len(letters) > _IDS else ""
    return f"letters {' '.join(map(str, letters[:_IDS]))}{more}" if letters else "no letter"


def _covered(outputs: Outputs) -> str:
    """How much of the picture a mask covers, or the classes that cover most."""
    masks = first_masks(outputs)
    if masks is None:
        return ""
    mask = masks[0]
    if len(mask) == 1:
        threshold = 0.5 if mask.min() >= 0 and mask.max() <= 1 else 0.0
        return f"{100 * float((mask > threshold).mean()):.1f} % covered"
    counts: NDArray[np.intp] = np.bincount(mask.argmax(axis=0).ravel(), minlength=len(mask))
    best = [each for each in np.argsort(-counts, kind="stable")[:_NAMED] if counts[each]]
    return "class " + ", ".join(f"{k} ({100 * counts[k] / counts.sum():.0f} %)" for k in best)


def _cosine(batch: Batch) -> str:
    one, other = (first_vectors(outputs) for outputs in (batch.original, batch.outputs))
    if one is None or other is None or one.shape != other.shape:
        return ""
    rows: list[Array] = [each.astype(np.float64).ravel() for each in (one, other)]
    length = float(np.linalg.norm(rows[0]) * np.linalg.norm(rows[1]))
    return f"cosine {float(rows[0] @ rows[1]) / length:.4f}" if length > 0 else ""
