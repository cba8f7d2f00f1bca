"""Finding the plugins that are installed, and opening models with them."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from nmcore.errors import ArgumentError, ModelError
from nmcore.plugins.capabilities import Sizable
from nmcore.plugins.open_sizes import Stated
from nmcore.plugins.protocols import Graph, GraphBackend, RuntimeBackend

ENTRY_POINT_GROUP = "nmcore.backends"


def installed() -> Iterator[Any]:
    """Every plugin object that an installed package offers, in the order of their names."""
    for entry in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda entry: entry.name):
        yield entry.load()


def open_graph(model: Any, stated: Stated | None = None) -> Graph:
    """Open a model with the first backend that accepts it.

    Parameters
    ----------
    model : path or object
        A file, or whatever object an installed backend understands.
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
