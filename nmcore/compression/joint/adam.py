"""Adam: gradient descent with a step of its own for each number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from nmcore.group import FloatArray

# How long gradients and their squares are remembered, and what keeps a division from failing.
_MEAN, _SQUARE, _TINY = 0.9, 0.999, 1e-8


@dataclass(eq=False)
class Adam:
    """The method of Kingma & Ba, *Adam: A Method for Stochastic Optimization*, ICLR 2015.

    Attributes
    ----------
    weights : dict of name to array
        What is fitted; replaced at each step.
    rates : mapping of name to float
        How far one step moves a number of each array at most, about.

    Examples
    --------
    >>> adam = Adam({"x": np.array([3.0, -2.0])}, {"x": 0.5})
    >>> for number in range(100):
    ...     adam.step({"x": 2 * adam.weights["x"]}, 1 - number / 100)
    >>> bool(np.abs(adam.weights["x"]).max() < 0.1)
    True
    """

    weights: dict[str, FloatArray]
    rates: Mapping[str, float]
    _steps: int = 0
    _mean: dict[str, FloatArray] = field(default_factory=dict)
    _square: dict[str, FloatArray] = field(default_factory=dict)

    def step(self, gradients: Mapping[str, FloatArray], factor: float = 1.0) -> None:
        """Go down some gradients, by ``factor`` times the rates."""
        self._steps += 1
        for name, gradient in gradients.items():
            mean = self._mean[name] = _averaged(self._mean.get(name), gradient, _MEAN)
            square = self._square[name] = _averaged(
                self._square.get(name), np.square(gradient), _SQUARE
            )
            # Both start at zero, which is what they are divided for.
            mean = mean / (1 - _MEAN**self._steps)
            square = square / (1 - _SQUARE**self._steps)
            change = factor * self.rates[name] * mean / (np.sqrt(square) + _TINY)
            before = self.weights[name]
            self.weights[name] = (before - change).astype(before.dtype, copy=False)


def _averaged(before: FloatArray | None, new: FloatArray, memory: float) -> FloatArray:
    """A running mean that starts at zero."""
    found: FloatArray = (1 - memory) * new + (0 if before is None else memory * before)
    return found
