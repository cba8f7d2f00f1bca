"""One number of threads for BLAS and for our own passes, and no more than that at any time.

BLAS and the other passes take turns: while one works, the other's threads sleep. Our passes release
the interpreter lock and run on a plain thread pool, so no second threading runtime is started.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from threadpoolctl import ThreadpoolController

_VARIABLES = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS")


def thread_count(threads: int | None = None) -> int:
    """How many threads to use: the argument, else the environment's limit, else every core allowed.

    Parameters
    ----------
    threads : int or None
        What the user asked for.

    Returns
    -------
    int
        At least 1.

    Examples
    --------
    >>> thread_count(3)
    3
    """
    if threads is not None:
        return max(1, threads)
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    limits = [int(v) for v in map(os.environ.get, _VARIABLES) if v and v.isdigit() and int(v) > 0]
    return min([cores, *limits])


class _BlasLimit:
    """The number of BLAS threads, which is one for the whole process.

    Several callers may ask for a number at once; the least of them holds, since some sums depend
    on it, and what was set before the first came is set again when the last has gone.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: list[int] = []
        self._blas: ThreadpoolController | None = None
        self._before: Any = None

    def enter(self, threads: int) -> None:
        with self._lock:
            if self._blas is None:
                self._blas = ThreadpoolController().select(user_api="blas")
            self._asked.append(threads)
            if len(self._asked) == 1:
                self._before = self._blas.limit(limits=threads)
            else:
                self._hold(self._blas)

    def leave(self, threads: int) -> None:
        with self._lock:
            self._asked.remove(threads)
            if self._asked and self._blas is not None:
                self._hold(self._blas)
            else:
                self._before.restore_original_limits()

    def _hold(self, blas: ThreadpoolController) -> None:
        for library in blas.lib_controllers:
            library.set_num_threads(min(self._asked))


_limit = _BlasLimit()


@contextmanager
def blas_threads(threads: int) -> Iterator[None]:
    """Let BLAS use this many threads inside the block, and what it used before afterwards.

    Examples
    --------
    >>> import numpy as np
    >>> with blas_threads(1):
    ...     float(np.dot(np.ones(3), np.ones(3)))
    3.0
    """
    _limit.enter(threads)
    try:
        yield
    finally:
        _limit.leave(threads)


class Workers:
    """A pool that calls a function on ranges of rows; made by :func:`workers`."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._pool: ThreadPoolExecutor | None = None

    def each(self, function: Callable[[int, int], object], count: int, grain: int) -> None:
        """Call ``function(start, stop)`` on consecutive ranges of at most `grain` out of `count`.

        Parameters
        ----------
        function : callable
            Writes its results for rows ``start`` to ``stop``; ranges never overlap.
        count, grain : int
            How many rows there are, and how many one call takes.
        """
        grain = max(1, grain)
        # The threads draw from one iterator: cheaper than a task a range, and none waits for
        # another.
        starts = iter(range(0, count, grain))

        def draw() -> None:
            for start in starts:
                function(start, min(start + grain, count))

        helpers = min(self.threads, -(-count // grain)) - 1
        if helpers > 0 and self._pool is None:
            self._pool = ThreadPoolExecutor(self.threads - 1)
        waiting = [self._pool.submit(draw) for _ in range(helpers)] if self._pool else []
        draw()
        for helper in waiting:
            helper.result()

    def halves(self, function: Callable[[int, int], object], count: int, least: int) -> None:
        """Like :meth:`each`, in one range a thread, but never fewer than `least` rows in one."""
        self.each(function, count, max(1, least, -(-count // self.threads)))

    def close(self) -> None:
        """Let the threads go."""
        if self._pool is not None:
            self._pool.shutdown()


@contextmanager
def workers(threads: int | None) -> Iterator[Workers]:
    """Give a pool of `threads`, with BLAS held to the same number for as long.

    Examples
    --------
    >>> squares = [0] * 5
    >>> def fill(start, stop):
    ...     for n in range(start, stop):
    ...         squares[n] = n * n
    >>> with workers(2) as pool:
    ...     pool.each(fill, count=5, grain=2)
    >>> squares
    [0, 1, 4, 9, 16]
    """
    pool = Workers(thread_count(threads))
    try:
        with blas_threads(pool.threads):
            yield pool
    finally:
        pool.close()
