"""Digests by which a plan recognises the model and the data that it was made with."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from typing import Any

from nmcore.data.binding import is_ragged
from nmcore.data.feeds import FeedList
from nmcore.data.folder import Folder
from nmcore.data.loading import Opened, open_folder
from nmcore.errors import ArgumentError
from nmcore.group import Array
from nmcore.plan.plan import Source
from nmcore.plugins.protocols import Graph

_CHUNK = 2**20


def of_model(model: Any, graph: Graph) -> Source:
    """The digest of a model file, or of an object as it is just after it was opened."""
    if isinstance(model, (str, Path)):
        return _of_files(Path(model).name, _files(Path(model), graph))
    content = model if isinstance(model, bytes) else graph.serialize()
    return Source(None, hashlib.sha256(content).hexdigest())


def in_background(model: Any, graph: Graph) -> Callable[[], Source]:
    """Begin :func:`of_model`, and return what waits for it: files are read in another thread.

    Where something else fails first nobody waits; the thread then reads to the end of the file, or
    until the process ends.
    """
    if not isinstance(model, (str, Path)):
        found = of_model(model, graph)
        return lambda: found
    path, paths = Path(model), _files(Path(model), graph)
    future: Future[Source] = Future()

    def read() -> None:
        try:
            future.set_result(_of_files(path.name, paths))
        except BaseException as error:
            future.set_exception(error)

    Thread(target=read, daemon=True).start()
    return future.result


def of_data(data: Opened, samples: int) -> Source:
    """The digest of the file of the data, of the files of a folder that are used, or of arrays."""
    if isinstance(data, Folder):
        return _of_files(Path(data.name).name, data.files(samples))
    if isinstance(data, FeedList):
        return Source(None, _of_arrays(data.feeds, ""))
    if data.path is not None:
        return of_path(data.path, samples)
    return Source(None, _of_arrays([data.arrays], str(data.normalisation)))


def _of_arrays(feeds: Iterable[Mapping[str, Array]], how: str) -> str:
    digest = hashlib.sha256(how.encode())
    for feed in feeds:
        for name, array in sorted(feed.items()):
            for part in array if is_ragged(array) else (array,):
                digest.update(f"{name} {part.dtype} {part.shape}".encode())
                digest.update(part.tobytes() if part.dtype != object else repr(part).encode())
    return digest.hexdigest()


def of_path(path: Path, samples: int) -> Source:
    """The digest of a data file, or of the files of a folder that are used."""
    files = open_folder(path).files(samples) if path.is_dir() else [path]
    return _of_files(path.name, files)


def of_labelled(path: Path, labels: Path | None = None) -> Source:
    """The digest of a data file; or of all files of a folder, their names, and their classes."""
    if not path.is_dir():
        return of_path(path, 1)
    folder = open_folder(path, labels=labels)
    files = folder.files()
    names = "\n".join(each.relative_to(path).as_posix() for each in files)
    return _of_files(path.name, [*files, *([folder.table] if folder.table else [])], names)


def _files(model: Path, graph: Graph) -> list[Path]:
    return [model, *graph.data_files()]


def _of_files(name: str, paths: Iterable[Path], names: str = "") -> Source:
    digest = hashlib.sha256(names.encode())
    for path in paths:
        try:
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
        except OSError as error:  # it was there when the model was opened
            raise ArgumentError(f"{path} can no longer be read: {error.strerror}") from error
    return Source(name, digest.hexdigest())
