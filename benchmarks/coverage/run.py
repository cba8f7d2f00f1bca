"""Run a folder of ONNX models through ``nmcore compress``, and onnxsim's pruning beside it.

    python benchmarks/coverage/run.py FOLDER --ratio 0.5 --method merge --json coverage.json

Every model has a process of its own with a time limit, so that a crash or a hang is a row and not
the end. Finished rows are kept in the JSON file, from which a stopped run goes on; rows of another
file, ratio, method or source code of nmcore are made anew.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

import rendering
from programs import PROGRAMS, Record, installed

from nmcore.utils.files import atomic_write


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="models, or one model file")
    parser.add_argument("--ratio", type=float, default=0.5, help="channels removed [0.5]")
    parser.add_argument("--method", default="auto", help="of nmcore [auto]")
    parser.add_argument("--pattern", default="*.onnx", help="which files [*.onnx]")
    parser.add_argument("--limit", type=float, default=600, help="seconds for a process [600]")
    parser.add_argument("--no-peer", action="store_true", help="leave onnxsim out")
    parser.add_argument("--json", type=Path, help="keep results here, and go on from them")
    parser.add_argument("--retry", action="store_true", help="run crashed and hung ones again")
    parser.add_argument("--markdown", type=Path, help="write the tables here too")
    options = parser.parse_args(words)
    if not options.folder.exists():
        parser.exit(2, f"{parser.prog}: error: there is no {options.folder}\n")
    return options


class Store:
    """Finished records, kept in a file after every one."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.records: list[Record] = json.loads(path.read_text()) if path and path.exists() else []

    def find(self, key: Record) -> Record | None:
        """Return the record of this key."""
        return next((each for each in self.records if key.items() <= each.items()), None)

    def add(self, record: Record) -> None:
        """Keep a record in place of any other of the same program, file and options."""
        same = ("program", "file", "ratio", "method")
        self.records = [r for r in self.records if any(r[n] != record[n] for n in same)]
        self.records.append(record)
        if self.path is not None:
            atomic_write(self.path, f"{json.dumps(self.records, indent=1)}\n".encode())


def one(program: str, model: Path, options: argparse.Namespace, store: Store, code: str) -> Record:
    """Return the record of a program and a model, from memory if it is known."""
    key: Record = {
        "program": program,
        "file": model.name,
        "sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
        "ratio": options.ratio,
        "method": options.method if program == "nmcore" else "",
        "code": code if program == "nmcore" else "",
    }
    known = store.find(key)
    if known is not None and not (options.retry and known["ended"] in ("crashed", "timeout")):
        return known
    with tempfile.TemporaryDirectory() as folder:
        record = key | PROGRAMS[program](
            model, Path(folder), options.ratio, options.method, options.limit
        )
    store.add(record)
    return record


def digest(packages: Iterable[str] = ("nmcore", "nmcore_onnx", "nmcore_ort")) -> str:
    """Return a fingerprint of the program's own source."""
    total = hashlib.sha256()
    for package in packages:
        spec = find_spec(package)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            for path in sorted(Path(folder).rglob("*.py")):
                total.update(path.read_bytes())
    return total.hexdigest()[:16]


def models(folder: Path, pattern: str) -> list[Path]:
    """List the files, smallest first: what goes wrong shows early."""
    found = [folder] if folder.is_file() else folder.rglob(pattern)
    return sorted(found, key=lambda path: path.stat().st_size)


def main(words: list[str] | None = None) -> None:
    """Run everything and print the tables."""
    options = parse(words)
    store, code = Store(options.json), digest()
    peer = not options.no_peer and installed("onnxsim")
    pairs: list[tuple[Record, Record | None]] = []
    for model in models(options.folder, options.pattern):
        ours = one("nmcore", model, options, store, code)
        theirs = one("onnxsim", model, options, store, code) if peer else None
        pairs.append((ours, theirs))
        print(
            f"{model.name}: {ours['ended']}, kept {rendering.share_text(ours)}, "
            f"onnxsim {rendering.share_text(theirs)}",
            file=sys.stderr,
            flush=True,
        )
    text = document(pairs)
    print(text)
    if options.markdown is not None:
        atomic_write(options.markdown, f"{text}\n".encode())


def document(pairs: list[tuple[Record, Record | None]]) -> str:
    """Write everything as Markdown."""
    pairs = sorted(pairs, key=lambda pair: pair[0]["file"])
    rows = [rendering.row(ours["file"].removesuffix(".onnx"), ours, peer) for ours, peer in pairs]
    reasons = rendering.reasons([ours for ours, _ in pairs])
    return "\n\n".join(
        [
            rendering.summary(pairs),
            rendering.markdown(rendering.HEADERS, rows),
            rendering.markdown(("reason for leaving a node alone", "nodes", "files"), reasons),
        ]
    )


if __name__ == "__main__":
    main()
