"""Numbers stored as integers: value = scale * (integer - zero point)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmcore_onnx.ir.arrays import Masks, computable, cut

Array = NDArray[Any]
Float = NDArray[np.float32]
# A scale and a zero point for each set of numbers that share them, shape (S, 1).
Candidate = tuple[Float, Float]

# From so many bits on integers are sums, which stay far from the largest ones.
_SUMS, _BYTE = 32, 8


@dataclass(frozen=True, eq=False)
class Affine:
    """An array stored as integers.

    Attributes
    ----------
    integers : array
        As they are stored, of any rank, of ``bits`` bits each.
    scale : float array
        A scalar, one entry for each position of ``axis``, or of the integers' shape with one entry
        for each block on ``axis``.
    zero : int array or None
        The zero points, of the scale's shape; None stands for 0.
    axis : int or None
        None where all share one scale.
    block : int
        How many neighbours on ``axis`` share a scale; 0 where all of one position do.
    bits : int
        How many bits an integer may take.
    """

    integers: Array
    scale: Array
    zero: Array | None = None
    axis: int | None = None
    block: int = 0
    bits: int = 8

    def values(self) -> Array:
        """The numbers, in the type of the scale.

        >>> Affine(np.array([[0, 4], [2, 2]], np.int8), np.float32([0.5, 2.0]), axis=0).values()
        array([[0., 2.],
               [4., 4.]], dtype=float32)
        """
        kind = np.int64 if self.bits >= _SUMS else np.int32
        numbers = self.integers.astype(kind) - self._full(self._zeros.astype(kind))
        product = numbers.astype(np.float32) * self._full(computable(self.scale))
        with np.errstate(over="ignore"):  # as the model itself has it
            return product.astype(self.scale.dtype)

    def transposed(self, order: Sequence[int]) -> Affine:
        """The same with its axes in another order."""
        found = replace(self, integers=np.transpose(self.integers, order))
        if self.axis is None:
            return found
        found = replace(found, axis=list(order).index(self.axis))
        if not self.block:
            return found
        scale, zero = (None if a is None else a.transpose(order) for a in (self.scale, self.zero))
        assert scale is not None
        return replace(found, scale=scale, zero=zero)

    def requantised(
        self, values: Array, kept: Masks | None = None, *, scale: Array | None = None
    ) -> Affine:
        """Other numbers in the same form.

        What has only lost entries keeps its integers. Else each set of numbers that share a scale
        keeps that, or gets one that their range asks for, whichever gives the smaller sum of
        squared errors; the zero point stays where it is the middle of the type.

        Parameters
        ----------
        values : array
            Of the same rank, with as many entries as ``kept`` leaves where it tells.
        kept : mapping of axis to mask, optional
            Which entries of the integers are left.
        scale : array, optional
            The scale to use, of the shape that ``values`` ask for.
        """
        left = self._left(values.shape, kept or {})
        if left is not None and scale is None and np.array_equal(left.values(), values):
            return left
        if scale is not None:
            zero = None if self.zero is None else np.full(scale.shape, self.zero.reshape(-1)[0])
            fixed = replace(self, scale=scale, zero=zero)
            return replace(fixed, integers=fixed._rounded(values))
        if self.zero is None and not self._is_signed:  # which cannot hold a number below zero
            zeros = np.zeros(self.scale.shape, self.integers.dtype)
            return replace(self, zero=zeros)._fitted(values, left)
        return self._fitted(values, left)

    def _fitted(self, values: Array, left: Affine | None) -> Affine:
        """With the best scale of each set; ``left`` is what is left of the integers."""
        sets = self._sets(computable(values).astype(np.float32))
        (scale, zero), *others = self._candidates(sets, left)
        least = self._error(sets, scale, zero)
        best = scale, zero
        for scale, zero in others:
            error = self._error(sets, scale, zero)
            better = ~(error >= least)
            least = np.where(better, error, least)
            best = np.where(better, scale, best[0]), np.where(better, zero, best[1])
        shape = self._scale_shape(values.shape)
        scale = best[0].reshape(shape).astype(self.scale.dtype)
        found = replace(self, scale=scale)
        if self.zero is not None:
            found = replace(found, zero=best[1].reshape(shape).astype(self.zero.dtype))
        return replace(found, integers=found._rounded(values))

    def _candidates(self, sets: Float, left: Affine | None) -> Iterator[Candidate]:
        """The scale that a set had, then those that its range asks for."""
        if left is not None:
            scale, zero = computable(left.scale), left._zeros
            yield scale.reshape(-1, 1), zero.reshape(-1, 1).astype(np.float32)
        low, high = self._levels
        least, most = sets.min(1, keepdims=True), sets.max(1, keepdims=True)
        if self._is_symmetric:
            middle = np.full_like(least, self._zeros.reshape(-1)[0])
            below, above = middle - low, high - middle
            yield self._stored(np.maximum(most / above, -least / np.maximum(below, 1))), middle
            if (self.scale < 0).any():  # the number furthest from zero takes the lowest level
                furthest = np.where(-least > most, least, most)
                yield self._stored(-furthest / below), middle
        else:
            least, most = np.minimum(least, 0), np.maximum(most, 0)
            scale = self._stored((most - least) / (high - low))
            yield scale, np.clip(np.round(low - least / scale), low, high)

    def _stored(self, scale: Float) -> Float:
        """A scale as its type holds it, and none that is zero; 1 where all numbers are.

        Rounded away from zero: to the nearest, the number furthest from zero could be cut off by
        more than a level, where the type holds few digits of so small a scale.
        """
        kind = self.scale.dtype
        stored = scale.astype(kind)
        less = np.abs(computable(stored)) < np.abs(scale)
        away = np.where(np.signbit(scale), -np.inf, np.inf).astype(kind)
        further = np.nextafter(stored, away)
        stored = np.where(less & np.isfinite(further), further, stored)
        found = computable(stored).astype(np.float32)
        return np.where((scale == 0) | ~np.isfinite(found), np.float32(1), found)

    def _error(self, sets: Float, scale: Float, zero: Float) -> Float:
        """The sum of squared errors of each set, shape (S, 1)."""
        low, high = self._limits
        with np.errstate(divide="ignore", invalid="ignore"):
            rounded = (np.clip(np.round(sets / scale) + zero, low, high) - zero) * scale
        result: Float = np.square(rounded - sets).sum(1, keepdims=True)
        return result

    def _rounded(self, values: Array) -> Array:
        """The integers nearest to the values, with this scale."""
        low, high = self._limits
        numbers = computable(values).astype(np.float64) / self._full(
            computable(self.scale).astype(np.float64), values.shape
        )
        zero = self._full(self._zeros, values.shape)
        return np.clip(np.round(numbers) + zero, low, high).astype(self.integers.dtype)

    # what shares a scale

    def _left(self, shape: tuple[int, ...], kept: Masks) -> Affine | None:
        """What is left of the integers; None where that is not of ``shape``, or ends in a block."""
        integers = cut(self.integers, kept)
        if integers.shape != shape or (self.block and self.axis in kept):
            return None
        masks = dict(kept)
        if self.axis is None:
            masks = {}
        elif not self.block:
            masks = {0: kept[self.axis]} if self.axis in kept else {}
        scale, zero = (None if a is None else cut(a, masks) for a in (self.scale, self.zero))
        assert scale is not None
        return replace(self, integers=integers, scale=scale, zero=zero)

    def _scale_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if self.axis is None:
            return self.scale.shape
        if not self.block:
            return (shape[self.axis],)
        blocks = -(-shape[self.axis] // self.block)
        return (*shape[: self.axis], blocks, *shape[self.axis + 1 :])

    def _sets(self, values: Float) -> Float:
        """The numbers, those that share a scale in one row; zeros fill up the last block."""
        if self.axis is None:
            return values.reshape(1, -1)
        if not self.block:
            return np.moveaxis(values, self.axis, 0).reshape(values.shape[self.axis], -1)
        missing = -values.shape[self.axis] % self.block
        widths = [(0, missing if axis == self.axis else 0) for axis in range(values.ndim)]
        values = np.moveaxis(np.pad(values, widths), self.axis, -1)
        blocks = values.reshape(*values.shape[:-1], -1, self.block)
        # In the order of the scale's entries, where blocks stand on their axis.
        return np.moveaxis(blocks, -2, self.axis).reshape(-1, self.block)

    def _full(self, each: Array, shape: tuple[int, ...] | None = None) -> Array:
        """Scales or zero points so that they broadcast to the integers."""
        shape = self.integers.shape if shape is None else shape
        if self.axis is None:
            return each.reshape(())
        if self.block:
            spread = np.repeat(each, self.block, self.axis)
            return np.take(spread, range(shape[self.axis]), self.axis)
        return each.reshape([-1 if axis == self.axis else 1 for axis in range(len(shape))])

    # levels

    @cached_property
    def _zeros(self) -> NDArray[np.int64]:
        """The zero points, of the scale's shape."""
        if self.zero is None:
            return np.zeros(self.scale.shape, np.int64)
        return self.zero.astype(np.int64)

    @property
    def _is_signed(self) -> bool:
        kind: Array = self.integers.dtype.type(0) - np.array(1, self.integers.dtype)
        return bool(kind.astype(np.int64) < 0)

    @property
    def _limits(self) -> tuple[int, int]:
        """The least and the largest integer."""
        if self._is_signed:
            return -(2 ** (self.bits - 1)), 2 ** (self.bits - 1) - 1
        return 0, 2**self.bits - 1

    @cached_property
    def _largest(self) -> int:
        """The largest magnitude among integers and zero points."""
        return max(_magnitude(self.integers), _magnitude(self._zeros))

    @cached_property
    def _is_reduced(self) -> bool:
        """Whether one of eight bits is left unused.

        On purpose: products of eight and seven bits do not overflow on processors that add pairs of
        them in 16 bits.
        """
        return self.bits == _BYTE and 0 < self._largest <= (64 if self._is_signed else 127)

    @cached_property
    def _is_symmetric(self) -> bool:
        """Whether all zero points are the middle of the levels."""
        bits = self.bits - self._is_reduced
        middle = 0 if self._is_signed else 2 ** (bits - 1)
        return bool((self._zeros == middle).all())

    @cached_property
    def _levels(self) -> tuple[int, int]:
        """Which integers to use: as many as the original does."""
        low, high = self._limits
        if self.bits >= _SUMS:
            return low // 2, high // 2
        if self._is_reduced:
            low, high = (-64, 64) if self._is_signed else (0, 127)
        if self._is_symmetric and int(self.integers.min(initial=high)) > low:
            low = max(low, 2 * int(self._zeros.reshape(-1)[0]) - high)
        return low, high


def _magnitude(integers: Array) -> int:
    return int(np.abs(integers.astype(np.int64)).max(initial=0))
