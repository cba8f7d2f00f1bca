"""Inputs for a model from a data file or from arrays.

A data file is an .npz with ``x`` (n, ...) and optionally the class numbers ``y`` (n,). ``x`` stays
as it lies in the file; only the batch in use is converted, so a uint8 file is never held as floats.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nmcore.data.dataset import Dataset
from nmcore.data.images import Pictures
from nmcore.data.layout import channel_axis
from nmcore.data.normalisation import Normalisation, normalisation
from nmcore.errors import DataError
from nmcore.group import Array
from nmcore.utils.text import shape_text

# What errors call data that lies in no file.
IN_MEMORY = "data"
# What was given, opened: inputs, or pictures that are read once the model's input is known.
Opened = Dataset | Pictures
# So many numbers are looked through at a time.
_CHUNK = 2**22


# What a caller may hand over as data; see :func:`load` and :func:`in_memory`.
DataLike = str | Path | Opened | ArrayLike | Mapping[str, ArrayLike] | Sequence[str | Path]


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
        An .npz with ``x`` and optionally ``y``.
    samples : int, optional
        Use the first so many.
    scale, mean, std : float or sequence of float, optional
        Batches become ``(x / scale - mean) / std``; mean and std are one number or one a channel.
        Without any of them ``x`` is handed over as it is.

    Raises
    ------
    DataError
        The file cannot be read, or what it holds does not fit together.
    """
    arrays = _read_npz(Path(path), ("x", "y"))
    if "x" not in arrays:
        raise DataError(f"{path} holds no array named x")
    steps = normalisation(scale, mean, std)
    found = _dataset(str(path), arrays["x"], arrays.get("y"), samples, steps)
    return replace(found, path=Path(path))


def in_memory(
    data: Any,
    *,
    samples: int | None = None,
    scale: float | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Dataset | Pictures:
    """Data that a caller holds, as :func:`load` would return it.

    Parameters
    ----------
    data : array, mapping of str to array, or sequence of path
        The inputs (n, ...); or under the name ``x``, or the only one besides ``y``, with the
        classes ``y`` (n,); or the files of pictures, which are read once the model is known.
    samples, scale, mean, std
        As in :func:`load`.

    Raises
    ------
    DataError
        It is none of these, or what it holds does not fit together.

    Examples
    --------
    >>> in_memory({"x": np.zeros((4, 2)), "y": [0, 1, 1, 0]}, samples=3).y
    array([0, 1, 1])
    """
    steps = normalisation(scale, mean, std)
    if _are_paths(data):
        return Pictures(_picture_files(data), steps)
    if not isinstance(data, Mapping):
        return _dataset(IN_MEMORY, as_array(data, IN_MEMORY), None, samples, steps)
    arrays = {name: as_array(array, f"{IN_MEMORY}: {name}") for name, array in data.items()}
    y = arrays.pop("y", None)
    if "x" not in arrays and len(arrays) != 1:
        names = ", ".join(map(str, data)) or "nothing"
        raise DataError(f"{IN_MEMORY} holds {names}; one array named x is needed")
    x = arrays["x"] if "x" in arrays else next(iter(arrays.values()))
    return _dataset(IN_MEMORY, x, y, samples, steps)


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
        f"{name} is of type {type(value).__name__}; a file, an array, a mapping of arrays or a "
        "list of picture files is needed"
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
    name: str, x: Array, y: Array | None, samples: int | None, steps: Normalisation | None
) -> Dataset:
    if x.ndim == 0 or len(x) == 0 or x.dtype.kind not in "uifb":
        raise DataError(
            f"{name}: x is {x.dtype} of shape {shape_text(x.shape)}; "
            "numbers of shape (n, ...) are needed"
        )
    labels = None if y is None else _labels(name, y, len(x))
    if samples is not None:
        if samples < 1:
            raise DataError(f"samples is {samples}; it must be at least 1")
        x, labels = x[:samples], None if labels is None else labels[:samples]
    check_finite(name, "x", x)
    if steps is None:
        return Dataset(name, x, labels)
    return Dataset(name, x, labels, steps, channel_axis(x.shape, steps.channels))


def check_finite(name: str, what: str, array: Array) -> None:
    """Raise where an array holds NaN or infinity: one such number would spoil every figure.

    Raises
    ------
    DataError
        It does; the message says how many, and where the first is.

    Examples
    --------
    >>> check_finite("d.npz", "x", np.array([[0.0, 1.0], [np.nan, np.inf]]))
    Traceback (most recent call last):
    nmcore.errors.DataError: d.npz: x holds NaN or infinity: 2 numbers, in 1 of 2 inputs, ...
    """
    if array.dtype.kind != "f":
        return
    broken = np.concatenate([*_broken(array)]) if len(array) else np.zeros(0, np.intp)
    (rows,) = np.nonzero(broken)
    if rows.size:
        count = int(broken.sum())
        raise DataError(
            f"{name}: {what} holds NaN or infinity: {count:,} number{'s' if count > 1 else ''}, "
            f"in {rows.size:,} of {len(array):,} inputs, the first of which is number {rows[0]} "
            "(from 0); mend or leave them out"
        )


