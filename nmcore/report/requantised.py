"""What quantising weights again costs, as data and in words."""

from __future__ import annotations

from dataclasses import dataclass

from nmcore.utils.text import counted, percent


@dataclass(frozen=True)
class Requantised:
    """How much of the difference between two quantised models is due to quantisation.

    Deviations are in percent, on the inputs on which the models themselves are compared.

    Attributes
    ----------
    weights : int
        How many weights are stored as integers.
    quantisation : float or None
        How far the result deviates from itself with weights of floats.
    before : float or None
        The same of the original.
    compression : float or None
        How far the result deviates from the original, both with weights of floats.
    """

    weights: int
    quantisation: float | None
    before: float | None
    compression: float | None

    @property
    def note(self) -> str:
        """What each step costs.

        >>> Requantised(18, 1.5, 1.25, 4.0).note
        'quantised again: 18 weights; that alone deviates the outputs by 1.50 % (1.25 % in the
        original), compression alone by 4.00 %'
        """
        parts = (self.quantisation, self.before, self.compression)
        alone, before, compression = map(percent, parts)
        return (
            f"quantised again: {counted(self.weights, 'weight')}; that alone deviates the outputs "
            f"by {alone} % ({before} % in the original), compression alone by {compression} %"
        )
