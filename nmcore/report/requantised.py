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
        How far the result deviates from itself with weights of floats; None where models of floats
        do not run.
    before : float or None
        The same of the original.
    compression : float or None
        How far the result deviates from the original, both with weights of floats.
    """

    weights: int
    quantisation: float | None = None
    before: float | None = None
    compression: float | None = None

    @property
    def note(self) -> str:
        """What each step costs.

        >>> Requantised(18, 1.5, 1.25, 4.0).note[:70]
        'quantised again: 18 weights; that alone deviates the outputs by 1.50 %'
        """
        done = f"quantised again: {counted(self.weights, 'weight')}"
        if self.quantisation is None:
            return f"{done}; what that alone costs was not measured"
        parts = (self.quantisation, self.before, self.compression)
        alone, before, compression = map(percent, parts)
        return (
            f"{done}; that alone deviates the outputs by {alone} % ({before} % in the original), "
            f"compression alone by {compression} %"
        )
