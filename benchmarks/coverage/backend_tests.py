"""Run the models of the onnx package's own backend tests through nmcore, and count how they end.

    python benchmarks/coverage/backend_tests.py --json backend_tests.json

Every model is compressed as it is, and once more with its IR version and its opset lowered, so
that a runtime that is older than the onnx package loads it. A model that nmcore refuses in one line
is as good an end as a result; a traceback, a crash or a hang is a fault, and the exit code is then
1. Models run one after the other in a process that is started anew where one kills it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx

Record = dict[str, Any]
FAULTS = ("traceback", "crashed", "timeout")


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--ratio", type=float, default=0.5, help="channels removed [0.5]")
    parser.add_argument("--method", default="merge", help="of nmcore [merge]")
    parser.add_argument("--ir", type=int, default=10, help="the lowered IR version [10]")
    parser.add_argument("--opset", type=int, default=21, help="the lowered opset [21]")
    parser.add_argument("--limit", type=float, default=60, help="seconds for a model [60]")
    parser.add_argument("--pattern", default="", help="only models whose name holds this")
    parser.add_argument("--json", type=Path, help="write every model's end here")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(words)


def models() -> Iterator[tuple[str, onnx.ModelProto]]:
    """Yield the name and the model of every backend test; those to be downloaded are not there."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the cases compute their expected outputs
        for case in collect_testcases(None):
            yield case.name, case.model
    for path in sorted((Path(onnx.__file__).parent / "backend/test/data").rglob("*.onnx")):
        name = path.stem if path.stem != "model" else path.parent.name
        yield name, onnx.load(path)


def lowered(model: onnx.ModelProto, ir: int, opset: int) -> onnx.ModelProto:
    """Return the model with the versions that it states bounded from above."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.ir_version = min(copy.ir_version, ir)
    for entry in copy.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = min(entry.version, opset)
    return copy


def write_all(folder: Path, options: argparse.Namespace) -> list[Path]:
    """Write every model in both forms."""
    paths = []
    for name, model in models():
        if options.pattern not in name:
            continue
        forms = {"": model, ".lowered": lowered(model, options.ir, options.opset)}
        for form, each in forms.items():
            path = folder / f"{name}{form}.onnx"
            path.write_bytes(each.SerializeToString())
            paths.append(path)
    return paths


def one(path: Path, options: argparse.Namespace) -> Record:
    """Compress one model, and say how that ended."""
    import nmcore
    from nmcore.errors import NmcoreError

    try:
        result = nmcore.compress(path, ratio=options.ratio, method=options.method)
        result.graph.serialize()
    except NmcoreError as error:
        return {"ended": "refused", "said": str(error)}
    except Exception:
        return {"ended": "traceback", "said": traceback.format_exc()}
    return {"ended": "compressed", "removed": result.before.params - result.after.params}


def work(options: argparse.Namespace) -> None:
    """Be the process that runs models: a line of JSON when one begins, and one when it ends."""
    for line in options.work.read_text().splitlines():
        path = Path(line)
        print(json.dumps({"begins": path.name}), flush=True)
        print(json.dumps({"name": path.name, **one(path, options)}), flush=True)


def run(paths: list[Path], options: argparse.Namespace) -> Iterator[Record]:
    """Yield how each model ended, in their order."""
    left = list(paths)
    while left:
        for record in _run_some(left, options):
            yield record
            left = left[1:]


def _run_some(paths: list[Path], options: argparse.Namespace) -> Iterator[Record]:
    """Yield records until the process is done, or died or hung on a model, which is told last."""
    with tempfile.TemporaryDirectory() as folder:
        listing = Path(folder, "models.txt")
        listing.write_text("\n".join(map(str, paths)))
        command = [sys.executable, __file__, "--work", str(listing), "--method", options.method]
        command += ["--ratio", str(options.ratio)]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert process.stdout is not None
        begun, hung = "", False

        def stop() -> None:
            nonlocal hung
            hung = True
            process.kill()

        timer = threading.Timer(options.limit, stop)
        timer.start()
        for line in process.stdout:
            timer.cancel()
            record = json.loads(line)
            begun = record.get("begins", "")
            if not begun:
                yield record
            timer = threading.Timer(options.limit, stop)
            timer.start()
        timer.cancel()
        code = process.wait()
        if begun:
            ended = "timeout" if hung else "crashed"
            yield {"name": begun, "ended": ended, "said": f"exit code {code}"}


def table(records: list[Record]) -> str:
    """Write the counts as Markdown, with a line for every fault."""
    ends = Counter(record["ended"] for record in records)
    lines = ["| models | " + " | ".join(ends) + " |", "| ---: |" + " ---: |" * len(ends)]
    lines.append(f"| {len(records):,} | " + " | ".join(f"{n:,}" for n in ends.values()) + " |")
    for record in records:
        if record["ended"] in FAULTS:
            last = record["said"].strip().splitlines()[-1]
            lines.append(f"\n{record['name']}: {record['ended']}: {last}")
    return "\n".join(lines)


def main(words: list[str] | None = None) -> int:
    """Run everything and print the counts; 1 where there was a fault."""
    options = parse(words)
    if options.work is not None:
        work(options)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        paths = write_all(Path(folder), options)
        records = []
        for record in run(paths, options):
            records.append(record)
            if record["ended"] in FAULTS:
                print(f"{record['name']}: {record['ended']}", file=sys.stderr, flush=True)
    if options.json is not None:
        options.json.write_text(f"{json.dumps(records, indent=1)}\n")
    print(table(records))
    return int(any(record["ended"] in FAULTS for record in records))


if __name__ == "__main__":
    sys.exit(main())
