"""A disk cache: the first arrays stay in memory, the others go to a temporary file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmcore.errors import ArgumentError

Array = NDArray[Any]

# So many bytes stay in memory: the changed weights of most models, whole.
MEMORY = 2**25


class DiskCache:
    """A cache for arrays that are written once and read later.

    Parameters
    ----------
    memory : int, optional
        So many bytes stay in memory; 32 MiB by default.

    Examples
    --------
    >>> cache = DiskCache(memory=8)
    >>> first, second = cache.put(np.arange(2)), cache.put(np.ones((2, 2)))
    >>> second()
    array([[1., 1.],
           [1., 1.]])
    """

    def __init__(self, memory: int | None = None) -> None:
        self._left = MEMORY if memory is None else memory
        self._file: FileIO | None = None
        # Arrays are written while the next one is computed, one at a time.
        self._writer = ThreadPoolExecutor(1)
        self._end = 0
        self._written: Future[None] | None = None

    def put(self, array: Array) -> Callable[[], Array]:
        """Keep an array, and return what gives it back; it must not be written to afterwards.

        Raises
        ------
        nmcore.errors.ArgumentError
            The disk is full. What gives an array back may say so as well.
        """
        if array.nbytes <= self._left:
            self._left -= array.nbytes
            return lambda: array
        if self._file is None:
            # Without a name on disk: nothing is left behind, however the process ends.
            # Without a buffer either: what does not fit is told where it is written.
            self._file = tempfile.TemporaryFile(dir=_folder(), buffering=0)  # noqa: SIM115
        self._settle()
        file, shape, dtype = self._file, array.shape, array.dtype
        place, self._end = self._end, self._end + array.nbytes
        self._written = self._writer.submit(_write, file, place, array)

        def read() -> Array:
            self._settle()
            found = np.empty(shape, dtype)
            file.seek(place)
            _read(file, found)
            return found

        return read

    def _settle(self) -> None:
        """Wait until everything is in the file."""
        if self._written is not None:
            self._written.result()


def _write(file: FileIO, place: int, array: Array) -> None:
    try:
        file.seek(place)
        rest = _bytes(np.ascontiguousarray(array))
        while len(rest):
            rest = rest[file.write(rest) :]
    except OSError as error:
        raise ArgumentError(
            f"{_folder()} has no room for {array.nbytes:,} bytes of changed weights "
            f"({error.strerror}); set TMPDIR to a folder that has"
        ) from error


def _read(file: FileIO, array: Array) -> None:
    """Fill an array from where the file is."""
    rest = _bytes(array)
    while len(rest):
        count = file.readinto(rest)
        assert count, "the file is shorter than what was written to it"
        rest = rest[count:]


def _bytes(array: Array) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _folder() -> Path:
    """Where large temporary files go: /tmp is memory on many systems, /var/tmp is on none."""
    lasting = Path("/var/tmp")
    if "TMPDIR" not in os.environ and lasting.is_dir() and os.access(lasting, os.W_OK):
        return lasting
    return Path(tempfile.gettempdir())
