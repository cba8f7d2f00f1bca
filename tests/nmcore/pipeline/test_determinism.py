"""Same input, options, seed and threads: same bytes; other threads and kernels: same channels."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import onnx
import pytest

import nmcore
from chain import Chain
from nmcore.kernels import kernel_names

METHODS = ("merge", "prune", "ridge", "moments", "auto")

PROGRAM = """
import sys, hashlib, json
import nmcore
model, method = sys.argv[1:]
result = nmcore.compress(model, method=method, ratio=0.5, samples=16, seed=3, providers=("cpu",))
kept = [group.kept for group in result.plan.groups]
print(json.dumps([hashlib.sha256(result.graph.serialize()).hexdigest(), kept]))
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Wide enough that sums are split among threads."""
    chain = Chain(("n", 3, 12, 12)).conv(48).batch_norm().node("Relu").conv(64).node("Relu")
    chain = chain.node("GlobalAveragePool").node("Flatten").gemm(512).node("Relu").gemm(10)
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    onnx.save(chain.build(), path)
    return path


def elsewhere(path, method: str, threads: int) -> list:
    """What another process makes of the model: digest and kept channels."""
    import json

    set_to = {name: str(threads) for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path), method],
        env=os.environ | set_to | {"PYTHONHASHSEED": str(threads)},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("method", METHODS)
def test_the_same_bytes_every_time(path, method, tmp_path):
    options = {"method": method, "ratio": 0.5, "samples": 16, "providers": ("cpu",)}
    first, second = (nmcore.compress(path, **options) for _ in range(2))
    assert first.graph.serialize() == second.graph.serialize()
    for number, result in enumerate((first, second)):
        result.save(tmp_path / f"{number}.onnx")
        result.plan.save(tmp_path / f"{number}.json")
    for form in ("onnx", "json"):
        a, b = ((tmp_path / f"{number}.{form}").read_bytes() for number in range(2))
        assert a == b


def test_the_same_bytes_in_another_process(path):
    """Neither the order of sets nor addresses in memory decide anything."""
    digest, kept = elsewhere(path, "merge", 1)
    assert elsewhere(path, "merge", 1) == [digest, kept]
    assert elsewhere(path, "merge", 2)[1] == kept


def test_the_same_channels_whatever_the_kernel():
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((200, 64)).astype(np.float32)
    weight[100:] = weight[:100] * rng.uniform(0.5, 2, (100, 1)).astype(np.float32)
    kept = nmcore.select(weight, 100, "l1")
    found = {
        kernel: nmcore.scaling_matrix(weight, kept, kernel=kernel) for kernel in kernel_names()
    }
    assert len(found) >= 2
    for scaling in found.values():
        np.testing.assert_array_equal(scaling.kept, kept)
        np.testing.assert_array_equal(scaling.assignment, found["numpy"].assignment)
        np.testing.assert_allclose(scaling.Z, found["numpy"].Z, rtol=1e-5)
