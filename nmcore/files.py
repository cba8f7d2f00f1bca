"""Writing files so that a crash leaves the old one or none."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from nmcore.errors import ArgumentError


def atomic_write(path: Path, data: bytes) -> None:
    """Write ``data`` beside ``path``, flush it to disk and rename it over ``path``.

    A link is followed, so that the file it points to is replaced and the link stays.

    Raises
    ------
    nmcore.errors.ArgumentError
        The folder does not exist or cannot be written to, or ``path`` is a directory.
    """
    check_writable(path)
    target = Path(os.path.realpath(path))
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    except OSError as error:
        raise ArgumentError(f"{path} cannot be written: {error.strerror}") from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, _mode(target))
        os.replace(name, target)
    except OSError as error:
        raise ArgumentError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)


def check_writable(path: Path) -> None:
    """Say in one line why a file cannot be written to ``path``, before the work is done."""
    if path.is_dir():
        raise ArgumentError(f"{path} is a directory; the name of a file is needed")
    if path.exists() and not path.is_file():
        raise ArgumentError(f"{path} is no regular file; the name of a file is needed")
    folder = Path(os.path.realpath(path)).parent
    if not folder.is_dir():
        raise ArgumentError(f"the folder {folder} does not exist")
    if not os.access(folder, os.W_OK):
        raise ArgumentError(f"the folder {folder} cannot be written to")


def _mode(target: Path) -> int:
    """The permissions of the file that is replaced, else what a new file would get."""
    if target.exists():
        return target.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
