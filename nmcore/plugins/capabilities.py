"""What graphs may offer beside what is needed, and what is taken for granted where they do not."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from nmcore.plugins.protocols import Measurable


@runtime_checkable
class Maskable(Measurable, Protocol):
    """A graph whose probes can leave out padding."""

    def set_mask(self, name: str) -> bool:
        """Let probes leave out the rows of positions where an input (batch, positions) is 0.

        Of consumers whose rows are those positions; others are measured as before. It holds for
        clones that are made later, too.

        Returns
        -------
        bool
            Whether there are such consumers.
        """
        ...


@runtime_checkable
class Describing(Protocol):
    """A graph that tells what its outputs are."""

    def gives_features(self) -> bool:
        """Whether the first output plainly holds features, which are no class scores."""
        ...


def gives_features(graph: Any) -> bool:
    """Whether a graph shows that its first output holds features; not where it tells nothing."""
    return isinstance(graph, Describing) and graph.gives_features()
