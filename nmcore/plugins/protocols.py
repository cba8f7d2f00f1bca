"""What a plugin must offer, and how it is found.

A plugin is a package with an entry point in the group ``nmcore.backends``. The entry point names
an object that fulfils one of two protocols:

* :class:`GraphBackend` reads a model of some format, tells its groups of channels, hands their
  weights over as NumPy arrays and writes changed ones back (``nmcore_onnx`` is one);
* :class:`RuntimeBackend` runs a model (``nmcore_ort`` is one).

nmcore itself knows no format, no framework and no operator. To add a framework, write a package
with such an entry point; nothing in this repository changes::

    [options.entry_points]
    nmcore.backends =
        myformat = nmcore_myformat:backend
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from nmcore.group import (
    Consumer,
    Cost,
    Declined,
    FloatArray,
    Group,
    IntArray,
    Producer,
    Reading,
    Refit,
    Scaling,
    Term,
)
from nmcore.plugins.inputs import InputHint, InputSpec


class Graph(Protocol):
    """An opened model: its groups of channels, and the working copy that becomes the result.

    The object handed to :meth:`GraphBackend.open` is never changed.
    """

    @property
    def groups(self) -> Sequence[Group]:
        """The groups whose channels can be removed, in topological order."""
        ...

    @property
    def declined(self) -> Sequence[Declined]:
        """Every weighted node whose channels stay, and why."""
        ...

    def producers(self, group: Group) -> Sequence[Producer]:
        """The weights whose rows make the group's channels, as they were when opened."""
        ...

    def consumers(self, group: Group) -> Sequence[Consumer]:
        """The weights that read the group's channels, with earlier groups already folded in."""
        ...

    def clone(self) -> Graph:
        """A second graph of the same state; what happens to either does not change the other.

        It must be cheap: nothing is read or traced again, and weights are shared until written.
        """
        ...

    def update(self, group: Group, index: int, change: Scaling | Refit) -> None:
        """Change the weights of one consumer; the channels stay until they are removed.

        Parameters
        ----------
        group : Group
            One of :attr:`groups`.
        index : int
            Which of :meth:`consumers`.
        change : Scaling or Refit
            A scaling matrix, which is folded into the weights that the consumer has now as
            :func:`nmcore.absorb` does, or new weights. A graph may wait with folding until the
            weight is asked for, so that large ones need not be held.
        """
        ...

    def remove(self, group: Group, kept: IntArray) -> None:
        """Take all but ``kept`` of a group's channels out.

        Parameters
        ----------
        kept : int array, shape (P,)
            Positions among the channels that are left, ascending. The consumers have been given
            weights on these alone.
        """
        ...

    def cost(self) -> Cost:
        """What the working copy weighs once the removed channels are gone."""
        ...

    def result(self) -> Any:
        """The compressed model, as an object of the backend's own format."""
        ...

    def check(self) -> None:
        """Raise :class:`~nmcore.errors.VerificationError` unless the result is a valid model."""
        ...

    def fault(self) -> str | None:
        """Why the model that was opened breaks the rules of its format, in one line, or None."""
        ...

    def reference(self, scalings: Mapping[str, Scaling]) -> bytes:
        """The original at full width with its removed channels made up for, serialised.

        Groups with a scaling matrix have their channels rebuilt through Z; the consumers of others
        have their new weights, with zeros for removed channels. It must give the same outputs as
        :meth:`result`: the proof that ``--verify`` runs.
        """
        ...

    def terms(self) -> Sequence[Term]:
        """The parts of the original's cost that depend on how many channels groups keep."""
        ...

    def serialize(self) -> bytes:
        """The compressed model as bytes that a runtime loads."""
        ...

    def size(self) -> int:
        """How many bytes the compressed model takes, written as one file."""
        ...

    def write_files(self, folder: Path, name: str, external_data: bool | None) -> None:
        """Write the compressed model into an empty folder.

        Parameters
        ----------
        folder : Path
            From here all files are moved to where they belong, the one called ``name`` last.
        name : str
            Of the file that stands for the model. Names of others must start with it, tell what is
            in them apart from anything else, and end in ``.data``.
        external_data : bool or None
            Whether large weights go into files of their own; None where only size decides.
        """
        ...

    def data_files(self) -> Sequence[Path]:
        """The files that hold weights of the original, beside its own file."""
        ...


