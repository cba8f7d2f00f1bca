"""What form outputs have, as far as names, shapes and numbers tell."""

from __future__ import annotations

import numpy as np

from nmcore.evaluation.detection.forms import forms_of
from nmcore.evaluation.detection.head import Head
from nmcore.evaluation.outputs import Batch, Outputs, first_pictures, first_vectors, top_class
from nmcore.evaluation.sequences import spell_strings
from nmcore.group import Array

SCORES, VECTORS, PICTURES, OTHER = "scores", "vectors", "pictures", "other"
BOXES, STRINGS, MASKS = "boxes", "strings", "masks"
# So much of a mask is within _EDGE of 0 or 1.
_DECIDED, _EDGE = 0.8, 0.1


def form_of(batch: Batch, *, features: bool) -> str:
    """What form the outputs of the original have.

    Parameters
    ----------
    batch : Batch
        What it gives for some inputs.
    features : bool
        Whether the graph shows that the first output holds features.

    Returns
    -------
    {"boxes", "strings", "scores", "masks", "vectors", "pictures", "other"}
        Boxes of a detector in a form of :data:`nmcore.evaluation.detection.forms.FORMS`; strings as
        :func:`nmcore.evaluation.sequences.spell_strings` tells them; class scores, or classes, in
        the first output, as :func:`nmcore.evaluation.outputs.top_class` reads them; masks of a
        picture, see :func:`first_masks`; else vectors or pictures where
        :meth:`~nmcore.evaluation.outputs.Batch.vectors` or
        :func:`~nmcore.evaluation.outputs.first_pictures` finds some; else none of these.

    Examples
    --------
    >>> batch = Batch([np.zeros((2, 10))], [], None, np.arange(2))
    >>> form_of(batch, features=False), form_of(batch, features=True)
    ('scores', 'vectors')
    """
    outputs = batch.original
    if next(forms_of(head_of(batch)), None) is not None:
        return BOXES
    if spell_strings(outputs):
        return STRINGS
    first = outputs[0] if outputs else None
    if first is not None and not features and top_class(first) is not None:
        return SCORES
    if are_masks(batch):
        return MASKS
    if first_vectors(outputs) is not None:
        return VECTORS
    return OTHER if first_pictures(outputs) is None else PICTURES


def head_of(batch: Batch, *, told: bool = False) -> Head:
    """What a batch tells of a detector."""
    names = [name.lower() for name in batch.names]
    picture = None if batch.picture is None else batch.picture[:2]
    return Head(batch.original, names, picture, told)


def are_masks(batch: Batch) -> bool:
    """Whether outputs are masks of a picture, where nobody says so.

    One channel from 0 to 1, mostly at either end, of a picture with three; or scores of classes,
    more than three, for each pixel.
    """
    masks = first_masks(batch.original)
    if masks is None or batch.picture is None:
        return False
    if masks.shape[1] > 1:
        return masks.shape[1] > 3 and masks.shape[2:] == batch.picture[:2]
    if batch.picture[2] == 1 or not (masks.min() >= 0 and masks.max() <= 1):
        return False
    return bool((np.abs(masks - 0.5) >= 0.5 - _EDGE).mean() >= _DECIDED)


def first_masks(outputs: Outputs) -> Array | None:
    """The first floating-point output of rank 4, as (n, classes, height, width).

    Channels are on axis 1, or last where that is 1 and axis 1 is not.

    >>> first_masks([np.zeros((2, 32, 32, 1))]).shape
    (2, 1, 32, 32)
    """
    for output in outputs:
        if output is not None and output.dtype.kind == "f" and output.ndim == 4:
            last = output.shape[3] == 1 and output.shape[1] != 1
            return np.moveaxis(output, 3, 1) if last else output
    return None
