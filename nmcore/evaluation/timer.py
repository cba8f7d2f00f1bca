"""The protocol of what times a model at other widths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

# So many channels each group keeps.
Counts = Mapping[str, int]


class Timer(Protocol):
    """Tells how long a model takes at other widths."""

    def __call__(self, candidates: Sequence[Counts]) -> list[float]:
        """The time that each candidate takes, as a share of the original's."""
        ...

    @property
    def setting(self) -> str:
        """What the times hold for, in words."""
        ...
