"""Reading arrays from an .npz."""

from __future__ import annotations

import mimetypes
import zipfile
import zlib
from pathlib import Path

import numpy as np

from nmcore.errors import DataError
from nmcore.group import Array


def read_npz(path: Path) -> dict[str, Array]:
    """The arrays of a file, by name.

    Raises
    ------
    DataError
        It cannot be read, or holds what is no plain array.
    """
    if path.is_dir():
        raise DataError(f"{path} is a directory; an .npz file is needed")
    if not path.is_file():
        raise DataError(f"{path} does not exist")
    if path.suffix.lower() == ".npy":
        raise DataError(
            f"{path} holds an array alone; an .npz is needed, as numpy.savez(file, x=array) writes"
        )
    try:
        # Pickles run code when they are read: a data file must never need one.
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive}
    # An array alone is no context manager: a TypeError, an AttributeError before Python 3.11.
    except (
        ValueError, TypeError, AttributeError, OSError, EOFError, zipfile.BadZipFile, zlib.error
    ):  # fmt: skip
        kind, _ = mimetypes.guess_type(path.name)
        if kind is not None and kind.startswith(("image/", "audio/")):
            raise DataError(f"{path} is one file; the folder that holds it is needed") from None
        raise DataError(f"{path} is no .npz of plain arrays, or is damaged") from None
