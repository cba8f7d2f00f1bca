"""CUDA is chosen only where it runs, and otherwise one line says why not."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest

from nmcore.errors import ArgumentError
from nmcore_ort import providers
from nmcore_ort.providers import CUDA, Choice, choose


@pytest.fixture
def cuda(monkeypatch):
    """Pretend that CUDA works (None), or why it does not."""
    return lambda problem: monkeypatch.setattr(providers, "cuda_problem", lambda: problem)


def test_cpu_never_asks_for_cuda(monkeypatch):
    monkeypatch.setattr(providers, "cuda_problem", lambda: pytest.fail("asked"))
    assert choose(["cpu", "cuda"]) == Choice("cpu")


@pytest.mark.parametrize("wanted", [["auto"], ["cuda"], ["cuda", "cpu"], ["auto", "cpu"]])
def test_cuda_where_it_works(cuda, wanted):
    cuda(None)
    assert choose(wanted) == Choice("cuda")


def test_cuda_alone_is_cuda_or_nothing(cuda):
    cuda("no CUDA device was found")
    with pytest.raises(ArgumentError, match="providers is cuda: no CUDA device was found"):
        choose(["cuda"])


@pytest.mark.parametrize("wanted", [["auto"], ["cuda", "cpu"], ["cuda", "auto"]])
def test_else_the_cpu_and_one_line(cuda, wanted):
    cuda("no CUDA device was found")
    choice = choose(wanted)
    assert choice.provider == "cpu"
    assert choice.notice.startswith("running on the CPU")
    assert choice.notice.endswith(": no CUDA device was found")
    assert "\n" not in choice.notice
    assert ("as asked" in choice.notice) == ("cuda" in wanted)


def test_a_build_for_the_cpu_is_told_of_where_cuda_was_asked_for_or_could_be(cuda, monkeypatch):
    cuda(providers.NOT_BUILT)
    monkeypatch.setattr(providers, "device_count", lambda: 0)
    assert choose(["auto"]) == Choice("cpu")
    assert choose(["cuda", "cpu"]).notice.endswith(": this onnxruntime is built without CUDA")
    monkeypatch.setattr(providers, "device_count", lambda: 1)
    assert choose(["auto"]).notice == "running on the CPU: this onnxruntime is built without CUDA"


@pytest.mark.parametrize("wanted", [["tpu"], ["cpu", "tpu"], ["CUDA"], [""], []])
def test_unknown_names(wanted):
    with pytest.raises(ArgumentError, match="choose from auto, cuda, cpu"):
        choose(wanted)


def test_the_probe_model_is_valid_and_runs():
    onnx.checker.check_model(onnx.load_from_string(providers.PROBE_MODEL), full_check=True)
    session = onnxruntime.InferenceSession(
        providers.PROBE_MODEL, providers=["CPUExecutionProvider"]
    )
    x = np.ones((1, 1, 2, 2), np.float32)
    assert np.array_equal(session.run(None, {"x": x, "w": x[:, :, :1, :1]})[0], 2 * x)


def test_no_device_is_told_without_trying(monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA])
    monkeypatch.setattr(providers, "device_count", lambda: 0)
    monkeypatch.setattr(providers, "_probe", lambda _: pytest.fail("tried"))
    assert providers.cuda_problem.__wrapped__() == "no CUDA device was found"


def test_a_build_without_cuda_is_told(monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    assert providers.cuda_problem.__wrapped__() == "this onnxruntime is built without CUDA"


class FakeOnnxruntime:
    """A stand-in whose CUDA session starts, and then runs or fails."""

    def __init__(self, started, error=None):
        self.started, self.error = started, error

    def InferenceSession(self, *_args, **_kwargs):
        return self

    def get_providers(self):
        return self.started

    def run(self, *_args):
        if self.error:
            raise self.error


@pytest.mark.parametrize(
    ("started", "error", "problem"),
    [
        ([CUDA], None, None),
        ([CUDA], RuntimeError("CUDA failure 209: no kernel image ; GPU=0"), "CUDA failure 209"),
        (["CPUExecutionProvider"], None, "onnxruntime gives no reason"),
    ],
)
def test_the_probe_must_run_and_not_only_start(started, error, problem):
    found = providers._probe(FakeOnnxruntime(started, error))
    assert found is None if problem is None else problem in found


def cuda_is_only_listed():
    return CUDA in onnxruntime.get_available_providers() and providers.device_count() == 0


@pytest.mark.skipif(
    not cuda_is_only_listed(), reason="needs onnxruntime-gpu on a machine without CUDA"
)
def test_a_failed_start_prints_nothing():
    code = (
        "from nmcore_ort import providers as p; p.device_count = lambda: 1;"
        "print(p.choose(['auto']).notice)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1
    assert done.stdout.startswith("running on the CPU: CUDA does not start (")