def _broken(array: Array) -> Iterator[NDArray[np.intp]]:
    """How many numbers of each input are none, a chunk at a time."""
    step = max(1, _CHUNK * len(array) // max(1, array.size))
    for start in range(0, len(array), step):
        part = array[start : start + step]
        yield np.count_nonzero(~np.isfinite(part.reshape(len(part), -1)), axis=1)


def load_arrays(
    path: str | Path, names: Sequence[str]
) -> tuple[dict[str, Array], NDArray[np.int64] | None]:
    """Read those arrays of some names that a file holds, and the classes ``y`` where it does.

    Raises
    ------
    DataError
        The file cannot be read, or the classes are none.
    """
    return _with_classes(str(path), _read_npz(Path(path), [*names, "y"]), names)


def arrays_of(
    data: Mapping[str, ArrayLike], names: Sequence[str]
) -> tuple[dict[str, Array], NDArray[np.int64] | None]:
    """The same of a mapping."""
    wanted = [name for name in (*names, "y") if name in data]
    found = {name: as_array(data[name], f"{IN_MEMORY}: {name}") for name in wanted}
    return _with_classes(IN_MEMORY, found, names)


def _with_classes(
    where: str, found: dict[str, Array], names: Sequence[str]
) -> tuple[dict[str, Array], NDArray[np.int64] | None]:
    if "y" not in found or "y" in names:
        return found, None
    y = found.pop("y")
    return found, _labels(where, y, len(y) if y.ndim else 0)


def normalised(data: Opened, steps: Normalisation | None) -> Opened:
    """Data that goes through what the options say, or through what it says itself.

    Raises
    ------
    DataError
        Both say something, and not the same.

    Examples
    --------
    >>> normalised(Dataset("d", np.full((1, 2), 255)), normalisation(255, None, None)).batch(0, 1)
    array([[1., 1.]], dtype=float32)
    """
    if steps is None or data.normalisation == steps:
        return data
    if data.normalisation is not None:
        raise DataError(
            f"{data.name} has a normalisation of its own; leave out scale, mean and std"
        )
    if isinstance(data, Pictures):
        return Pictures(data.source, steps)
    return replace(_dataset(data.name, data.x, data.y, None, steps), path=data.path)


def open_data(data: Any, steps: Normalisation | None = None) -> Opened | None:
    """Data in whatever form it is given, read once; None where none is given.

    Parameters
    ----------
    data : path, array, mapping of str to array, sequence of path, Dataset, Pictures or None
        A file for :func:`load`, a folder of pictures, or what :func:`in_memory` takes.
    steps : Normalisation or None
        What raw inputs go through.

    Raises
    ------
    DataError
        It cannot be read, or is none of these.
    """
    if data is None:
        return None
    if isinstance(data, (Dataset, Pictures)):
        return normalised(data, steps)
    form: dict[str, Any] = {}
    if steps is not None:
        form = {"scale": steps.scale, "mean": steps.mean, "std": steps.std}
    if not isinstance(data, (str, Path)):
        return in_memory(data, **form)
    return Pictures(Path(data), steps) if Path(data).is_dir() else load(data, **form)


def _read_npz(path: Path, names: Sequence[str]) -> dict[str, Array]:
    if path.is_dir():
        raise DataError(f"{path} is a directory; an .npz file is needed")
    if not path.is_file():
        raise DataError(f"{path} does not exist")
    try:
        # Pickles run code when they are read: a data file must never need one.
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in names if name in archive}
    # An array alone is no context manager: a TypeError, an AttributeError before Python 3.11.
    except (
        ValueError, TypeError, AttributeError, OSError, EOFError, zipfile.BadZipFile, zlib.error
    ):  # fmt: skip
        raise DataError(f"{path} is no .npz of plain arrays, or is damaged") from None


def _labels(name: str, y: Array, count: int) -> NDArray[np.int64]:
    if y.shape != (count,):
        raise DataError(
            f"{name}: y has shape {shape_text(y.shape)}; "
            f"one class number for each of the {count} inputs is needed"
        )
    if y.dtype.kind not in "ui":
        raise DataError(f"{name}: y is {y.dtype}; class numbers must be integers")
    return y.astype(np.int64)
