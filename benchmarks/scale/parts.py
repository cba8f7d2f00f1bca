r"""Compress models with the default method, and tell the processor seconds of each part.

    python benchmarks/scale/parts.py --json docs/results/parts.json --add \
        "ResNet-50" resnet50.onnx --macs 0.58 --data pictures --mean 123.68 116.779 103.939

Seconds are those of the processor, on one thread; what else runs still makes them more. Beside them
stands one pass of the original over the same inputs. Runs of the model hold the products of what
layers read; choosing holds inverses and eliminations, fitting the least squares of layers.
"""

from __future__ import annotations

import os

# Before NumPy and onnxruntime start their threads.
os.environ |= dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)

import argparse
import json
import logging
import re
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nmcore
from nmcore.calibration.collect import Inputs, calibration_set_for
from nmcore.compression import curves, output_error, reconstruction
from nmcore.data.loading import open_data
from nmcore.options.options import CompressOptions
from nmcore.pipeline.original import Original
from nmcore_ort import session

# The steps that `nmcore --debug` tells of, and how they are called here; what else there is counts
# as the rest.
STEPS = {
    "curves": r"measuring the error curves",
    "outputs": r"measuring what errors do",
    "walk": r"refitting in \d+ steps",
    "together": r"refitting (pairs|blocks)",
    "baseline": r"comparing with the published",
}
# What all steps spend their time on.
WORK = ("running", "choosing", "fitting")


class Steps(logging.Handler):
    """Hears when steps begin and end, and counts processor seconds."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._begun: dict[str, float] = {}
        self.seconds: dict[str, float] = defaultdict(float)

    def emit(self, record: logging.LogRecord) -> None:
        """Hear of a step."""
        line = record.getMessage()
        if line.endswith(" ..."):
            self._begun[line[:-4]] = time.process_time()
        elif (found := re.fullmatch(r"(.*): [\d.]+ s", line)) and found[1] in self._begun:
            self.seconds[found[1]] += time.process_time() - self._begun.pop(found[1])

    def of(self, pattern: str) -> float:
        """The seconds of all steps that begin with a pattern."""
        return sum(spent for name, spent in self.seconds.items() if re.match(pattern, name))


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", help="what the table calls the model")
    parser.add_argument("model", type=Path)
    parser.add_argument("--macs", type=float, default=0.8, help="share to keep [0.8]")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--samples", type=int)
    parser.add_argument("--preprocess")
    parser.add_argument("--scale", type=float)
    parser.add_argument("--mean", type=float, nargs="+")
    parser.add_argument("--std", type=float, nargs="+")
    parser.add_argument("--input-shape", help="as 1x3x640x640")
    parser.add_argument("--out", type=Path, help="write the model here")
    parser.add_argument("--json", type=Path, help="write the row here")
    parser.add_argument("--add", action="store_true", help="keep the other rows of that file")
    return parser.parse_args(words)


def timed(function: Callable[..., Any], name: str, into: dict[str, float]) -> Callable[..., Any]:
    """The same function, whose processor seconds are counted."""

    def call(*given: Any, **named: Any) -> Any:
        start = time.process_time()
        try:
            return function(*given, **named)
        finally:
            into[name] += time.process_time() - start

    return call


def watched(into: dict[str, float]) -> None:
    """Count what is spent in runs of models, in choosing channels and in fitting layers."""
    session.OrtSession.run = timed(session.OrtSession.run, "running", into)  # type: ignore[method-assign]
    for module, names in {
        reconstruction: {
            "selection_problem": "choosing",
            "eliminate": "choosing",
            "solved_refit": "fitting",
        },
        curves: {"selection_problem": "choosing", "eliminate": "choosing"},
        output_error: {"solved_refit": "fitting"},
    }.items():
        for name, part in names.items():
            setattr(module, name, timed(getattr(module, name), part, into))


def one_pass(options: argparse.Namespace, named: dict[str, Any]) -> float:
    """Processor seconds of the original over all inputs."""
    checked = CompressOptions.checked(**named)
    original = Original(str(options.model), checked.providers, checked.input_shape)
    graph, runner = original.graph, original.session()
    data = open_data(options.data, checked.normalisation, None)
    inputs = Inputs(data, options.samples, checked.normalisation)
    calibration = calibration_set_for(graph, runner, inputs, 0).rebatched(8)
    batches = [*calibration.batches, *calibration.unseen]
    runner.run(batches[0])
    start = time.process_time()
    for feeds in batches:
        runner.run(feeds)
    return time.process_time() - start


def _placed(word: str) -> str:
    """A word of the command line, without the folders that only this machine has."""
    return f"path/to/{Path(word).name}" if "/" in word else word


def main() -> None:
    """Measure one model and write its row."""
    words = sys.argv[1:]
    options = parse(words)
    if options.json is not None:  # where it went is of no interest
        words = [w for w in words if w not in ("--json", str(options.json), "--add")]
    shape = options.input_shape
    stated = {
        "preprocess": options.preprocess,
        "scale": options.scale,
        "mean": options.mean,
        "std": options.std,
        "samples": options.samples,
        "input_shape": None if shape is None else tuple(map(int, shape.split("x"))),
        "macs": options.macs,
        "providers": ("cpu",),
    }
    named = {name: value for name, value in stated.items() if value is not None}
    passes = [one_pass(options, named)]
    work: dict[str, float] = defaultdict(float)
    watched(work)
    steps = Steps()
    logging.getLogger("nmcore").addHandler(steps)
    logging.getLogger("nmcore").setLevel(logging.DEBUG)
    start = time.process_time()
    result = nmcore.compress(str(options.model), data=options.data, **named)
    compressed = time.process_time()
    told = result.fidelity
    total = time.process_time() - start
    found = {name: round(steps.of(pattern), 1) for name, pattern in STEPS.items()}
    found["comparing"] = round(start + total - compressed, 1)
    found["curves"] = round(found["curves"] - found["outputs"], 1)
    spent = {name: round(work[name], 1) for name in WORK}
    passes.append(one_pass(options, named))
    row = {
        "name": options.name,
        "macs": options.macs,
        "samples": options.samples or 256,
        "pass": round(sum(passes) / 2, 4),
        "total": round(total, 2),
        "steps": found,
        "work": spent,
        "held": {"deviation": told.deviation, "agreement": told.agreement},
        "gigabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "command": " ".join(f'"{w}"' if " " in w else _placed(w) for w in words),
    }
    print(json.dumps(row), flush=True)
    if options.out is not None:
        result.save(options.out)
    if options.json is not None:
        rows = json.loads(options.json.read_text()) if options.add else []
        rows = [each for each in rows if each["name"] != options.name]
        options.json.write_text(f"{json.dumps([*rows, row], indent=1)}\n")


if __name__ == "__main__":
    main()
