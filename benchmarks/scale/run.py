"""Compress a made-up feed-forward network of gigabytes; report time, memory, and bytes moved.

    python benchmarks/scale/run.py --gigabytes 1 4 --width 4096 --method merge --folder /var/tmp

The network is a chain of fully connected layers with ReLU between, its weights in one external
file. Compressing runs in a process of its own, whose memory and input and output are what the
system counted. Beside it stand the time of copying the data file, and of the matrix products that
the method cannot do without, each alone on the same machine.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

CHUNK = 2**24


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gigabytes", type=float, nargs="+", default=[1.0], help="sizes [1]")
    parser.add_argument("--width", type=int, default=4096, help="of every layer [4096]")
    parser.add_argument("--ratio", type=float, default=0.5, help="channels removed [0.5]")
    parser.add_argument("--method", default="merge", help="merge, prune or ridge [merge]")
    parser.add_argument("--folder", type=Path, help="where the files go, on a disk")
    parser.add_argument("--json", type=Path, help="write the rows here")
    return parser.parse_args(words)


def make(path: Path, width: int, layers: int) -> int:
    """Write a network of ``layers`` square layers, and return the bytes of its weights."""
    data = path.with_suffix(".data")
    rng, each = np.random.default_rng(0), width * width * 4
    nodes, weights = [], []
    with data.open("wb") as file:
        for layer in range(layers):
            rows = max(1, CHUNK // (width * 4))
            for start in range(0, width, rows):
                count = min(rows, width - start)
                part = rng.standard_normal((count, width), np.float32)
                file.write((part * np.sqrt(2 / width)).astype(np.float32).data)
            tensor = TensorProto(name=f"w{layer}", data_type=TensorProto.FLOAT, dims=[width, width])
            tensor.data_location = TensorProto.EXTERNAL
            place = {"location": data.name, "offset": layer * each, "length": each}
            for key, value in place.items():
                tensor.external_data.add(key=key, value=str(value))
            weights.append(tensor)
            source, result = (f"r{layer - 1}" if layer else "x"), f"a{layer}"
            last = layer == layers - 1
            nodes.append(
                helper.make_node(
                    "Gemm", [source, f"w{layer}"], ["y" if last else result], f"g{layer}", transB=1
                )
            )
            if not last:
                nodes.append(helper.make_node("Relu", [result], [f"r{layer}"], f"relu{layer}"))
    value = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", width]) for n in "xy"]
    graph = helper.make_graph(nodes, "chain", value[:1], value[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return layers * each


def compress(source: str, target: str, method: str, ratio: float) -> None:
    """Compress and save in this process; print what it used as JSON."""
    import nmcore

    start = time.perf_counter()
    before = peak()
    result = nmcore.compress(source, method=method, ratio=ratio)
    middle = time.perf_counter()
    result.save(target, external_data=True)
    end = time.perf_counter()
    moved = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    print(
        json.dumps(
            {
                "compress_s": round(middle - start, 2),
                "save_s": round(end - middle, 2),
                "start_bytes": before,
                "peak_bytes": peak(),
                "read_bytes": int(moved["rchar"]),
                "written_bytes": int(moved["wchar"]),
                "disk_read_bytes": int(moved["read_bytes"]),
                "disk_written_bytes": int(moved["write_bytes"]),
            }
        )
    )


def peak() -> int:
    """The most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def copy_seconds(source: Path, target: Path) -> float:
    """How long a plain copy takes until it is on disk."""
    start = time.perf_counter()
    shutil.copyfile(source, target)
    with target.open("rb") as file:
        os.fsync(file.fileno())
    seconds = time.perf_counter() - start
    target.unlink()
    return seconds


def product_seconds(width: int, ratio: float, groups: int, method: str) -> float:
    """How long the products take that compare every removed row with every kept one."""
    if method == "prune":
        return 0.0
    kept = width - int(width * ratio)
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((width, width), np.float32)
    start = time.perf_counter()
    rows[:kept] @ rows[kept:].T
    return (time.perf_counter() - start) * groups


def one(gigabytes: float, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure one size."""
    each = options.width**2 * 4
    layers = max(3, round(gigabytes * 2**30 / each))
    source, target = folder / "model.onnx", folder / "small.onnx"
    size = make(source, options.width, layers)
    copied = copy_seconds(source.with_suffix(".data"), folder / "copy")
    products = product_seconds(options.width, options.ratio, layers - 1, options.method)
    words = [str(source), str(target), options.method, str(options.ratio)]
    start = time.perf_counter()
    child = subprocess.run(
        [sys.executable, __file__, "--child", *words], capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - start
    if child.returncode:
        raise SystemExit(child.stderr)
    row = json.loads(child.stdout)
    onnx.checker.check_model(str(target))
    return row | {
        "method": options.method,
        "bytes": size,
        "layers": layers,
        "width": options.width,
        "result_bytes": sum(path.stat().st_size for path in folder.glob("small.onnx*")),
        "seconds": round(seconds, 2),
        "copy_s": round(copied, 2),
        "products_s": round(products, 2),
        # A group's working set: the rows that make its channels, and the weight that reads them.
        "group_bytes": 2 * each,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Lay out the rows as Markdown."""
    lines = [
        "| model | method | time | copy | products | peak memory | allowed | read | written |",
        "| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        allowed = 1.5 * row["group_bytes"] + 500e6
        lines.append(
            f"| {row['bytes'] / 2**30:.1f} GiB | {row['method']} | {row['seconds']:.1f} s "
            f"| {row['copy_s']:.1f} s | {row['products_s']:.1f} s "
            f"| {row['peak_bytes'] / 1e6:,.0f} MB | {allowed / 1e6:,.0f} MB "
            f"| {row['read_bytes'] / 2**30:.1f} GiB | {row['written_bytes'] / 2**30:.1f} GiB |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure every size and print the table."""
    if sys.argv[1:2] == ["--child"]:
        source, target, method, ratio = sys.argv[2:]
        compress(source, target, method, float(ratio))
        return
    options = parse()
    rows = []
    for gigabytes in options.gigabytes:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            rows.append(one(gigabytes, options, Path(folder)))
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    print(table(rows))
    if options.json is not None:
        options.json.write_text(f"{json.dumps(rows, indent=1)}\n")


if __name__ == "__main__":
    main()
