"""What graphs may offer beside what is needed, and what is taken for granted where they do not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray

from nmcore.group import (
    Declined,
    FloatArray,
    Group,
    IntArray,
    Narrowing,
    Reading,
    RowSums,
    ScorePair,
)
from nmcore.plugins.protocols import Carried, Graph, Measurable


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
class Branching(Graph, Protocol):
    """A graph of which parts run only where a condition holds."""

    def forced(self, model: bytes) -> Sequence[bytes]:
        """A model of this graph, serialised, once for each way in which conditions may turn out.

        Nothing where no channels of a group are in such a part.
        """
        ...


@runtime_checkable
class Bidirectional(Measurable, Protocol):
    """A graph of recurrent layers that go both ways, a unit of each direction being one channel."""

    @property
    def backward(self) -> Mapping[str, Sequence[int]]:
        """The backward units that are those of channel 0, 1, ... here, by the names of groups where
        they are others than in the model.
        """
        ...

    def tap_directions(self) -> Mapping[str, Sequence[tuple[int, ...]]]:
        """The groups whose backward units may be paired with forward ones in any way, by name: for
        each of their consumers the direction of each tap, 0 or 1.
        """
        ...

    def paired(self, backward: Mapping[str, Sequence[int]]) -> Bidirectional:
        """The same model, of which nothing has been changed yet, with other pairs of units.

        Parameters
        ----------
        backward : mapping of group name to sequence of int
            For each channel of some of these groups the backward unit that is to be its own.
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
    open : bool
        Whether derivatives can be told of what it reads, so that it can be fitted together with
        the block before it.
    """

    start: Carried
    stop: Carried
    weights: tuple[Reading, ...]
    open: bool

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
        """A model of how wrong a block is, or a sequence of them as one, serialised.

        It reads ``block.start.current`` and ``block.stop.original``, values of some inputs as a
        moment probe gives them, and :attr:`Block.inputs`. Its first output is the sum of squared
        differences between what the block gives with these weights and what the original gave; then
        come the derivatives of that with respect to each of :attr:`Block.inputs`.
        """
        ...


@runtime_checkable
class Narrowable(Measurable, Protocol):
    """A graph whose attention heads can become narrower inside.

    Its :meth:`terms` name score pairs as they name groups, and its :meth:`reference` has narrowed
    heads at full width, filled up with zeros.
    """

    @property
    def score_pairs(self) -> Sequence[ScorePair]:
        """The query and key channels that can be removed, in topological order."""
        ...

    @property
    def declined_pairs(self) -> Sequence[Declined]:
        """Every other attention whose scores go through a softmax, and why it stays as it is."""
        ...

    def heads_left(self, pair: ScorePair) -> tuple[IntArray, IntArray]:
        """Which of the query heads, and of the key heads, have not been removed."""
        ...

    def precedes(self, reading: Reading, pair: ScorePair) -> bool:
        """Whether a consumer runs before the queries and keys of a pair meet."""
        ...

    def cut(
        self, readings: Sequence[Reading], pairs: Sequence[ScorePair] = ()
    ) -> Sequence[Carried] | None:
        """As :meth:`Measurable.cut`, before the projections of some pairs, too."""
        ...

    def score_probe(
        self, pairs: Sequence[ScorePair], *, rows: int, samples: int, start: Sequence[Carried] = ()
    ) -> bytes:
        """A model that gives sums over queries and keys as they are now, serialised.

        For each pair come ``count`` (1,), ``mean_x`` (F,) and ``scatter_x`` (F, F) of its queries,
        then of its keys, with F = heads that are left * D, heads side by side; see
        :meth:`Measurable.moment_probe` for the parameters.
        """
        ...

    def narrow(self, pair: ScorePair, narrowing: Narrowing) -> None:
        """Make queries and keys of all heads narrower; the scale of the scores stays.

        Once for each pair. What is refitted later must not be read before the scores.
        """
        ...


def score_pairs(graph: Any) -> Sequence[ScorePair]:
    """The query and key channels of a graph that can be removed; none where it tells nothing."""
    return graph.score_pairs if isinstance(graph, Narrowable) else ()


def declined_pairs(graph: Any) -> Sequence[Declined]:
    """The attention whose heads keep their width; none where a graph tells nothing."""
    return graph.declined_pairs if isinstance(graph, Narrowable) else ()


def cuttable(graph: Any) -> list[Group]:
    """The groups of a graph, then its score pairs."""
    return [*graph.groups, *score_pairs(graph)]


def widths(graph: Any) -> dict[str, int]:
    """How many channels each group, and each score pair, of a graph has."""
    return {each.name: each.width for each in cuttable(graph)}


@runtime_checkable
class Quantised(Protocol):
    """A graph that may have quantised weights: it works on floats, and its result is quantised
    again.
    """

    @property
    def quantised(self) -> int:
        """How many weights of layers are stored as integers."""
        ...

    def serialize_floats(self, *, original: bool = False, rounded: bool = True) -> bytes:
        """The compressed model, or the original, with weights of floats; the result takes states
        as the original does.

        Without ``rounded`` activations are not rounded to levels either, only held within their
        range, as in :meth:`reference`.
        """
        ...


def quantised_weights(graph: Any) -> int:
    """How many weights of layers are stored as integers, as far as a graph tells."""
    return graph.quantised if isinstance(graph, Quantised) else 0


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
class Sizable(Protocol):
    """A graph that can be counted at other sizes than usual ones, where it leaves sizes open."""

    def set_sizes(self, stated: Mapping[str, Sequence[int]]) -> None:
        """Count at the shapes that inputs of these names have; see
        :func:`nmcore.plugins.open_sizes.with_stated`. The model itself stays as it is.

        Raises
        ------
        ArgumentError
            They do not fit the model.
        """
        ...


@runtime_checkable
class Exemplary(Protocol):
    """A backend that finds inputs that lie beside a model."""

    def examples(
        self, model: Path, names: Callable[[], Sequence[str]]
    ) -> Sequence[Mapping[str, NDArray[Any]]]:
        """What a model can be fed with, by the names of its inputs; empty where nothing is.

        ``names`` tells these, and is called only where something lies there.
        """
        ...


@runtime_checkable
class Naming(Protocol):
    """A session that tells how its outputs are called."""

    @property
    def output_names(self) -> Sequence[str]:
        """In the order of the outputs."""
        ...


@runtime_checkable
class Convertible(Protocol):
    """A graph whose result can be handed over as ONNX."""

    def to_onnx(self) -> Any:
        """The compressed model as an ``onnx.ModelProto``, with all weights in it."""
        ...


@runtime_checkable
class Native(Protocol):
    """A runtime that hands over its own kind of session."""

    def native_session(self, model: bytes, **options: Any) -> Any:
        """Load a serialised model.

        Parameters
        ----------
        **options
            Those of the runtime; without any that says where, wherever models run at best.
        """
        ...


@dataclass(frozen=True)
class Layer:
    """A node with weights.

    Attributes
    ----------
    name, op : str
        Its name and its operator.
    width : int or None
        The channels that it makes.
    macs : int or None
        Multiply-accumulates of one sample.
    names : frozenset of str
        What a runtime may call it, with what it computes along the way to the next layers.
    """

    name: str
    op: str
    width: int | None
    macs: int | None
    names: frozenset[str] = frozenset()


@runtime_checkable
class Layered(Protocol):
    """A graph that tells its layers one by one."""

    def layers(self) -> Sequence[Layer]:
        """The layers of the model as it is now, in their order."""
        ...


@runtime_checkable
class Profiling(Protocol):
    """A runtime that tells how long each part of a model takes."""

    def profile(
        self, model: bytes | Path, feeds: Mapping[str, NDArray[Any]], *, threads: int = 0
    ) -> Mapping[str, float]:
        """Milliseconds of each kernel in a run on the CPU, the median of some, by its name.

        Raises
        ------
        ModelError
            The model does not load, or fails on these inputs.
        """
        ...


def output_names(session: Any) -> Sequence[str]:
    """How the outputs of a session are called; empty where it does not tell."""
    return session.output_names if isinstance(session, Naming) else ()


def gives_features(graph: Any) -> bool:
    """Whether a graph shows that its first output holds features; not where it tells nothing."""
    return isinstance(graph, Describing) and graph.gives_features()
