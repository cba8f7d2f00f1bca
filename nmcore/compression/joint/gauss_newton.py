"""Two fully connected layers fitted together to what the second one gave in the original.

Where channels between them are gone, the ones that stay need not be what they were: a few of them
serve the next layer best if each stands for several. A layer of its own, fitted to the original's
values of the kept channels, cannot know that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from nmcore.compression.moments import Moments
from nmcore.compression.refit import refit
from nmcore.group import Float64Array

# The second round gains a tenth of what the first does, a third nothing.
ROUNDS = 2
# Steps of the solver, and the part of the right side that may be left.
SOLVER_STEPS = 60
_SOLVED = 1e-3
# The distance of central differences, relative to a channel's deviation, and how many lengths of a
# step are tried, each half of the one before.
_DIFFERENCE, _LENGTHS = 1e-2, 6
# Rows on which it is seen whether channels mix.
TRIED = 8


@dataclass(frozen=True, eq=False)
class Layers:
    """Two layers, ``activation(x @ first + shift) @ last + bias``.

    Attributes
    ----------
    first, shift : array, shape (F, P), and array, shape (P,)
        The layer that makes the channels.
    activation : callable
        From (n, P) to (n, P), each channel by itself.
    last, bias : array, shape (P, O), and array, shape (O,)
        The layer that reads them.
    """

    first: Float64Array
    shift: Float64Array
    activation: Callable[[Float64Array], Float64Array]
    last: Float64Array
    bias: Float64Array

    def made(self, features: Float64Array) -> Float64Array:
        """What the first one gives, (n, P)."""
        return features @ self.first + self.shift

    def outputs(self, features: Float64Array) -> Float64Array:
        """What both give, (n, O)."""
        return self.activation(self.made(features)) @ self.last + self.bias


def acts_alone(activation: Callable[[Float64Array], Float64Array], rows: Float64Array) -> bool:
    """Whether an activation takes each channel by itself.

    Parameters
    ----------
    activation : callable
        From (n, P) to anything.
    rows : array, shape (n, P)
        What to try it on; more than one row.

    Examples
    --------
    >>> rows = np.random.default_rng(0).standard_normal((4, 6))
    >>> acts_alone(np.tanh, rows), acts_alone(lambda x: x / x.sum(axis=1, keepdims=True), rows)
    (True, False)
    """
    others = rows[::-1]
    chosen = np.random.default_rng(0).random(rows.shape) < 0.5
    one, other, both = (activation(each) for each in (rows, others, np.where(chosen, rows, others)))
    if not one.shape == other.shape == both.shape == rows.shape:
        return False
    return bool(np.allclose(both, np.where(chosen, one, other), rtol=1e-4, atol=1e-6))


def refit_pair(
    features: Float64Array,
    wanted: Float64Array,
    layers: Layers,
    *,
    ridge: float,
    last_ridge: float,
) -> Layers:
    """Fit two layers together by least squares, drawn towards what they are.

    A round takes one Gauss-Newton step for the first layer, in which the activation is linear
    around what it is, and then refits the last one. Steps that do not help are halved.

    Parameters
    ----------
    features : array, shape (n, F)
        What the first layer reads.
    wanted : array, shape (n, O)
        What the second one should give.
    layers : Layers
        Where to start.
    ridge : float
        Strength of the pull on the first layer, relative to the mean variance of a feature.
    last_ridge : float
        The same for the last layer; see :func:`nmcore.compression.refit.refit`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((500, 3))
    >>> true = Layers(rng.standard_normal((3, 4)), np.zeros(4), np.tanh, np.eye(4), np.zeros(4))
    >>> start = replace(true, first=true.first + 0.3 * rng.standard_normal((3, 4)))
    >>> found = refit_pair(x, true.outputs(x), start, ridge=1e-3, last_ridge=1e-3)
    >>> before, after = (
    ...     np.square(layers.outputs(x) - true.outputs(x)).mean() for layers in (start, found)
    ... )
    >>> bool(after < 0.1 * before)
    True
    """
    for _ in range(ROUNDS):
        step = _step(features, wanted, layers, ridge)
        layers = _along(layers, step, features, wanted, last_ridge)
    return layers


def _step(
    features: Float64Array, wanted: Float64Array, layers: Layers, ridge: float
) -> Float64Array:
    """How the first layer should change, (F + 1, P), with the shift in the last row.

    It minimises the mean square of ``wanted - outputs - (slope * (x @ step)) @ last``, plus the
    pull, which is as strong as what a channel does to the outputs, on average over all channels.
    """
    rows = _with_constant(features)
    made = layers.made(features)
    slope = _slope(layers.activation, made)
    products = layers.last @ layers.last.T
    missing = wanted - layers.outputs(features)
    weight = (np.diagonal(products) * np.square(slope).mean(axis=0)).mean()
    pull = np.full((rows.shape[1], 1), ridge * np.square(rows[:, :-1]).mean() * weight)
    pull[-1] = 0

    def curvature(step: Float64Array) -> Float64Array:
        moved = (((rows @ step) * slope) @ products) * slope
        product: Float64Array = rows.T @ moved / len(rows) + pull * step
        return product

    gradient = rows.T @ ((missing @ layers.last.T) * slope) / len(rows)
    return _conjugate_gradients(curvature, gradient)


def _along(
    layers: Layers,
    step: Float64Array,
    features: Float64Array,
    wanted: Float64Array,
    last_ridge: float,
) -> Layers:
    """Go as far along a step as it helps once the last layer is refitted."""
    change, shift = step[:-1], step[-1] - features.mean(axis=0) @ step[:-1]
    error = np.square(wanted - layers.outputs(features)).mean()
    for halvings in range(_LENGTHS):
        part = 0.5**halvings
        moved = replace(
            layers, first=layers.first + part * change, shift=layers.shift + part * shift
        )
        moved = _with_last_refitted(moved, features, wanted, last_ridge)
        if np.square(wanted - moved.outputs(features)).mean() < error:
            return moved
    return layers


def _with_last_refitted(
    layers: Layers, features: Float64Array, wanted: Float64Array, ridge: float
) -> Layers:
    """Fit the last layer to what the first one gives now."""
    channels = layers.activation(layers.made(features))
    centred, mean = channels - channels.mean(axis=0), wanted.mean(axis=0)
    moments = Moments(
        rows=len(channels),
        mean=channels.mean(axis=0),
        covariance=centred.T @ centred / len(channels),
        target_mean=mean,
        target_variance=wanted.var(axis=0),
        cross=centred.T @ (wanted - mean) / len(channels),
    )
    last, bias = refit(moments, layers.last, np.arange(len(layers.last)), ridge=ridge)
    return replace(layers, last=last, bias=bias)


def _with_constant(features: Float64Array) -> Float64Array:
    """Centred features and a column of ones, (n, F + 1)."""
    return np.column_stack([features - features.mean(axis=0), np.ones(len(features))])


def _slope(activation: Callable[[Float64Array], Float64Array], made: Float64Array) -> Float64Array:
    """The derivative of the activation at each number, by central differences."""
    distance = _DIFFERENCE * made.std(axis=0) + np.finfo(np.float32).eps
    slope: Float64Array = (activation(made + distance) - activation(made - distance)) / (
        2 * distance
    )
    return slope


def _conjugate_gradients(
    product: Callable[[Float64Array], Float64Array], right: Float64Array
) -> Float64Array:
    """Solve ``product(x) = right`` for a symmetric positive semidefinite ``product``, roughly."""
    x, residual = np.zeros_like(right), right.copy()
    direction, square = right.copy(), np.square(right).sum()
    goal = _SOLVED**2 * square
    for _ in range(SOLVER_STEPS):
        if square <= goal:
            break
        image = product(direction)
        length = square / (direction * image).sum()
        x += length * direction
        residual -= length * image
        square, before = np.square(residual).sum(), square
        direction = residual + square / before * direction
    return x