@dataclass(frozen=True)
class Carried:
    """A value of a model that is handed from one probe to the next.

    Attributes
    ----------
    name : str
        The value's name in the model.
    removed : int
        How much had been removed when it was computed, in the graph's own terms.
    """

    name: str
    removed: int

    @property
    def current(self) -> str:
        """The probe's input that takes it as it is in the working copy."""
        return f"nmcore.current.{self.name}"

    @property
    def original(self) -> str:
        """The probe's input that takes it as it is in the original."""
        return f"nmcore.carried.{self.name}"


class Span(NamedTuple):
    """A part of a network: what a probe is given of it, and what is carried on.

    Attributes
    ----------
    start : sequence of Carried
        Values that the probe reads instead of computing them.
    stop : sequence of Carried
        Values that it gives besides.
    """

    start: Sequence[Carried] = ()
    stop: Sequence[Carried] = ()


@runtime_checkable
class Measurable(Graph, Protocol):
    """A graph whose activations can be measured."""

    def norm_probe(self) -> bytes | None:
        """A model that gives, for each batch norm, the mean and the variance of its input over
        the batch, while it normalises with them; None where there is no batch norm.
        """
        ...

    def set_norms(self, statistics: Sequence[FloatArray]) -> None:
        """Let moment probes run with what a norm probe gave, instead of the model's statistics."""
        ...

    def largest_value(self) -> int:
        """How many numbers the largest value inside the model holds for one input."""
        ...

    def readings(self) -> Sequence[Reading]:
        """Every consumer of every group but those that are unmeasured, in topological order."""
        ...

    def consumer(self, reading: Reading) -> Consumer:
        """One of :meth:`consumers`, alone."""
        ...

    def unfolded_numbers(self, reading: Reading) -> int:
        """How many numbers a moment probe holds for one input: rows times features."""
        ...

    def cut(self, readings: Sequence[Reading]) -> Sequence[Carried] | None:
        """The values that are live just before the first of some consumers runs.

        They are floating-point values that earlier nodes make and later nodes need, which changes
        of these consumers and of later ones do not touch but for channels that are removed; a model
        that is given them runs on from there. None where a graph cannot be cut.
        """
        ...

    def from_cut(self, start: Sequence[Carried]) -> bytes:
        """The model as it stands, serialised, which reads values at a cut as inputs of the names
        that :attr:`Carried.current` gives, instead of computing them.

        It takes states as the original does.
        """
        ...

    def moment_probe(
        self,
        readings: Sequence[Reading],
        *,
        rows: int | Sequence[int],
        samples: int,
        current: Span = ...,
        original: Span | None = None,
    ) -> bytes:
        """A model whose outputs are sums over the rows that consumers read, serialised.

        A row is one output position of one input; a feature is a channel at a tap, in the order of
        a consumer's weight (N, T). For each reading come ``count`` (1,), ``mean_x`` (F,) and
        ``scatter_x`` (F, F), the sum of products around that mean; then with targets ``mean_y``
        (O,), ``power_y`` (O,), the sum of squares around it, and ``cross`` (F, O), with y what
        these channels should give there: the original's output, plus what a sum behind it has lost
        in the working copy, less what the consumer makes of other groups' channels. Without
        targets, where the consumer feeds a sum, come ``mean_s`` and ``power_s`` (O,) of it.

        Rows may count differently, as before sigmoids at the model's end: all are weighted then,
        and ``count`` is the sum of the weights.

        Parameters
        ----------
        rows : int or sequence of int
            About how many rows to use at most, of each reading or of all alike.
        samples : int
            How many inputs the probe will see.
        current : Span
            The part of the working copy that runs, by default all. What it begins with are inputs
            of the names :attr:`Carried.current`; what it gives besides comes behind all sums.
        original : Span or None
            The part of the original, which gives the targets; the names are
            :attr:`Carried.original`, and what it gives besides comes last. None for no targets.
        """
        ...


