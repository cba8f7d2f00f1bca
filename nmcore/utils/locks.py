"""A file that one run at a time may write, however long it takes and however it ends."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nmcore.errors import ArgumentError
from nmcore.utils.files import check_writable

try:
    import fcntl
except ImportError:  # not on Windows, where only threads of this process are kept out
    fcntl = None  # type: ignore[assignment]

# What threads of this process hold: a system's lock belongs to the whole process.
_held: set[Path] = set()
_guard = threading.Lock()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes and threads from taking ``path`` for theirs as well.

    The lock is a file beside it, removed at the end. What a killed process leaves of it is taken
    over by the next.

    Raises
    ------
    nmcore.errors.ArgumentError
        Another has the lock, or ``path`` cannot be written.
    """
    check_writable(path)
    target = Path(os.path.realpath(path))
    taken = ArgumentError(f"{path} is being written by another run; wait for it or name another")
    with _guard:
        if target in _held:
            raise taken
        _held.add(target)
    try:
        with _lock_file(target.with_name(f".{target.name}.lock"), taken):
            yield
    finally:
        _held.remove(target)


@contextmanager
def _lock_file(place: Path, taken: ArgumentError) -> Iterator[None]:
    if fcntl is None:
        yield
        return
    handle = None
    while handle is None:
        handle = _attempt(place, taken)
    try:
        yield
    finally:
        place.unlink(missing_ok=True)
        os.close(handle)


def _attempt(place: Path, taken: ArgumentError) -> int | None:
    """Open and lock a file; None where whoever had it has just removed it.

    Processes that are forked from here do not inherit such a lock, as they would that of ``flock``,
    and hold it when this one was killed.
    """
    try:
        handle = os.open(place, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ArgumentError(f"{place} cannot be written: {error.strerror}") from error
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(handle), os.stat(place)):
            return handle
    except (BlockingIOError, PermissionError):
        os.close(handle)
        raise taken from None
    except FileNotFoundError:
        pass
    except OSError:  # a file system without locks
        return handle
    os.close(handle)
    return None
