"""Sequences divided by the size of what they hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def in_chunks(
    items: Iterable[Item], size_of: Callable[[Item], float], most: float
) -> Iterator[list[Item]]:
    """Items in their order, in lists of at most ``most`` in all; one that is larger is alone.

    Examples
    --------
    >>> list(in_chunks([3, 1, 9, 2, 2], float, 4))
    [[3, 1], [9], [2, 2]]
    """
    chunk: list[Item] = []
    size = 0.0
    for item in items:
        needed = size_of(item)
        if chunk and size + needed > most:
            yield chunk
            chunk, size = [], 0.0
        chunk.append(item)
        size += needed
    if chunk:
        yield chunk
