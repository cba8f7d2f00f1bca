"""Inputs for a model from a data file, from arrays, or from feeds.

A data file is an .npz with an array (n, ...) for each input of the model, by its name, or with
``x`` for a model with one; and optionally the class numbers ``y`` (n,). Arrays stay as they lie in
the file; only the batch in use is converted, so a uint8 file is never held as floats.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from nmcore.data.binding import LABELS, UNNAMED, is_ragged
from nmcore.data.dataset import Dataset
from nmcore.data.feeds import FeedList
from nmcore.data.finite import check_finite
from nmcore.data.folder import Folder, files_in
from nmcore.data.images import Pictures
from nmcore.data.layout import channel_axis
from nmcore.data.normalisation import Normalisation, normalisation
from nmcore.data.npz import read_npz
from nmcore.data.sounds import Sounds
from nmcore.errors import DataError
from nmcore.group import Array
from nmcore.utils.text import shape_text

# What errors call data that lies in no file.
IN_MEMORY = "data"
# What was given, opened: inputs, or what becomes inputs once those of the model are known.
Opened = Dataset | Folder | FeedList

Feed = Mapping[str, ArrayLike]


class FeedReader(Protocol):
    """What hands out feeds one by one, as onnxruntime's ``CalibrationDataReader`` does."""

    def get_next(self) -> Feed | None:
        """The next feed; None after the last."""
        ...


# What a caller may hand over as data; see :func:`load` and :func:`in_memory`.
DataLike = (
    str | Path | Opened | ArrayLike | Feed | Iterable[Feed] | FeedReader | Sequence[str | Path]
)


