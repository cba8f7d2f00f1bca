"""Record digests of what nmcore makes of a folder of models, and compare two records.

    python benchmarks/digests/run.py FOLDER... --json before.json
    python benchmarks/digests/run.py FOLDER... --json after.json --against before.json

A change of the code that should not change results is shown not to: each model is compressed by
every method below, and the SHA-256 of the compressed model is kept. An error counts as a result,
by its class and message. Records of one machine, with one number of threads, can be compared;
products of matrices differ in their last bits between machines.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import nmcore
from nmcore.errors import NmcoreError

# What is made of every model: the methods on weights at half of the channels, and the default
# under a budget on a few synthetic inputs.
CALLS: Mapping[str, Mapping[str, Any]] = {
    "prune": {"ratio": 0.5, "method": "prune"},
    "merge": {"ratio": 0.5, "method": "merge"},
    "ridge": {"ratio": 0.5, "method": "ridge"},
    "default": {"macs": 0.7, "samples": 16},
}


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", type=Path, nargs="+", help="model files, or folders of them")
    parser.add_argument("--json", type=Path, required=True, help="keep digests here, and go on")
    parser.add_argument("--against", type=Path, help="an earlier record, to compare with")
    parser.add_argument("--only", choices=CALLS, action="append", help="methods [all]")
    return parser.parse_args(words)


def files(places: list[Path]) -> list[Path]:
    """List the models, smallest first."""
    found = [p for place in places for p in ([place] if place.is_file() else place.glob("*.onnx"))]
    return sorted(found, key=lambda path: (path.stat().st_size, path.name))


def digest(model: Path, options: Mapping[str, Any]) -> str:
    """Return the digest of one result, or its error."""
    try:
        result = nmcore.compress(model, **options)
    except NmcoreError as error:
        return f"{type(error).__name__}: {str(error).replace(str(model), model.name)}"
    return hashlib.sha256(result.graph.serialize()).hexdigest()


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each result that both records have and that differs."""
    for key in sorted(before.keys() & after.keys()):
        if before[key] != after[key]:
            yield f"{key}: {before[key]} -> {after[key]}"


def main(words: list[str] | None = None) -> int:
    """Record, print what differs, and return 1 where anything does."""
    options = parse(words)
    record = json.loads(options.json.read_text()) if options.json.exists() else {}
    for name in options.only or CALLS:
        for model in files(options.models):
            key = f"{model.name} {name}"
            if key not in record:
                record[key] = digest(model, CALLS[name])
                print(f"{key}: {record[key]}", file=sys.stderr, flush=True)
                options.json.write_text(f"{json.dumps(record, indent=1, sort_keys=True)}\n")
    if options.against is None:
        return 0
    before = json.loads(options.against.read_text())
    changed = list(differences(before, record))
    print("\n".join(changed))
    print(f"{len(before.keys() & record.keys())} results compared, {len(changed)} differ")
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main())
