"""What graphs may offer beside what is needed, and what is taken for granted where they do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from nmcore.group import FloatArray, Reading, RowSums
from nmcore.plugins.protocols import Carried, Measurable


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


@dataclass(frozen=True)
class Block:
    """A part of a network that reads one value and gives one, such as a residual block.

    Attributes
    ----------
    start, stop : Carried
        What it reads and what it gives; nothing else leads from before it to behind it.
    weights : tuple of Reading
        Consumers inside that can be fitted together.
    """

    start: Carried
    stop: Carried
    weights: tuple[Reading, ...]

    @property
    def inputs(self) -> list[str]:
        """The inputs of its probe that take weights: weight (F, O) and bias (O,) of each."""
        numbers = range(len(self.weights))
        return [f"nmcore.{kind}.{number}" for number in numbers for kind in ("weight", "bias")]


@runtime_checkable
class Differentiable(Measurable, Protocol):
    """A graph that tells derivatives of what its blocks give."""

    def blocks(self) -> Sequence[Block]:
        """The blocks that can be fitted, in topological order; none overlaps another."""
        ...

    def block_probe(self, block: Block) -> bytes:
        """A model of how wrong a block is, serialised.

        It reads ``block.start.current`` and ``block.stop.original``, values of some inputs as a
        moment probe gives them, and :attr:`Block.inputs`. Its first output is the sum of squared
        differences between what the block gives with these weights and what the original gave; then
        come the derivatives of that with respect to each of :attr:`Block.inputs`.
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
