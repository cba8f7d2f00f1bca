"""What became of an embedding table, as data and in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nmcore.evaluation.fidelity import Fidelity
from nmcore.evaluation.metrics.figures import figure_of
from nmcore.utils.text import percent


@dataclass(frozen=True)
class Vocabulary:
    """What became of an embedding table.

    Attributes
    ----------
    table : str
        Its name.
    rows, kept : int
        How many rows it had and has.
    looked_up : int or None
        How many rows the data looks up; None without data.
    error : float
        The mean distance of a row that is gone to what stands for it, relative to its length.
    unseen : Fidelity or None
        How the outputs fare on inputs whose rows played no part in the choice.
    """

    table: str
    rows: int
    kept: int
    looked_up: int | None
    error: float
    unseen: Fidelity | None = None

    def notes(self, compared: Fidelity | None) -> Sequence[str]:
        """What became of it, as far as the comparison of both models does not tell."""
        return [self._done, *(self._unseen if compared != self.unseen else ())]

    @property
    def _done(self) -> str:
        """What was done."""
        needed = ""
        if self.looked_up is not None:
            needed = f", the data looks up {self.looked_up:,}"
            if self.looked_up > self.kept:
                needed += ", of which the most frequent stay"
        return (
            f"vocabulary: {self.kept:,} of {self.rows:,} rows of {self.table} kept{needed}; the "
            f"others are made of kept ones, {percent(100 * self.error)} % of their length off"
        )

    @property
    def _unseen(self) -> Sequence[str]:
        """What it costs on inputs that had no part in it, in no or one line."""
        if self.unseen is None:
            return ()
        words = [
            figure_of(name).text(value)
            for name, value in self.unseen.metrics.items()
            if value is not None
        ]
        return [
            f"a vocabulary of this size that {self.unseen.n} of the inputs had no part in: on them "
            f"{', '.join(words)}"
        ]
