"""Fashion-MNIST as NumPy arrays, and the two small samples of it that lie beside this file."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

DEFAULT_DATA = Path("/usr/share/datasets/fashion-mnist")
CLASSES = 10
MEAN, STD = 0.2860, 0.3530
SAMPLE_SEED = 0

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]


class DataError(Exception):
    """The data set is absent or is not what its file names promise."""


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read one gzipped idx file of unsigned bytes.

    The header is two zero bytes, the type code 8, the rank, then one big-endian 32-bit size per
    axis.

    Raises
    ------
    DataError
        If the file is absent, is not gzip, has another header or another length.
    """
    try:
        raw = gzip.decompress(path.read_bytes())
    except FileNotFoundError:
        raise DataError(
            f"{path} not found: install Debian's package dataset-fashion-mnist "
            "(apt-get install dataset-fashion-mnist) or point --data at the idx .gz files"
        ) from None
    except (OSError, EOFError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    if len(raw) < 4 or raw[:3] != b"\x00\x00\x08":
        raise DataError(f"{path} is not an idx file of unsigned bytes")
    start = 4 + 4 * raw[3]
    shape = tuple(int.from_bytes(raw[i : i + 4], "big") for i in range(4, start, 4))
    if len(raw) - start != np.prod(shape, dtype=np.int64):
        raise DataError(f"{path} is cut short or too long: its header says shape {shape}")
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


def load_split(folder: Path, split: str) -> tuple[Images, Labels]:
    """Return images (n, 1, 28, 28) and labels (n,) of the split ``"train"`` or ``"t10k"``."""
    images = read_idx(folder / f"{split}-images-idx3-ubyte.gz")
    labels = read_idx(folder / f"{split}-labels-idx1-ubyte.gz")
    if images.shape[1:] != (28, 28) or labels.shape != images.shape[:1]:
        raise DataError(
            f"{folder}: {split} has images {images.shape} and labels {labels.shape}, "
            "expected (n, 28, 28) and (n,)"
        )
    return images[:, None], labels.astype(np.int64)


def normalise(images: Images) -> NDArray[np.float32]:
    """Return what the models read: ``(x / 255 - 0.2860) / 0.3530`` as float32."""
    pixels = images.astype(np.float32) / np.float32(255)
    return (pixels - np.float32(MEAN)) / np.float32(STD)


def balanced_sample(labels: Labels, per_class: int, seed: int = SAMPLE_SEED) -> NDArray[np.int64]:
    """Return sorted indices with ``per_class`` of every class.

    They are sorted by position in the data set, not by class, so that any prefix is a fair mix.
    """
    rng = np.random.default_rng(seed)
    picks = [
        rng.choice(np.flatnonzero(labels == label), per_class, replace=False)
        for label in range(CLASSES)
    ]
    return np.sort(np.concatenate(picks))


def write_samples(train: Images, test: Images, test_labels: Labels, folder: Path) -> Labels:
    """Write ``test_1000.npz`` (x, y) and ``calibration_256.npz`` (x).

    Returns
    -------
    ndarray of int64, shape (1000,)
        The indices of ``test_1000.npz`` in the test set.
    """
    chosen = balanced_sample(test_labels, 1000 // CLASSES)
    np.savez_compressed(folder / "test_1000.npz", x=test[chosen], y=test_labels[chosen])
    rng = np.random.default_rng(SAMPLE_SEED)
    unlabelled = np.sort(rng.choice(len(train), 256, replace=False))
    np.savez_compressed(folder / "calibration_256.npz", x=train[unlabelled])
    return chosen
