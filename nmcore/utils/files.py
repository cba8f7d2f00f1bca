"""Writing files so that a crash leaves the old ones or none."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from nmcore.errors import ArgumentError

try:
    import fcntl
except ImportError:  # not on Windows, where what a killed process leaves stays
    fcntl = None  # type: ignore[assignment]

# What is being written; a dot in front hides it.
_PART = ".part"


def atomic_write(path: Path, data: bytes) -> None:
    """Write ``data`` beside ``path``, flush it to disk and rename it over ``path``.

    A link is followed, so that the file it points to is replaced and the link stays. What a killed
    process left of an earlier attempt is removed.

    Raises
    ------
    nmcore.errors.ArgumentError
        The folder does not exist or cannot be written to, or ``path`` is a directory.
    """
    check_writable(path)
    target = Path(os.path.realpath(path))
    try:
        _sweep(target)
        handle, name = tempfile.mkstemp(_PART, f".{target.name}.", target.parent)
    except OSError as error:
        raise ArgumentError(f"{path} cannot be written: {error.strerror}") from error
    try:
        with os.fdopen(handle, "wb") as file:
            _lock(handle)
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


def checked_path(given: object) -> Path:
    """The name of a file as a path.

    Raises
    ------
    nmcore.errors.ArgumentError
        It is none.

    Examples
    --------
    >>> checked_path("small.onnx").suffix
    '.onnx'
    >>> checked_path(None)
    Traceback (most recent call last):
    nmcore.errors.ArgumentError: path is None; the name of a file is needed
    """
    if not isinstance(given, (str, os.PathLike)) or not os.fspath(given):
        raise ArgumentError(f"path is {given!r}; the name of a file is needed")
    return Path(os.fsdecode(given))


def size_of(paths: Iterable[Path]) -> int:
    """The bytes of some files together."""
    return sum(path.stat().st_size for path in paths)


@dataclass(frozen=True)
class Draft:
    """A result of one or several files that is complete, but not yet where it belongs.

    Attributes
    ----------
    folder : Path
        Where the files lie for now.
    target : Path
        Where the main one goes, and the others beside it.
    """

    folder: Path
    target: Path

    @property
    def path(self) -> Path:
        """The main file."""
        return self.folder / self.target.name

    def size(self) -> int:
        """The bytes of all files."""
        return size_of(self.folder.iterdir())

    def publish(self, keep: Collection[Path] = ()) -> None:
        """Move the files to where they belong, the main one last: only then do the others count.

        Files of an earlier result beside the target are removed afterwards, but those of ``keep``.

        Raises
        ------
        nmcore.errors.ArgumentError
            They cannot be moved.
        """
        others = [path.name for path in self.folder.iterdir() if path != self.path]
        try:
            for name in others:
                os.replace(self.folder / name, self.target.parent / name)
            os.chmod(self.path, _mode(self.target))
            os.replace(self.path, self.target)
        except OSError as error:
            raise ArgumentError(f"{self.target} cannot be written: {error.strerror}") from error
        needed = {os.path.realpath(path) for path in keep}
        ours = re.compile(re.escape(self.target.name) + r"\.[0-9a-f]{12}\.data")
        for path in list(self.target.parent.iterdir()):
            stale = ours.fullmatch(path.name) and path.name not in others
            if stale and os.path.realpath(path) not in needed:
                path.unlink(missing_ok=True)


@contextlib.contextmanager
def drafting(path: Path) -> Iterator[Draft]:
    """A folder beside ``path`` to write a result into; it is gone at the end.

    Raises
    ------
    nmcore.errors.ArgumentError
        As :func:`atomic_write`; also where the disk is full.
    """
    check_writable(path)
    target = Path(os.path.realpath(path))
    try:
        _sweep(target)
        folder = Path(tempfile.mkdtemp(_PART, f".{target.name}.", target.parent))
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise ArgumentError(f"{path} cannot be written: {error.strerror}") from error
    try:
        _lock(handle)
        yield Draft(folder, target)
    except BrokenPipeError:  # whoever reads what is printed has gone; nothing is wrong here
        raise
    except OSError as error:
        raise ArgumentError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        os.close(handle)
        shutil.rmtree(folder, ignore_errors=True)


def _lock(handle: int) -> None:
    """Tell other processes that somebody is writing here; the lock ends with the process."""
    if fcntl is not None:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _sweep(target: Path) -> None:
    """Remove what killed processes left of earlier attempts at the same target."""
    if fcntl is None:
        return
    form = re.compile(re.escape(f".{target.name}.") + r"\w{8}" + re.escape(_PART))
    for path in [path for path in target.parent.iterdir() if form.fullmatch(path.name)]:
        with contextlib.suppress(OSError):
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while it is written
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            finally:
                os.close(handle)


def check_writable(path: Path) -> None:
    """Say in one line why a file cannot be written to ``path``, before the work is done."""
    if path.is_dir():
        raise ArgumentError(f"{path} is a directory; the name of a file is needed")
    if path.exists() and not path.is_file():
        raise ArgumentError(f"{path} is no regular file; the name of a file is needed")
    folder = Path(os.path.realpath(path)).parent
    if not folder.is_dir():
        raise ArgumentError(f"the folder {folder} does not exist")
    try:  # rights alone do not tell: root has them everywhere
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ArgumentError(f"the folder {folder} cannot be written to") from error


def _mode(target: Path) -> int:
    """The permissions of the file that is replaced, else what a new file would get."""
    if target.exists():
        return target.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