@dataclass(frozen=True, eq=False)
class Pair:
    """Two fully connected layers, of which one makes all that the other reads.

    Attributes
    ----------
    maker : Reading
        The first of them, as a consumer of the group before.
    rows : bytes
        A model that gives for n inputs what the first reads now, (n, F), and what the second gave
        in the original, (n, O), serialised.
    between : bytes
        A model of what lies between, from (n, P) to (n, P), each channel by itself.
    """

    maker: Reading
    rows: bytes
    between: bytes


@runtime_checkable
class Pairable(Measurable, Protocol):
    """A graph that tells which fully connected layers can be fitted together."""

    def pair(self, reading: Reading) -> Pair | None:
        """A consumer, and the layer that makes all that it reads for nobody else, if there are."""
        ...


@runtime_checkable
class Informative(Graph, Protocol):
    """A graph that tells what its inputs are like."""

    def input_hints(self) -> Mapping[str, InputHint]:
        """What there is to tell, by the name of the input."""
        ...


@runtime_checkable
class Telling(Graph, Protocol):
    """A graph that knows what of the original its result does not have."""

    def told(self) -> Sequence[str]:
        """What the result does not carry over, or what of its interface has changed, a line each.

        The user must not miss it.
        """
        ...

    def precisions(self) -> Sequence[np.dtype[Any]]:
        """The floating-point types that the model computes in."""
        ...


@runtime_checkable
class GraphBackend(Protocol):
    """Opens models of one format."""

    name: str

    def accepts(self, model: Any) -> bool:
        """Whether ``model`` (a path or an object) is of this backend's format."""
        ...

    def open(self, model: Any) -> Graph:
        """Read the model; raises :class:`~nmcore.errors.ModelError` where it is broken."""
        ...


class Session(Protocol):
    """A model that is loaded and ready to run."""

    @property
    def inputs(self) -> Sequence[InputSpec]:
        """What the model wants."""
        ...

    @property
    def provider(self) -> str:
        """Where it runs now: ``"cpu"`` or ``"cuda"``; a run that fails there may end on the CPU."""
        ...

    @property
    def notice(self) -> str | None:
        """One line that a user should know, such as why CUDA is not used."""
        ...

    @property
    def threads(self) -> int:
        """How many threads one operator may use on the CPU."""
        ...

    def run(
        self, feeds: Mapping[str, NDArray[Any]], *, divisible: bool = False
    ) -> list[NDArray[Any]]:
        """All outputs, in the model's order.

        What is no tensor is an array of objects: a sequence a vector of what it holds.

        Parameters
        ----------
        feeds : mapping of input name to array
            What the model reads.
        divisible : bool
            Whether the caller will try with fewer inputs where memory does not suffice for these.
            Otherwise a device whose memory does not suffice is left for the CPU.

        Raises
        ------
        OutOfMemoryError
            Memory does not suffice.
        ModelError
            The model fails on these inputs.
        """
        ...


@runtime_checkable
class RuntimeBackend(Protocol):
    """Runs models."""

    name: str

    def check(self, providers: Sequence[str] = ("auto",)) -> None:
        """Raise :class:`~nmcore.errors.ArgumentError` unless it can run models on ``providers``.

        It is asked before anything that takes time.
        """
        ...

    def session(
        self, model: bytes | Path, *, providers: Sequence[str] = ("auto",), threads: int = 0
    ) -> Session:
        """Load a model on the first of ``providers`` that really starts."""
        ...
