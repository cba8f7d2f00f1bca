"""Flip random bytes of models: each damaged file must give a clear error or a proven result.

    python benchmarks/faults/flips.py FOLDER --variants 20 --flips 50 --json flips.json

Every variant has a process of its own with limits on time and memory. Finished ones are kept in the
JSON file, from which a stopped run goes on. ``--keep FOLDER`` keeps the files that ended badly.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from trial import FINE, Ending, Limits, trial, warm_up

from nmcore.utils.files import atomic_write

Record = dict[str, Any]


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="models, or one model file")
    parser.add_argument("--variants", type=int, default=20, help="damaged files of each model [20]")
    parser.add_argument("--flips", type=int, default=50, help="bytes flipped in each [50]")
    parser.add_argument("--seed", type=int, default=0, help="of the flips [0]")
    parser.add_argument("--seconds", type=float, default=60, help="limit for one file [60]")
    parser.add_argument("--memory", type=float, default=2, help="limit for one file in GiB [2]")
    parser.add_argument("--head", type=int, help="flip only among the first so many bytes")
    parser.add_argument("--json", type=Path, help="keep results here, and go on from them")
    parser.add_argument("--retry", action="store_true", help="run those again that ended badly")
    parser.add_argument("--keep", type=Path, help="keep the files that ended badly here")
    return parser.parse_args(words)


def flipped(data: bytes, count: int, seed: tuple[int, ...], head: int | None = None) -> bytes:
    """Return the data with ``count`` random bytes changed to any other value."""
    rng = np.random.default_rng(seed)
    damaged = np.frombuffer(data, np.uint8).copy()
    places = rng.integers(0, min(len(damaged), head or len(damaged)), count)
    damaged[places] ^= rng.integers(1, 256, count, np.uint8)
    return damaged.tobytes()


def variants(options: argparse.Namespace) -> Iterator[tuple[Path, int, bytes]]:
    """Yield every damaged file: of which model, which variant, its bytes; small models first."""
    found = [options.folder] if options.folder.is_file() else options.folder.rglob("*.onnx")
    for model in sorted(found, key=lambda path: path.stat().st_size):
        data = model.read_bytes()
        for variant in range(options.variants):
            seed = (options.seed, variant, len(data))
            yield model, variant, flipped(data, options.flips, seed, options.head)


def one(data: bytes, name: str, limits: Limits) -> Ending:
    """Try one damaged file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        return trial(path, limits)


def main(words: list[str] | None = None) -> None:
    """Try everything and print the table; the exit code says whether all ended well."""
    options = parse(words)
    limits = Limits(options.seconds, int(options.memory * 2**30))
    records: list[Record] = []
    if options.json is not None and options.json.exists():
        records = json.loads(options.json.read_text())
    if options.retry:
        records = [record for record in records if record["how"] in FINE]
    asked = {"flips": options.flips, "seed": options.seed, "head": options.head}
    warm_up()
    for model, variant, data in variants(options):
        key = {"model": model.name, "variant": variant, **asked}
        if any(key.items() <= record.items() for record in records):
            continue
        ending = one(data, model.name, limits)
        records.append(key | asdict(ending))
        if options.json is not None:
            atomic_write(options.json, f"{json.dumps(records, indent=1)}\n".encode())
        if ending.how not in FINE:
            last = (ending.words.strip().splitlines() or [""])[-1]
            print(f"{model.name} {variant}: {ending.how}: {last}", file=sys.stderr, flush=True)
            if options.keep is not None:
                options.keep.mkdir(parents=True, exist_ok=True)
                (options.keep / f"{variant:03d}_{model.name}").write_bytes(data)
    print(table(records))
    sys.exit(0 if all(record["how"] in FINE for record in records) else 1)


def table(records: list[Record]) -> str:
    """Count how the trials ended, as Markdown."""
    counts = Counter(record["how"] for record in records)
    rows = [f"| {how} | {count} |" for how, count in counts.most_common()]
    slowest = max((record["seconds"] for record in records), default=0.0)
    largest = max((record["memory"] for record in records), default=0) / 2**20
    return "\n".join(
        [
            "| ended in | files |",
            "| --- | ---: |",
            *rows,
            "",
            f"slowest {slowest:.1f} s, most memory {largest:,.0f} MiB",
        ]
    )


if __name__ == "__main__":
    main()
