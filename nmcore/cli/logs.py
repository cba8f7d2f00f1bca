"""What the program says besides its results, all of it on stderr and through :mod:`logging`.

Notices are of level INFO, and ``--quiet`` hides them and warnings; what libraries warn of, details
of graphs, is of interest to ``--debug`` alone.
"""

from __future__ import annotations

import logging
import sys
import warnings
from typing import Any

import click

from nmcore.utils.logs import NOTICES

# The program's own voice.
log = logging.getLogger("nmcore.cli")
# What it says for libraries.
_heard = logging.getLogger(NOTICES)
# What may speak under --debug; without it, the command line says their warnings at its end.
_LIBRARIES = ("nmcore", "nmcore_onnx", "nmcore_ort")


class _Voice(logging.Handler):
    """Writes to whatever stderr is now: a progress bar puts itself in its place."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        # Not needed by --help, and it imports NumPy.
        from nmcore.utils.text import printable

        kind = "warning: " if record.levelno >= logging.WARNING else ""
        print(f"nmcore: {kind}{printable(record.getMessage())}", file=sys.stderr)


def start(*, debug: bool) -> None:
    """Send the program's own lines to stderr, and with ``debug`` those of all libraries."""
    handler = logging.StreamHandler() if debug else logging.NullHandler()
    logging.basicConfig(format="%(name)s: %(message)s", handlers=[handler])
    for name in _LIBRARIES:
        logging.getLogger(name).setLevel(logging.DEBUG if debug else logging.WARNING)
    if not debug:  # NumPy's doubts about single numbers are not the user's business
        warnings.filterwarnings("ignore", category=RuntimeWarning)
    for each in (log, _heard):
        each.setLevel(logging.INFO)
        each.propagate = False
        each.handlers = [_Voice()]


def be_quiet() -> None:
    """Say nothing but errors, and show no progress."""
    for each in (log, _heard):
        each.setLevel(logging.ERROR)


def notices() -> bool:
    """Whether progress and notices are wanted."""
    return log.isEnabledFor(logging.INFO)


def _quiet(_context: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        be_quiet()


def quiet_option(command: Any) -> Any:
    """Give a command ``-q``, which works before and behind the command's name."""
    return click.option(
        "-q",
        "--quiet",
        is_flag=True,
        expose_value=False,
        callback=_quiet,
        help="Print nothing but errors, and what --json or a comparison asks for.",
    )(command)
