"""What graphs may offer beside what is needed, and what is taken for granted where they do not."""

from __future__ import annotations

from collections.abc import Sequence
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


@runtime_checkable
class Naming(Protocol):
    """A session that tells how its outputs are called."""

    @property
    def output_names(self) -> Sequence[str]:
        """In the order of the outputs."""
        ...


def output_names(session: Any) -> Sequence[str]:
    """How the outputs of a session are called; empty where it does not tell."""
    return session.output_names if isinstance(session, Naming) else ()


def gives_features(graph: Any) -> bool:
    """Whether a graph shows that its first output holds features; not where it tells nothing."""
    return isinstance(graph, Describing) and graph.gives_features()
