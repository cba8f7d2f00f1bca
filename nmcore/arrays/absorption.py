"""Folding Z into the weights that read the channels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from nmcore.arrays import validation
from nmcore.errors import ArgumentError
from nmcore.group import FloatArray, IntArray, Scaling
from nmcore.kernels.threads import workers

_BLOCK = 1 << 20


def absorb(
    next_weight: ArrayLike,
    scaling: Scaling,
    *,
    axis: int = 1,
    next_bias: ArrayLike | None = None,
    repeat: int = 1,
    out: FloatArray | None = None,
) -> tuple[FloatArray, FloatArray | None]:
    """Remove channels from the next layer's weight and fold what they did into the kept ones.

    Parameters
    ----------
    next_weight : float array, any rank, N * repeat entries on `axis`
        The weight that reads the channels.
    scaling : Scaling
        How the channels are rebuilt; from :func:`nmcore.scaling_matrix`.
    axis : int
        The axis that the channels are on: 1 for a convolution (O, N, ...) and for a fully connected
        layer (O, N), 0 for a matrix (N, O).
    next_bias : float array, shape (O,), or None
        The next layer's bias; outputs are on axis 0, or on axis 1 where the channels are on 0.
    repeat : int
        How many neighbouring entries of `axis` one channel owns: after a flatten, the pixels of a
        map.
    out : array or None
        Where to write the new weight: of its shape and type. It may be the leading part of
        `next_weight` itself, ``next_weight[:, :P]``, which then is overwritten.

    Returns
    -------
    weight : array, shape as `next_weight` with P * repeat entries on `axis`, same type
        ``V'[o, p, t] = sum over n of V[o, n, t] Z[p, n]``.
    bias : array, shape (O,), or None
        ``next_bias[o] + sum over n, t of V[o, n, t] shift[n]``; the bias as given where there is no
        shift, None where there is neither.

    Raises
    ------
    ArgumentError
        A ValueError; it names the argument, what it got and what it needs.

    Notes
    -----
    Sums are formed in float32, in float64 where an input is, and rounded once at the end. A merge
    has one number a column of Z, so it is a sum of scaled columns; any other Z is one matrix
    product.

    Examples
    --------
    >>> from nmcore.arrays.scaling import scaling_matrix
    >>> scaling = scaling_matrix(np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0]]), [0, 1])
    >>> absorb(np.array([[1.0, 10.0, 100.0]]), scaling)
    (array([[201.,  10.]]), None)

    After a flatten, each channel owns several columns (here 2):

    >>> absorb(np.array([[1.0, 2.0, 10.0, 20.0, 100.0, 200.0]]), scaling, repeat=2)[0]
    array([[201., 402.,  10.,  20.]])
    """
    if not isinstance(scaling, Scaling):
        raise ArgumentError(
            f"scaling: got {type(scaling).__name__}; need the Scaling that scaling_matrix gives, "
            "which holds Z"
        )
    weight = validation.next_layer(next_weight, scaling.width, axis, repeat)
    axis %= weight.ndim
    outputs = weight.shape[axis == 0] if weight.ndim > 1 else 1
    bias = validation.vector(next_bias, "next_bias", outputs)
    new_bias = _shifted_bias(weight, scaling.shift, bias, axis, repeat)
    return _new_weight(weight, scaling, axis, repeat, out), new_bias


def _new_weight(
    weight: FloatArray, scaling: Scaling, axis: int, repeat: int, out: FloatArray | None
) -> FloatArray:
    shape = (*weight.shape[:axis], len(scaling.kept) * repeat, *weight.shape[axis + 1 :])
    result = _target(out, shape, weight)
    old, new = _split(weight, axis, repeat), _split(result, axis, repeat)
    parts = list(_parts(old, axis))
    mix = _mixed if scaling.assignment is None else _merged

    # Each block is read whole before it is written, so that it may be written where it was read.
    def fill(start: int, stop: int) -> None:
        for part in parts[start:stop]:
            new[part] = mix(old[part], scaling, axis)

    if scaling.assignment is None or len(parts) == 1:
        fill(0, len(parts))  # the matrix product has threads of its own
    else:
        with workers(None) as pool:
            pool.each(fill, len(parts), 1)
    if out is not None and result is not out:
        out[...] = result
        return out
    return result


def _target(out: FloatArray | None, shape: tuple[int, ...], weight: FloatArray) -> FloatArray:
    """Where to write: `out` unless writing there would destroy what is yet to be read."""
    if out is None:
        return np.empty(shape, dtype=weight.dtype)
    if out.shape != shape or out.dtype != weight.dtype or not out.flags.writeable:
        raise ArgumentError(
            f"out: got a {'' if out.flags.writeable else 'read-only '}{out.dtype} array of shape "
            f"{out.shape}; need a writable {weight.dtype} array of shape {shape}"
        )
    leading = out.ctypes.data == weight.ctypes.data and out.strides == weight.strides
    if leading or not np.may_share_memory(out, weight):
        return out
    return np.empty(shape, dtype=weight.dtype)


def _split(array: FloatArray, axis: int, repeat: int) -> FloatArray:
    """The same memory with the channel axis split into (channels, repeat)."""
    shape = array.shape
    view = array.view()
    view.shape = (*shape[:axis], shape[axis] // repeat, repeat, *shape[axis + 1 :])
    return view


def _parts(array: FloatArray, axis: int) -> Iterator[tuple[Any, ...]]:
    """Slices over a leading axis that is not the channels', each about a block in size."""
    if axis == 0:
        step = max(1, _BLOCK * array.shape[-1] // array.size)
        for start in range(0, array.shape[-1], step):
            yield (Ellipsis, slice(start, start + step))
        return
    step = max(1, _BLOCK * array.shape[0] // array.size)
    for start in range(0, array.shape[0], step):
        yield (slice(start, start + step),)


def _working_type(weight: FloatArray) -> np.dtype[Any]:
    """At least float32, and never narrower than the weight."""
    return np.dtype(np.float32) if weight.dtype.itemsize <= 4 else weight.dtype


def _merged(block: FloatArray, scaling: Scaling, axis: int) -> FloatArray:
    """Sum of scaled columns: every kept channel and those that were merged into it."""
    assert scaling.assignment is not None
    assert scaling.scale is not None
    dtype = _working_type(block)
    order, starts = _by_target(scaling.assignment)
    shape = [1] * block.ndim
    shape[axis] = -1
    columns = block.take(order, axis=axis).astype(dtype, copy=False)
    columns *= scaling.scale[order].astype(dtype).reshape(shape)
    return np.add.reduceat(columns, starts, axis=axis)


def _by_target(assignment: IntArray) -> tuple[IntArray, IntArray]:
    """The channels that are rebuilt, grouped by kept position, and where each group starts."""
    order = np.argsort(assignment, kind="stable")
    order = order[np.count_nonzero(assignment < 0) :]
    starts = np.flatnonzero(np.diff(assignment[order], prepend=-1))
    return order, starts


def _mixed(block: FloatArray, scaling: Scaling, axis: int) -> FloatArray:
    """One matrix product with Z over the channel axis."""
    dtype = _working_type(block)
    Z = scaling.Z.astype(dtype, copy=False)
    flat = np.moveaxis(block, axis, -1).astype(dtype, copy=False)
    mixed = flat.reshape(-1, flat.shape[-1]) @ Z.T
    return np.moveaxis(mixed.reshape(*flat.shape[:-1], len(Z)), -1, axis)


def _shifted_bias(
    weight: FloatArray, shift: FloatArray | None, bias: FloatArray | None, axis: int, repeat: int
) -> FloatArray | None:
    """The next bias plus what the constant parts of the channels add to every output."""
    if shift is None:
        return bias
    constant = np.repeat(shift.astype(np.float64), repeat)
    # With the channels last the outputs come first, whichever axis they were on.
    outputs = np.moveaxis(np.atleast_2d(weight), axis if weight.ndim > 1 else 1, -1)
    added = np.array([np.sum(output.astype(np.float64) @ constant) for output in outputs])
    if bias is None:
        return added.astype(weight.dtype)
    total: FloatArray = (bias.astype(np.float64) + added).astype(bias.dtype)
    return total
