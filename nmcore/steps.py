"""What is going on, for ``--debug`` or any other listener of :mod:`logging`."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

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
