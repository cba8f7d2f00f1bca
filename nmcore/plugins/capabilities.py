"""What graphs may offer beside what is needed, and what is taken for granted where they do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray

from nmcore.group import FloatArray, RowSums
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


@dataclass(frozen=True)
class Table:
    """An embedding table whose rows can be made of fewer ones.

    Attributes
    ----------
    name : str
        What it is called.
    rows, width : int
        A row for each token, and the numbers in one.
    is_tied : bool
        Whether the output projection reads it as well; a row is then replaced by a multiple of one
        kept row.
    """

    name: str
    rows: int
    width: int
    is_tied: bool = False


@runtime_checkable
class Lexical(Protocol):
    """A graph with embedding tables."""

    def tables(self) -> Sequence[Table]:
        """The tables that integers are looked up in and whose rows can be merged."""
        ...

    def table(self, name: str) -> FloatArray:
        """The values of one, shape (V, D)."""
        ...

    def lookup_probe(self, name: str) -> bytes:
        """A model whose outputs are the places that are looked up in a table, serialised."""
        ...

    def with_rows(self, name: str, sums: RowSums) -> Any:
        """A model, of the kind that :func:`nmcore.plugins.open_graph` takes, that keeps some rows
        of a table; places and interface stay as they are.
        """
        ...

    def with_table(self, name: str, values: FloatArray) -> bytes:
        """The model with other values (V, D) in a table, serialised."""
        ...


@runtime_checkable
class Exemplary(Protocol):
    """A backend that finds inputs that lie beside a model."""

    def examples(self, model: Path, names: Sequence[str]) -> Sequence[Mapping[str, NDArray[Any]]]:
        """What a model can be fed with, by the names of its inputs; empty where nothing is."""
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
