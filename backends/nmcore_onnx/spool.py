"""Arrays that may be too many for memory: the first ones stay there, the others go to disk."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from nmcore.errors import ArgumentError

Array = NDArray[Any]

# So many bytes stay in memory: the changed weights of most models, whole.
MEMORY = 2**25


class Spool:
    """A place for arrays that are written once and read some time later.

    Parameters
    ----------
    memory : int, optional
        So many bytes stay in memory; 32 MiB by default.

    Examples
    --------
    >>> spool = Spool(memory=8)
    >>> first, second = spool.put(np.arange(2)), spool.put(np.ones((2, 2)))
    >>> second()
    array([[1., 1.],
           [1., 1.]])
    """

    def __init__(self, memory: int | None = None) -> None:
        self._left = MEMORY if memory is None else memory
        self._file: IO[bytes] | None = None

    def put(self, array: Array) -> Callable[[], Array]:
        """Keep an array, and return what gives it back; it must not be written to afterwards.

        Raises
        ------
        nmcore.errors.ArgumentError
            The disk is full.
        """
        if array.nbytes <= self._left:
            self._left -= array.nbytes
            return lambda: array
        if self._file is None:
            # Without a name on disk: nothing is left behind, however the process ends.
            self._file = tempfile.TemporaryFile(dir=_folder())  # noqa: SIM115
        file, shape, dtype = self._file, array.shape, array.dtype
        try:
            place = file.seek(0, os.SEEK_END)
            file.write(np.ascontiguousarray(array).data)
        except OSError as error:
            raise ArgumentError(
                f"{_folder()} has no room for {array.nbytes:,} bytes of changed weights "
                f"({error.strerror}); set TMPDIR to a folder that has"
            ) from error

        def read() -> Array:
            found = np.empty(shape, dtype)
            file.seek(place)
            file.readinto(found.data)  # type: ignore[attr-defined]
            return found

        return read


def _folder() -> Path:
    """Where large temporary files go: /tmp is memory on many systems, /var/tmp is on none."""
    lasting = Path("/var/tmp")
    if "TMPDIR" not in os.environ and lasting.is_dir() and os.access(lasting, os.W_OK):
        return lasting
    return Path(tempfile.gettempdir())
