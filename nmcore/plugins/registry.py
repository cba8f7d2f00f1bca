"""Finding the plugins that are installed, and opening models with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from nmcore.errors import ArgumentError, ModelError
from nmcore.plugins.capabilities import Sizable
from nmcore.plugins.open_sizes import Stated
from nmcore.plugins.protocols import Graph, GraphBackend, RuntimeBackend

ENTRY_POINT_GROUP = "nmcore.backends"
# A model file, its content, or an object that an installed backend understands.
ModelLike = str | Path | bytes | Any


def installed() -> Iterator[Any]:
    """Every plugin object that an installed package offers, in the order of their names."""
    for entry in offered():
        yield entry.load()


@cache  # each look reads what every installed package says of itself
def offered() -> Sequence[EntryPoint]:
    """Where installed packages offer plugins, in the order of their names."""
    return sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda entry: entry.name)


def models_in(given: ModelLike | Sequence[ModelLike]) -> list[ModelLike]:
    """One model, or several, as a list; names of files become paths.

    >>> models_in("a.onnx") == models_in([Path("a.onnx")])
    True
    """
    if isinstance(given, (str, Path, bytes)) or not isinstance(given, Iterable):
        given = [given]
    return [Path(each) if isinstance(each, str) else each for each in given]


def names_of(models: Sequence[ModelLike]) -> list[str]:
    """What models are called: as their files, as given, or by their place.

    >>> names_of([Path("a.onnx"), b"..."])
    ['a.onnx', 'model 2']
    """
    return [
        str(model) if isinstance(model, Path) else f"model {place}"
        for place, model in enumerate(models, 1)
    ]


def open_graph(model: ModelLike, stated: Stated | None = None) -> Graph:
    """Open a model with the first backend that accepts it.

    Parameters
    ----------
    model : path, bytes or object
        A file, its content, or whatever object an installed backend understands.
    stated : mapping of str to shape, optional
        At which shapes of its inputs it is counted, where it leaves sizes open; see
        :func:`nmcore.plugins.open_sizes.with_stated`.

    Raises
    ------
    ModelError
        The file does not exist, or no installed backend accepts it.
    ArgumentError
        The shapes do not fit the model.
    """
    graph = _opened(model)
    if stated:
        if not isinstance(graph, Sizable):
            raise ArgumentError("input-shape: the backend of the model counts at no stated sizes")
        graph.set_sizes(stated)
    return graph


def _opened(model: Any) -> Graph:
    if isinstance(model, (str, Path)):
        model = Path(model)
        check_file(model)
    names = []
    for backend in installed():
        if isinstance(backend, GraphBackend):
            names.append(backend.name)
            if backend.accepts(model):
                return backend.open(model)
    what = model if isinstance(model, Path) else f"an object of type {type(model).__name__}"
    known = ", ".join(names) or "none"
    raise ModelError(f"{what} is of no format that an installed backend opens ({known})")


def check_file(path: Path) -> None:
    """Raise ModelError unless there is a file that could be a model."""
    if path.is_dir():
        raise ModelError(f"{path} is a directory; a model file is needed")
    if not path.is_file():
        raise ModelError(f"{path} does not exist")


def runtime() -> RuntimeBackend:
    """Return the first installed runtime.

    Raises
    ------
    ArgumentError
        No installed package offers one.
    """
    for backend in installed():
        if isinstance(backend, RuntimeBackend):
            return backend
    raise ArgumentError("no plugin that runs models is installed; nmcore brings one")
