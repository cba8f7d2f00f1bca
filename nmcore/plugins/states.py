"""States of models: inputs that take what an output gave in the run before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast, runtime_checkable

from numpy.typing import NDArray

from nmcore.plugins.inputs import InputHint, InputSpec
from nmcore.plugins.protocols import Graph, Informative, Session


@dataclass(frozen=True)
class StateChange:
    """An input or output that is a state, and has lost channels.

    Attributes
    ----------
    name : str
        What it is called.
    output : bool
        Whether it is an output.
    before, after : tuple of int or None
        Its shape, with None for axes of any length.
    """

    name: str
    output: bool
    before: tuple[int | None, ...]
    after: tuple[int | None, ...]


@runtime_checkable
class Stateful(Graph, Protocol):
    """A graph whose states can shrink with the layers that they belong to."""

    def with_states(self) -> Graph:
        """The same model, of which also those channels can be removed that are states."""
        ...

    def states(self) -> Sequence[StateChange]:
        """Which inputs and outputs have another shape than in the original."""
        ...

    def serialize_alike(self) -> bytes:
        """The compressed model with inputs of the shapes that the original has, serialised."""
        ...


def state_changes(graph: Any) -> Sequence[StateChange]:
    """Which inputs and outputs have another shape than in the original, as far as told."""
    return graph.states() if isinstance(graph, Stateful) else ()


def serialized_alike(graph: Graph) -> bytes:
    """A compressed model that can be fed with what the original is fed with."""
    return graph.serialize_alike() if isinstance(graph, Stateful) else graph.serialize()


class _Restored:
    """A compressed graph that was read again, with what the one before knew of its states."""

    def __init__(self, graph: Graph, changes: Sequence[StateChange], alike: bytes) -> None:
        self._graph, self._changes, self._alike = graph, tuple(changes), alike

    def with_states(self) -> Graph:
        """See :class:`Stateful`."""
        return cast(Graph, self)

    def states(self) -> Sequence[StateChange]:
        """See :class:`Stateful`."""
        return self._changes

    def serialize_alike(self) -> bytes:
        """See :class:`Stateful`."""
        return self._alike

    def __getattr__(self, name: str) -> Any:
        return getattr(self._graph, name)


def restored(graph: Graph, changes: Sequence[StateChange], alike: bytes | None) -> Graph:
    """A compressed graph that was read from a file, and still tells how its states have changed.

    Parameters
    ----------
    changes : sequence of StateChange
        What :meth:`Stateful.states` gave before it was written.
    alike : bytes or None
        What :meth:`Stateful.serialize_alike` gave, where there are changes.
    """
    return graph if alike is None else cast(Graph, _Restored(graph, changes, alike))


def all_states(graph: Any) -> Mapping[str, str]:
    """The output that gives what each state is next, by the name of the input; the past of a
    decoder, which grows, is one too.
    """
    hints = _hints(graph).items()
    return {name: hint.next_state for name, hint in hints if hint.next_state is not None}


def next_states(graph: Any) -> Mapping[str, str]:
    """The output that gives what each state is next; see :func:`following`."""
    return following(_hints(graph))


def following(hints: Mapping[str, InputHint]) -> Mapping[str, str]:
    """The output that gives what each state is next, by the name of the input, but for those that
    grow.
    """
    return {
        name: hint.next_state
        for name, hint in hints.items()
        if hint.next_state is not None and hint.grows is None
    }


def _hints(graph: Any) -> Mapping[str, InputHint]:
    return graph.input_hints() if isinstance(graph, Informative) else {}


def with_hints(inputs: Sequence[InputSpec], hints: Mapping[str, InputHint]) -> Sequence[InputSpec]:
    """Inputs that tell which of them are states, and along which axis they grow."""
    return tuple(
        replace(spec, state=hint.next_state is not None, grows=hint.grows)
        if (hint := hints.get(spec.name)) is not None
        else spec
        for spec in inputs
    )


class _Marked:
    """A session whose inputs tell which of them are states."""

    def __init__(self, session: Session, hints: Mapping[str, InputHint]) -> None:
        self._session = session
        self.inputs = with_hints(session.inputs, hints)

    def run(
        self, feeds: Mapping[str, NDArray[Any]], *, divisible: bool = False
    ) -> list[NDArray[Any]]:
        """See :class:`~nmcore.plugins.protocols.Session`."""
        return self._session.run(feeds, divisible=divisible)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


def marked(session: Session, graph: Any) -> Session:
    """The session of a graph, whose inputs tell which of them are states."""
    hints = _hints(graph)
    states = any(hint.next_state is not None for hint in hints.values())
    return _Marked(session, hints) if states else session


def narrowed(
    feeds: Mapping[str, NDArray[Any]], inputs: Sequence[InputSpec]
) -> dict[str, NDArray[Any]]:
    """What another model is fed with whose states are smaller: the first entries of each.

    They are states of neither run, but take as long.
    """
    bounds = {spec.name: tuple(slice(size) for size in spec.shape) for spec in inputs if spec.state}
    return {name: array[bounds[name]] if name in bounds else array for name, array in feeds.items()}
