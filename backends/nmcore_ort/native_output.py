"""Keep what native code prints from the user, and keep it for whoever debugs."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass

log = logging.getLogger("nmcore_ort")

# File descriptor 2 belongs to the whole process: two redirections must never overlap.
_LOCK = threading.RLock()
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class Captured:
    """What was printed meanwhile; filled in when the block ends."""

    text: str = ""


@contextlib.contextmanager
def captured_output() -> Iterator[Captured]:
    """Collect what native code writes to file descriptor 2 and Python code prints.

    The descriptor is restored whatever happens inside. The text, without colour codes, is in the
    yielded object afterwards and in the debug log of ``nmcore_ort``.

    Notes
    -----
    The descriptor is shared by all threads: what another thread writes to it meanwhile ends in
    the debug log too. Blocks are therefore short, and never stand around a running model.
    """
    captured = Captured()
    printed = io.StringIO()
    try:
        with _LOCK, contextlib.redirect_stdout(printed), _descriptor_captured(2, captured):
            yield captured
    finally:
        captured.text = _COLOUR.sub("", printed.getvalue() + captured.text).strip()
        if captured.text:
            log.debug("printed by onnxruntime:\n%s", captured.text)


@contextlib.contextmanager
def _descriptor_captured(descriptor: int, captured: Captured) -> Iterator[None]:
    try:
        saved = os.dup(descriptor)
    except OSError:  # A daemon may have closed it: then there is nothing to keep quiet.
        yield
        return
    with tempfile.TemporaryFile() as buffer:
        _flush_stderr()
        os.dup2(buffer.fileno(), descriptor)
        try:
            yield
        finally:
            _flush_stderr()
            os.dup2(saved, descriptor)
            os.close(saved)
            buffer.seek(0)
            captured.text = buffer.read().decode(errors="replace")


def _flush_stderr() -> None:
    # What waits in Python's buffer must land on the side of the redirection it was written on.
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
