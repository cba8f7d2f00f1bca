"""What a user must hear of at once, wherever it arises."""

from __future__ import annotations

import functools
import logging

NAME = __name__
_log = logging.getLogger(NAME)


@functools.cache
def tell(line: str) -> None:
    """Warn of something that changes what a run gives or how long it takes, once a process.

    It is a warning of the logger ``nmcore.notices``, which the command line prints, as does Python
    where :mod:`logging` is not set up.

    Examples
    --------
    >>> tell("going on with the CPU: the model does not start on CUDA")
    """
    _log.warning("%s", line)
