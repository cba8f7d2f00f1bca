"""Kill the program at random moments, and count what it leaves behind.

    python benchmarks/faults/kills.py --kills 1000
    python benchmarks/faults/kills.py --interrupts 100

A child saves two different results in turn to the same place, as one file and with external data;
it is killed (SIGKILL) at a random moment and what is found there must be one of the two, whole, or
nothing. With ``--interrupts`` the whole command ``nmcore compress`` gets Ctrl-C (SIGINT) at a
random moment: it must end within two seconds with exit code 130, no traceback, and the target as
it was. A shell shows 130 as well where the signal itself ends a command that is still starting.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

import nmcore
from nmcore.pipeline.result import Result

INTERRUPTED = 130
PATIENCE = 2.0


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=0, help="children to kill while they write")
    parser.add_argument("--interrupts", type=int, default=0, help="commands that get Ctrl-C")
    parser.add_argument("--width", type=int, default=512, help="of the network [512]")
    parser.add_argument("--seed", type=int, default=0, help="of the moments [0]")
    return parser.parse_args(words)


def network(width: int) -> onnx.ModelProto:
    """Make two square layers with ReLU between."""
    rng = np.random.default_rng(0)
    weights = [rng.standard_normal((width, width), np.float32) for _ in range(2)]
    nodes = [
        helper.make_node("Gemm", ["x", "w0"], ["a"], "first", transB=1),
        helper.make_node("Relu", ["a"], ["r"], "relu"),
        helper.make_node("Gemm", ["r", "w1"], ["y"], "second", transB=1),
    ]
    value = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["n", width]) for n in "xy"]
    stored = [numpy_helper.from_array(weight, f"w{k}") for k, weight in enumerate(weights)]
    graph = helper.make_graph(nodes, "two layers", value[:1], value[1:], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def write_for_ever(results: list[Result], path: Path) -> None:
    """Save one result after the other, as one file and as two."""
    while True:
        for result in results:
            for external_data in (False, True):
                result.save(path, external_data=external_data)


def killed(work: Callable[[], None], seconds: float) -> None:
    """Run ``work`` in a child and kill it after a while."""
    child = os.fork()
    if child == 0:
        work()
        os._exit(1)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def found(path: Path, wanted: list[bytes]) -> str:
    """Say what is at the place: a whole result, none, or a torn one."""
    if not path.exists():
        return "none"
    try:
        model = onnx.load(path)
    except Exception as error:
        return f"torn: {error}"
    for tensor in model.graph.initializer:
        tensor.ClearField("data_location")
        del tensor.external_data[:]
    data = model.SerializeToString(deterministic=True)
    return "whole" if data in wanted else "torn: it is neither result"


def kills(count: int, width: int, seed: int) -> Counter[str]:
    """Kill ``count`` children; count what they left at the target, and beside it."""
    model = network(width)
    results = [nmcore.compress(model, ratio=ratio, method="merge") for ratio in (0.25, 0.5)]
    wanted = [
        onnx.load_from_string(r.graph.serialize()).SerializeToString(deterministic=True)
        for r in results
    ]
    counts: Counter[str] = Counter()
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "small.onnx"
        start = time.perf_counter()
        for result in results:
            result.save(path, external_data=True)
        span = 2 * (time.perf_counter() - start)
        path.unlink()
        for number in range(count):
            if number % 4 == 0:  # a quarter starts from nothing
                for each in Path(name).glob("small.onnx*"):
                    each.unlink()
            existed = path.exists()
            killed(lambda: write_for_ever(results, path), rng.uniform(0, span))
            left = found(path, wanted)
            counts["torn: the old one is lost" if existed and left == "none" else left] += 1
            strays = sum(each.name.startswith(".") for each in Path(name).iterdir())
            counts["strays of one run"] += strays > 0
            counts["strays of more runs"] += strays > 1
        results[0].save(path)
        counts["files after the last run"] = len(os.listdir(name))
    return counts


def interrupts(count: int, width: int, seed: int) -> Counter[str]:
    """Interrupt ``count`` commands; count how they ended."""
    counts: Counter[str] = Counter()
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        source, target = Path(name) / "model.onnx", Path(name) / "small.onnx"
        source.write_bytes(network(width).SerializeToString())
        words = [sys.executable, "-m", "nmcore", "compress", str(source), str(target)]
        span = took([*words, "--method", "merge"])
        before = target.read_bytes()
        # Python says more than one line where it is interrupted before our first.
        bare, start_up = took([sys.executable, "-c", "import typing"]), took([*words, "--help"])
        for _ in range(count):
            counts[interrupted(words, rng.uniform(2 * bare, span), 2 * start_up)] += 1
            whole = target.read_bytes() == before or found(target, []) != "none"
            counts["target lost"] += not whole
    return counts


def took(words: list[str]) -> float:
    """The seconds that a command takes."""
    start = time.perf_counter()
    subprocess.run(words, capture_output=True, check=True)
    return time.perf_counter() - start


def interrupted(words: list[str], seconds: float, start_up: float) -> str:
    """Run a command, interrupt it, and say how it ended.

    The signal itself may end it in its first ``start_up`` seconds, when there is nothing to clean.
    """
    child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(seconds)
    if child.poll() is not None:
        child.communicate()
        return "done before"
    child.send_signal(signal.SIGINT)
    start = time.perf_counter()
    _, errors = child.communicate()
    if time.perf_counter() - start > PATIENCE:
        return "too late"
    if "Traceback" in errors:
        return f"traceback: {errors.strip().splitlines()[-1]}"
    starting = child.returncode == -signal.SIGINT and seconds <= start_up
    clean = starting or child.returncode == INTERRUPTED
    return "clean" if clean else f"exit code {child.returncode}"


def main() -> None:
    """Do what is asked for; the exit code says whether anything was torn or unclean."""
    options = parse()
    counts = kills(options.kills, options.width, options.seed) if options.kills else Counter()
    if options.interrupts:
        counts += interrupts(options.interrupts, options.width, options.seed)
    for what, number in counts.items():
        print(f"{number:6,d}  {what}")
    bad = ("torn", "too late", "traceback", "exit code", "target lost", "strays of more")
    sys.exit(any(number and what.startswith(bad) for what, number in counts.items()))


if __name__ == "__main__":
    main()
