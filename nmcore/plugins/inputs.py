"""The inputs of models: what a runtime says of them, and what a graph knows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmcore.group import FloatArray


@dataclass(frozen=True)
class InputSpec:
    """An input of a model.

    Attributes
    ----------
    name : str
        What it is called.
    shape : tuple of int or None
        Its axes; None where one is dynamic.
    dtype : dtype
        The type of its elements.
    symbols : tuple of str or None
        What the model calls each dynamic axis; axes of one name have one length, in all inputs.
        Empty where nothing is known.
    state : bool
        Whether it takes what an output gave in the run before; zeros stand for no run.
    grows : int or None
        The axis along which an output gives it longer than before, as keys and values of the past
        are; one of length 0 stands for no run.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: np.dtype[Any]
    symbols: tuple[str | None, ...] = field(default=(), compare=False)
    state: bool = field(default=False, compare=False)
    grows: int | None = field(default=None, compare=False)


@dataclass(frozen=True, eq=False)
class InputHint:
    """What a graph tells of the inputs that it was trained on.

    Attributes
    ----------
    mean, std : float64 array or None
        Inputs of this mean and deviation reach the first layer as standard ones. They broadcast
        against one input, without the batch.
    measured : bool
        Whether these are statistics of the training set, as a batch norm has them, rather than the
        constants of a preprocessing, which often only say what pixels range over.
    weight : float array, shape (N, F), or None
        The fully connected layer that reads all F numbers of an input first, so prepared.
    ids : int or None
        Integers are from 0 up to below this: places in a table of so many rows.
    mask : bool
        Whether integers say which places count: 1 does.
    steps_of : (str, int) or None
        Integers say how many entries of an axis of an input count, such as the steps of a sequence:
        the name of that input, and the axis.
    steps : int or None
        The length of that axis, once it is decided on; or of any, where no input has it.
    next_state : str or None
        The input is a state, and this output gives what it is in the next run.
    grows : int or None
        The axis along which it is then longer.
    """

    mean: NDArray[np.float64] | None = None
    std: NDArray[np.float64] | None = None
    measured: bool = False
    weight: FloatArray | None = None
    ids: int | None = None
    mask: bool = False
    steps_of: tuple[str, int] | None = None
    steps: int | None = None
    next_state: str | None = None
    grows: int | None = None
