"""Log lines: steps with their times at level DEBUG, and warnings that are given once a process."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

# The logger of what a user must not miss; the command line prints its warnings.
NOTICES = "nmcore.notices"
log = logging.getLogger(__name__)


@contextmanager
def step(text: str) -> Iterator[None]:
    """Log that a step begins, and how many seconds it took.

    Examples
    --------
    A listener at level DEBUG hears "refitting ..." and, in the end, "refitting: 1.25 s":

    >>> with step("refitting"):
    ...     pass
    """
    log.debug("%s ...", text)
    start = time.perf_counter()
    try:
        yield
    finally:
        log.debug("%s: %.2f s", text, time.perf_counter() - start)


@functools.cache
def tell(line: str) -> None:
    """Warn of something that changes what a run gives or how long it takes, once a process.

    It is a warning of the logger :data:`NOTICES`, which the command line prints, as does Python
    where :mod:`logging` is not set up.

    Examples
    --------
    >>> tell("going on with the CPU: the model does not start on CUDA")
    """
    logging.getLogger(NOTICES).warning("%s", line)


@functools.cache
def mention(line: str) -> None:
    """Say what was read or chosen, at level INFO, once a process; it calls for no action.

    The command line prints it; from Python it is seen where :mod:`logging` shows that level.

    Examples
    --------
    >>> mention("recordings: windows of 512 samples at 16000 Hz")
    """
    logging.getLogger(NOTICES).info("%s", line)
