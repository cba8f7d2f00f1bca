"""The options that the accuracy benchmarks share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """Options of a benchmark; a wrong one is told in one line."""

    def error(self, message: str) -> NoReturn:
        """Exit with 2 and the message."""
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")

    def add_files(self, *, required: bool = True) -> None:
        """Add the test set and the calibration inputs, and :meth:`add_results`."""
        self.add_argument(
            "--data", type=existing, required=required, metavar="FILE.npz", help="test set: x and y"
        )
        self.add_argument(
            "--calibration", type=existing, metavar="FILE.npz", help="unlabelled x, never test data"
        )
        self.add_results()

    def add_results(self) -> None:
        """Add where results are kept, which every benchmark has."""
        self.add_argument(
            "--json", type=Path, metavar="FILE", help="keep results here, and go on from them"
        )

    def add_quick(self, what: str) -> None:
        """Add ``--quick``, for those who want to see a command run."""
        self.add_argument(
            "--quick", action="store_true", help=f"{what}; results go to FILE_quick.json"
        )


def existing(text: str) -> Path:
    """Return a path to a file that is there."""
    path = Path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text}")
    return path


def folder(text: str) -> Path:
    """Return a path to a folder that is there."""
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {text}")
    return path


def share(text: str) -> float:
    """Return a share of channels to remove, from above 0 to below 1."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"{text} is no share between 0 and 1")
    return number


def results_file(options: argparse.Namespace) -> Path | None:
    """Where results are kept: a quick look never mixes with full results."""
    path: Path | None = options.json
    if path is None or not options.quick:
        return path
    return path.with_name(f"{path.stem}_quick{path.suffix}")
