"""CIFAR-10 for training, from the archive that its authors publish or from an .npz."""

from __future__ import annotations

import sys
import tarfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]
# One byte of class, then 1024 of red, of green and of blue.
RECORD = 1 + 3 * 32 * 32
TRAINING, TEST = "data_batch", "test_batch"


def load(path: Path, kind: str = TRAINING) -> tuple[Images, Labels]:
    """Read images (n, 3, 32, 32) and classes (n,).

    Parameters
    ----------
    path : Path
        ``cifar-10-binary.tar.gz``, or an .npz with ``x`` and ``y``.
    kind : {"data_batch", "test_batch"}
        Which files of the archive; an .npz has but one set.
    """
    try:
        x, y = _from_npz(path) if path.suffix == ".npz" else _from_archive(path, kind)
    except (OSError, KeyError, ValueError, tarfile.TarError) as error:
        sys.exit(f"{path} is neither CIFAR-10's binary archive nor an .npz of x and y: {error}")
    if x.dtype != np.uint8 or x.shape[1:] != (3, 32, 32) or y.shape != x.shape[:1]:
        sys.exit(f"{path}: x {x.dtype} {x.shape} and y {y.shape}; expected uint8 (n, 3, 32, 32)")
    return x, y.astype(np.int64)


def _from_npz(path: Path) -> tuple[Images, Labels]:
    with np.load(path) as file:
        return file["x"], file["y"]


def _from_archive(path: Path, kind: str) -> tuple[Images, Labels]:
    parts = []
    with tarfile.open(path) as archive:
        members = {Path(each.name).name: each for each in archive.getmembers() if each.isfile()}
        for name in sorted(each for each in members if each.startswith(kind)):
            file = archive.extractfile(members[name])
            assert file is not None
            parts.append(np.frombuffer(file.read(), np.uint8).reshape(-1, RECORD))
    records = np.concatenate(parts)
    return records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0].astype(np.int64)
