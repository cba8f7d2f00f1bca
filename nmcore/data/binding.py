"""Which array of the data feeds which input of a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from nmcore.errors import DataError
from nmcore.group import Array
from nmcore.plugins.inputs import InputSpec
from nmcore.utils.text import shape_text

# What the array for a model's one input may be called, besides that input's own name; what NumPy
# calls an array that was saved without a name.
UNNAMED, SAVED = "x", "arr_0"
# What the classes of the inputs may be called.
LABELS = ("y", "labels")


def by_input(
    name: str, arrays: Mapping[str, Array], inputs: Sequence[InputSpec]
) -> dict[str, Array]:
    """Return the array for each input of a model, under the name of the input.

    A model with one input takes the array of its name, the one called ``x``, or the only one (the
    input of another model may have another name); with several, each takes the array of its name.
    Arrays that no input takes are left out: tokenizers make more than some models read. States
    without an array are zero.

    Parameters
    ----------
    name : str
        What errors call the data.
    arrays : mapping of str to array, shape (n, ...)
        For each input n entries: rows along its batch axis, where they have as many axes less one
        as the input, or whole inputs, where they have as many. Entries of different shapes are an
        array of objects, shape (n,).
    inputs : sequence of InputSpec
        Of the model.

    Raises
    ------
    DataError
        An input has no array, or one of another shape or type, or lengths differ.

    Examples
    --------
    >>> spec = InputSpec("ids", (None, 4), np.dtype(np.int64))
    >>> sorted(by_input("d", {"x": np.zeros((5, 4), int)}, [spec]))
    ['ids']
    >>> by_input("d", {"a": np.zeros((5, 4), int), "b": np.zeros(5)}, [spec])
    Traceback (most recent call last):
    nmcore.errors.DataError: d holds no array named ids or x, int64 of shape (n, 4); it holds a, b
    """
    if not inputs:
        raise DataError(f"{name}: the model has no inputs, so no data can be fed")
    given = [spec for spec in inputs if not (spec.state and spec.name not in arrays)]
    sources = {spec.name: _source(name, arrays, spec, given) for spec in given}
    found = {}
    for spec in given:
        source = sources[spec.name]
        _check(name, source, arrays[source], spec, alone=len(inputs) == 1)
        found[spec.name] = arrays[source]
    if len({len(array) for array in found.values()}) > 1:
        shapes = ", ".join(f"{each} {shape_text(array.shape)}" for each, array in found.items())
        raise DataError(f"{name}: arrays of one length, above 0, are needed; it holds {shapes}")
    count = len(next(iter(found.values())))
    return {
        spec.name: found[spec.name] if spec.name in found else _first_state(spec, count)
        for spec in inputs
    }


def _first_state(spec: InputSpec, count: int) -> Array:
    """What ``count`` inputs begin with where nothing has run before: zeros, or none of them."""
    shape = tuple(
        (0 if axis == spec.grows else 1) if size is None else size
        for axis, size in enumerate(spec.shape)
    )
    whole = bool(spec.shape) and shape[0] != 1
    return np.zeros((count, *(shape if whole else shape[1:])), spec.dtype)


def _source(
    name: str, arrays: Mapping[str, Array], spec: InputSpec, inputs: Sequence[InputSpec]
) -> str:
    """The name of the array that feeds an input."""
    if spec.name in arrays:
        return spec.name
    alone = len(inputs) == 1
    if alone and UNNAMED in arrays:
        return UNNAMED
    if alone and len(arrays) == 1:
        return next(iter(arrays))
    raise _missing(name, arrays, spec, inputs)


def check_named(
    name: str, arrays: Mapping[str, Array], inputs: Sequence[InputSpec], holds: Sequence[str]
) -> None:
    """Raise where nothing says that the only array is for a model's one input.

    Parameters
    ----------
    holds : sequence of str
        What all arrays of the data are called, those of classes as well.

    Raises
    ------
    DataError
        Its name is neither that of the input, nor ``x``, nor what NumPy calls one without a name.
    """
    given = [spec for spec in inputs if not (spec.state and spec.name not in arrays)]
    if len(given) == 1 and not {given[0].name, UNNAMED, SAVED}.intersection(arrays):
        raise _missing(name, holds, given[0], given)


def _missing(
    name: str, holds: Iterable[str], spec: InputSpec, inputs: Sequence[InputSpec]
) -> DataError:
    """That there is no array for an input."""
    alone = len(inputs) == 1
    called = f"{spec.name} or {UNNAMED}" if alone and spec.name != UNNAMED else spec.name
    wanted = f"{spec.dtype} of shape {shape_text(spec.shape)}"
    several = ""
    if not alone:
        names = ", ".join(each.name for each in inputs)
        several = f"; the model needs an array of the name of each input: {names}"
    held = ", ".join(holds) or "nothing"
    return DataError(f"{name} holds no array named {called}, {wanted}; it holds {held}{several}")


def is_ragged(array: Array) -> bool:
    """Whether an array holds entries of different shapes, as objects."""
    return array.dtype == object and array.ndim == 1 and isinstance(array[0], np.ndarray)


def shapes_in(array: Array) -> list[tuple[int, ...]]:
    """The shapes of the entries of an array: one, or that of each where they differ.

    >>> shapes_in(np.zeros((5, 3, 2)))
    [(3, 2)]
    """
    return [each.shape for each in array] if is_ragged(array) else [array.shape[1:]]


def is_whole(array: Array, spec: InputSpec) -> bool:
    """Whether each entry is a whole input rather than a row along its batch axis."""
    return len(shapes_in(array)[0]) == len(spec.shape)


def _check(name: str, source: str, array: Array, spec: InputSpec, *, alone: bool) -> None:
    """Raise unless an array can feed an input."""
    if array.ndim == 0 or len(array) == 0:
        raise DataError(
            f"{name}: {source} is {array.dtype} of shape {shape_text(array.shape)}; arrays of one "
            "length, above 0, are needed"
        )
    whole = is_whole(array, spec)
    wanted = spec.shape if whole else spec.shape[1:]
    for shape in dict.fromkeys(shapes_in(array)):
        # A row of an input without axes would be less than a number; with one input alone, an axis
        # too many is more probably a mistake.
        allowed = not (alone and spec.shape) if whole else bool(spec.shape)
        fits = allowed and len(shape) == len(wanted)
        if not fits or any(w not in (None, g) for g, w in zip(shape, wanted, strict=True)):
            given = shape if is_ragged(array) else array.shape
            other = "" if alone else ", or that with one more axis in front"
            raise DataError(
                f"{name}: {source} has shape {shape_text(given)}; the model's input {spec.name!r} "
                f"needs {shape_text(spec.shape)}{other}"
            )
    for part in array if is_ragged(array) else (array,):
        check_dtype(name, source, part, spec)


def check_dtype(name: str, source: str, array: Array, spec: InputSpec) -> None:
    """Raise unless numbers can be converted to what an input takes: whole ones without any loss.

    Raises
    ------
    DataError
        They cannot.

    Examples
    --------
    >>> spec = InputSpec("ids", (None,), np.dtype(np.int32))
    >>> check_dtype("d", "x", np.array([0, 30_000]), spec)
    >>> check_dtype("d", "x", np.array([0, 2**40]), spec)
    Traceback (most recent call last):
    nmcore.errors.DataError: d: x holds numbers from 0 to 1099511627776; ... takes int32
    """
    takes = spec.dtype
    if array.dtype.kind in "iu" and takes.kind in "iub":
        low, high = int(array.min(initial=0)), int(array.max(initial=0))
        least, most = (0, 1) if takes.kind == "b" else _limits(takes)
        if least <= low and high <= most:
            return
        raise DataError(
            f"{name}: {source} holds numbers from {low} to {high}; the model's input {spec.name!r} "
            f"takes {takes}"
        )
    if not np.can_cast(array.dtype, takes, "same_kind"):
        raise DataError(
            f"{name}: {source} is {array.dtype}; the model's input {spec.name!r} takes {takes}"
        )


def _limits(dtype: np.dtype[Any]) -> tuple[int, int]:
    info = np.iinfo(dtype)
    return int(info.min), int(info.max)
