"""What the accuracy benchmarks share: compress and evaluate by command line, keep the results.

Every figure comes from two commands that anybody can type, ``nmcore compress`` and ``nmcore
evaluate --json``. Finished ones are kept in a JSON file, from which a stopped run goes on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from peers import PEERS

import nmcore
from nmcore.files import atomic_write

Record = dict[str, Any]
MEASURES = ("n", "top1", "params", "macs", "bytes")


@dataclass(frozen=True)
class Trial:
    """A model, compressed with these options of ``nmcore compress``; as it is without any.

    With a ``peer``, another program removes the share of channels that ``options`` holds.
    """

    model: Path
    options: tuple[str, ...] = ()
    peer: str = ""

    @property
    def command(self) -> str:
        """What a user would type; the model as it is has none."""
        if not self.options:
            return ""
        if self.peer:
            return f"{self.peer} {self.model} OUT {self.options[0]}"
        return shlex.join(["nmcore", "compress", str(self.model), "OUT", *self.options])


@dataclass
class Bench:
    """Runs trials on one labelled data set.

    Parameters
    ----------
    data : Path
        An .npz with ``x`` and ``y``.
    preparation : sequence of str
        ``--scale``, ``--mean`` and ``--std`` of the network.
    store : Path or None
        Where results are kept. Those of the same command, version and files are not made again;
        delete the file after changing the program itself.
    """

    data: Path
    preparation: Sequence[str]
    store: Path | None = None
    records: list[Record] = field(init=False)

    def __post_init__(self) -> None:
        known = self.store is not None and self.store.exists()
        self.records = json.loads(self.store.read_text()) if self.store and known else []

    def run(self, trial: Trial) -> Record:
        """Return top-1, parameters and MACs of one trial, from memory if they are known."""
        key = {
            "command": trial.command,
            "preparation": shlex.join(self.preparation),
            "nmcore": nmcore.__version__,
            "model_sha256": _digest(trial.model),
            "data_sha256": _digest(self.data),
        }
        for record in self.records:
            if key.items() <= record.items():
                return record
        print(trial.command or f"{trial.model} as it is", file=sys.stderr, flush=True)
        record = key | self._measure(trial)
        self.records.append(record)
        if self.store is not None:
            atomic_write(self.store, f"{json.dumps(self.records, indent=1)}\n".encode())
        return record

    def _measure(self, trial: Trial) -> Record:
        with tempfile.TemporaryDirectory() as folder:
            model = trial.model
            if trial.peer:
                model = Path(folder) / trial.model.name
                PEERS[trial.peer](trial.model, model, float(trial.options[0]))
            elif trial.options:
                model = Path(folder) / trial.model.name
                _nmcore("compress", str(trial.model), str(model), *trial.options)
            options = ["--data", str(self.data), *self.preparation, "--runs", "1", "--json"]
            (result,) = json.loads(_nmcore("evaluate", str(model), *options))
        return {name: result[name] for name in MEASURES}


def _nmcore(*words: str) -> str:
    """What the program prints; where it fails, so does the benchmark, with the program's words."""
    done = subprocess.run(
        [sys.executable, "-m", "nmcore", *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        sys.exit(f"{shlex.join(['nmcore', *words])}: {last.removeprefix('nmcore: ')}")
    return done.stdout


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Parser(argparse.ArgumentParser):
    """Options of a benchmark; a wrong one is told in one line."""

    def error(self, message: str) -> NoReturn:
        """Exit with 2 and the message."""
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")

    def add_files(self) -> None:
        """Add ``--data`` and ``--json``, which every benchmark has."""
        self.add_argument(
            "--data", type=existing, required=True, metavar="FILE.npz", help="test set: x and y"
        )
        self.add_argument(
            "--json", type=Path, metavar="FILE", help="keep results here, and go on from them"
        )


def existing(text: str) -> Path:
    """Return a path to a file that is there."""
    path = Path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text}")
    return path


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows as a Markdown table: text on the left, numbers on the right."""
    widths = [max(map(len, column)) for column in zip(headers, *rows, strict=True)]
    numeric = [all(_is_number(cell) for cell in column) for column in zip(*rows, strict=True)]
    rule = [f"{'-' * (w - 1)}:" if n else "-" * w for w, n in zip(widths, numeric, strict=True)]
    for row in (headers, rule, *rows):
        cells = (
            cell.rjust(w) if n else cell.ljust(w)
            for cell, w, n in zip(row, widths, numeric, strict=True)
        )
        print(f"| {' | '.join(cells)} |")


def _is_number(cell: str) -> bool:
    return cell.strip(" -+%?").replace(",", "").replace(".", "").isdigit() or cell in ("", "-")


def percent(record: Record) -> str:
    """Write top-1."""
    return f"{record['top1']:.2f}"


def size(record: Record) -> list[str]:
    """Write parameters and MACs."""
    macs = record["macs"]
    return [f"{record['params']:,}", "?" if macs is None else f"{macs:,}"]