def load(
    path: str | Path,
    *,
    samples: int | None = None,
    scale: float | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Dataset:
    """Read a data file.

    Parameters
    ----------
    path : path
        An .npz with ``x``, or with an array for each input of a model by its name, and optionally
        the classes ``y`` (or ``labels``).
    samples : int, optional
        Use the first so many.
    scale, mean, std : float or sequence of float, optional
        Batches of a single array become ``(x / scale - mean) / std``; mean and std are one number
        or one a channel. Without any of them arrays are handed over as they are.

    Raises
    ------
    DataError
        The file cannot be read, or what it holds does not fit together.
    """
    return _of_file(Path(path), samples, normalisation(scale, mean, std))


def _of_file(path: Path, samples: int | None, steps: Normalisation | None) -> Dataset:
    return replace(_dataset(str(path), read_npz(path), samples, steps), path=path)


def in_memory(
    data: Any,
    *,
    samples: int | None = None,
    scale: float | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Opened:
    """Data that a caller holds, as :func:`load` would return it.

    Parameters
    ----------
    data : array, mapping, sequence of path, iterable of mapping, or reader
        The inputs (n, ...) of a model with one; or what a file for :func:`load` would hold, an
        array for each name; or the files of pictures, which are read once the model is known; or
        feeds, in each of which inputs have the shapes that the model takes, with a batch axis or
        without: a list, a generator, which is read to its end, or an object whose ``get_next()``
        gives one after the other and then None, such as onnxruntime's ``CalibrationDataReader``.
        Feeds may differ in their shapes, as texts do in their lengths.
    samples, scale, mean, std
        As in :func:`load`; not of feeds, which are handed over as they are.

    Raises
    ------
    DataError
        It is none of these, or what it holds does not fit together.

    Examples
    --------
    >>> in_memory({"x": np.zeros((4, 2)), "y": [0, 1, 1, 0]}, samples=3).y
    array([0, 1, 1])
    >>> texts = in_memory([{"ids": np.zeros((1, 7), int)}, {"ids": np.zeros((1, 9), int)}])
    >>> len(texts)
    2
    """
    return _in_memory(data, samples, normalisation(scale, mean, std))


def _in_memory(data: Any, samples: int | None, steps: Normalisation | None) -> Opened:
    if _are_paths(data):
        return Pictures(_picture_files(data), steps)
    feeds = _feeds(data)
    if feeds is not None:
        if steps is not None:
            raise DataError(f"{IN_MEMORY} is fed as it is; leave out scale, mean and std")
        return FeedList(IN_MEMORY, feeds[: None if samples is None else samples])
    if not isinstance(data, Mapping):
        return _dataset(IN_MEMORY, {UNNAMED: as_array(data, IN_MEMORY)}, samples, steps)
    arrays = {name: as_array(array, f"{IN_MEMORY}: {name}") for name, array in data.items()}
    return _dataset(IN_MEMORY, arrays, samples, steps)


def _feeds(data: Any) -> list[dict[str, Array]] | None:
    """What is handed out feed by feed; None for other data."""
    if callable(getattr(data, "get_next", None)):
        given: Iterator[Any] = iter(data.get_next, None)
    elif isinstance(data, Iterator) or (
        isinstance(data, (list, tuple)) and len(data) and isinstance(data[0], Mapping)
    ):
        given = iter(data)
    else:
        return None
    found = []
    for number, feed in enumerate(given):
        where = f"{IN_MEMORY}: feed {number} (from 0)"
        if not isinstance(feed, Mapping):
            raise DataError(f"{where} is of type {type(feed).__name__}; a mapping is needed")
        arrays = {name: _number_array(array, f"{where}: {name}") for name, array in feed.items()}
        for name, array in arrays.items():
            check_finite(where, name, np.atleast_1d(array))
        found.append(arrays)
    if not found:
        raise DataError(f"{IN_MEMORY} holds no feed")
    return found


def _number_array(value: Any, name: str) -> Array:
    """An array, or a single number as one."""
    if isinstance(value, (int, float, np.generic)):
        return np.asarray(value)
    return as_array(value, name)


def as_array(value: Any, name: str) -> Array:
    """An array, or what can be converted into one.

    Raises
    ------
    DataError
        It does not.
    """
    if isinstance(value, (list, tuple)) or hasattr(value, "__array__"):
        try:
            return np.asarray(value)
        except (ValueError, TypeError, RuntimeError):  # rows of different lengths, or on a device
            pass
    raise DataError(
        f"{name} is of type {type(value).__name__}; a file, an array, a mapping of arrays, a "
        "list of picture files or feeds are needed"
    )


def _picture_files(paths: Sequence[str | Path]) -> tuple[Path, ...]:
    for path in paths:
        if not Path(path).is_file():
            raise DataError(f"{path} does not exist, or is no file; a picture is needed")
    return tuple(map(Path, paths))


def _are_paths(data: Any) -> bool:
    return (
        isinstance(data, (list, tuple))
        and len(data) > 0
        and all(isinstance(each, (str, Path)) for each in data)
    )


def _dataset(
    name: str, arrays: Mapping[str, Array], samples: int | None, steps: Normalisation | None
) -> Dataset:
    if samples is not None and samples < 1:
        raise DataError(f"samples is {samples}; it must be at least 1")
    inputs = dict(arrays)
    label = next((each for each in LABELS if each in inputs and len(inputs) > 1), None)
    y = None if label is None else inputs.pop(label)
    if y is not None and y.dtype.kind in "ui":
        y = y.astype(np.int64)
    for each, array in inputs.items():
        _check_numbers(name, each, array)
    alone = UNNAMED if UNNAMED in inputs else "".join(inputs) if len(inputs) == 1 else None
    if steps is None:
        found = Dataset(name, inputs, y)
    elif alone is None or is_ragged(inputs[alone]):  # the model's inputs tell which is meant
        found = Dataset(name, inputs, y, steps)
    else:
        axis = channel_axis(inputs[alone].shape, steps.channels)
        found = Dataset(name, {alone: inputs[alone]}, y, steps, axis)
    return found if samples is None else found.first(samples)


def _check_numbers(name: str, what: str, array: Array) -> None:
    if what == UNNAMED and array.ndim and not len(array):
        raise DataError(f"{name}: x holds no input, it is of shape {shape_text(array.shape)}")
    usable = array.ndim > 0
    if what == UNNAMED and not (usable and (array.dtype.kind in "uifb" or is_ragged(array))):
        raise DataError(
            f"{name}: x is {array.dtype} of shape {shape_text(array.shape)}; "
            "numbers of shape (n, ...) are needed"
        )
    if array.ndim:
        check_finite(name, what, array)


def normalised(data: Opened, steps: Normalisation | None) -> Opened:
    """Data that goes through what the options say, or through what it says itself.

    Raises
    ------
    DataError
        Both say something, and not the same.

    Examples
    --------
    >>> data = normalised(Dataset("d", np.full((1, 2), 255)), normalisation(255, None, None))
    >>> data.take("x", slice(1), np.float32)
    array([[1., 1.]], dtype=float32)
    """
    if steps is None or data.normalisation == steps:
        return data
    if data.normalisation is not None:
        raise DataError(
            f"{data.name} has a normalisation of its own; leave out scale, mean and std"
        )
    if isinstance(data, Folder):
        return type(data)(data.source, steps, data.labels)
    if isinstance(data, FeedList):
        raise DataError(f"{data.name} is fed as it is; leave out scale, mean and std")
    return replace(_dataset(data.name, data.arrays, None, steps), y=data.y, path=data.path)


def open_data(
    data: Any, steps: Normalisation | None = None, labels: Path | None = None
) -> Opened | None:
    """Data in whatever form it is given, read once; None where none is given.

    Parameters
    ----------
    data : path, array, mapping, sequence of path, iterable of mapping, reader, Opened or None
        A file for :func:`load`, a folder of pictures or of sound, or what :func:`in_memory` takes.
    steps : Normalisation or None
        What raw inputs go through.
    labels : Path or None
        A table of the classes of a folder's files; see :class:`nmcore.data.folder.Folder`.

    Raises
    ------
    DataError
        It cannot be read, or is none of these; or there are labels, and no folder.
    """
    is_folder = isinstance(data, (str, Path)) and Path(data).is_dir()
    if labels is not None and not is_folder:
        if data is None:
            raise DataError("labels are of the files in a folder, and no data was given")
        named = data if isinstance(data, (str, Path)) else f"of type {type(data).__name__}"
        raise DataError(
            f"labels are of the files in a folder; data is {named}, and its classes would be y"
        )
    if data is None:
        return None
    if isinstance(data, (Dataset, Folder, FeedList)):
        return normalised(data, steps)
    if not isinstance(data, (str, Path)):
        return _in_memory(data, None, steps)
    return (
        open_folder(Path(data), steps, labels) if is_folder else _of_file(Path(data), None, steps)
    )


def open_folder(
    path: Path, steps: Normalisation | None = None, labels: Path | None = None
) -> Folder:
    """A folder of pictures, or of sound.

    Raises
    ------
    DataError
        It holds both.
    """
    if not files_in(path, Sounds.suffixes):
        return Pictures(path, steps, labels)
    if files_in(path, Pictures.suffixes):
        raise DataError(f"{path} holds pictures and sounds; files of one kind are needed")
    return Sounds(path, steps, labels)
