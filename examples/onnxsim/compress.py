"""Simplify a model with onnxsim, compress it, simplify the result, and tell each step's loss apart.

    python compress.py IN.onnx OUT.onnx --macs 0.6 [--data FILE.npz]

Needs onnxsim beside nmcore.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import onnx
import onnxsim

import nmcore


def simplified(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model as onnxsim rewrites it; an error where it does not compute the same."""
    found, same = onnxsim.simplify(model)
    if not same:
        raise SystemExit("onnxsim: the simplified model does not compute the same")
    return found


def main() -> None:
    """Write the smaller model and print a line for each step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, metavar="IN.onnx")
    parser.add_argument("target", type=Path, metavar="OUT.onnx")
    parser.add_argument("--macs", type=float, default=0.6, help="keep at most this share")
    parser.add_argument("--data", type=Path, help="inputs that are ready for the model")
    given = parser.parse_args()

    original = onnx.load(given.source)
    steps = {"original": original, "simplified": simplified(original)}
    result = nmcore.compress(steps["simplified"], macs=given.macs, data=given.data)
    steps["compressed"] = result.to_onnx()
    steps["simplified again"] = simplified(steps["compressed"])
    onnx.save(steps["simplified again"], given.target)

    found = nmcore.evaluate([*steps.values()], given.data)
    print("step              nodes  parameters  deviation %")
    for (name, model), each in zip(steps.items(), found, strict=True):
        deviation = "-" if each.deviation is None else f"{each.deviation:.4f}"
        print(f"{name:16}  {len(model.graph.node):5}  {each.params:10,}  {deviation:>11}")


if __name__ == "__main__":
    main()
