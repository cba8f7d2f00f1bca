"""Which execution provider really starts.

onnxruntime-gpu lists CUDA as available wherever it is installed and falls back to the CPU with
several lines of native errors. Here the question is answered once per process, by running a tiny
model, and the answer is one line.
"""

from __future__ import annotations

import base64
import ctypes
import functools
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nmcore.errors import ArgumentError
from nmcore_ort.installation import onnxruntime
from nmcore_ort.native_output import captured_output

CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"
CHOICES = ("auto", "cuda", "cpu")
NOT_BUILT = "this onnxruntime is built without CUDA"

# float32 stays float32: without this, Ampere and later round matrix products to TF32, and neither
# accuracies nor --verify would agree with the CPU.
CUDA_OPTIONS = {"use_tf32": "0"}

# y = MatMul(Conv(x, w), x), all of size (1, 1, 2, 2) but w (1, 1, 1, 1): it needs cuDNN and cuBLAS.
PROBE_MODEL = base64.b64decode(
    "CAc6fgoPCgF4CgF3EgFjIgRDb252ChEKAWMKAXgSAXkiBk1hdE11bBIBcFobCgF4EhYKFAgBEhAKAggBCgIIAQoC"
    "CAIKAggCWhsKAXcSFgoUCAESEAoCCAEKAggBCgIIAQoCCAFiGwoBeRIWChQIARIQCgIIAQoCCAEKAggCCgIIAkIECgAQDQ=="
)

_NOISE = (
    r"^\[ONNXRuntimeError\] : \d+ : \w+ : ",
    r"^Load model from .*? failed:",
    r"^\S+\.(h|cc):\d+ .*?\) (?=[A-Z])",
)


@dataclass(frozen=True)
class Choice:
    """The provider to run on, and what to tell the user about it.

    Attributes
    ----------
    provider : {"cuda", "cpu"}
        Where models run.
    notice : str or None
        One line, where that is not what a user with a GPU would hope for.
    """

    provider: str
    notice: str | None = None


def choose(providers: Sequence[str]) -> Choice:
    """Return the first of ``providers`` that really starts, else the CPU.

    Parameters
    ----------
    providers : sequence of {"auto", "cuda", "cpu"}
        In order of preference. ``auto`` is CUDA where it works, else the CPU.

    Raises
    ------
    ArgumentError
        A name is not known, or there is none; or CUDA alone is asked for and does not work.

    Examples
    --------
    >>> choose(["cpu"])
    Choice(provider='cpu', notice=None)
    >>> choose(["tpu"])
    Traceback (most recent call last):
        ...
    nmcore.errors.ArgumentError: provider 'tpu' is not known; choose from auto, cuda, cpu
    """
    for name in providers:
        if name not in CHOICES:
            known = ", ".join(CHOICES)
            raise ArgumentError(f"provider {name!r} is not known; choose from {known}")
    if not providers:
        raise ArgumentError(f"no provider is given; choose from {', '.join(CHOICES)}")
    if providers[0] == "cpu":
        return Choice("cpu")
    problem = cuda_problem()
    if problem is None:
        return Choice("cuda")
    if set(providers) == {"cuda"}:
        raise ArgumentError(f"providers is cuda: {problem}; cuda,cpu goes on with the CPU")
    asked = "cuda" in providers
    if problem == NOT_BUILT and not asked and device_count() == 0:  # nothing is missed
        return Choice("cpu")
    return Choice("cpu", fallback_notice(problem, asked=asked))


def fallback_notice(problem: str, *, asked: bool) -> str:
    """Return the one line that says why the CPU is used.

    >>> fallback_notice("no CUDA device was found", asked=False)
    'running on the CPU: no CUDA device was found'
    """
    return f"running on the CPU{', not on CUDA as asked' if asked else ''}: {problem}"


@functools.cache
def cuda_problem() -> str | None:
    """Say why CUDA does not work in this process; None where a tiny model ran on it."""
    package = onnxruntime()
    if CUDA not in package.get_available_providers():
        return NOT_BUILT
    if device_count() == 0:
        return "no CUDA device was found"
    return _probe(package)


def device_count() -> int:
    """How many CUDA devices the driver shows; 0 where there is no driver.

    Asking the driver costs nothing where there is none, whereas onnxruntime would load several
    hundred megabytes of libraries before it gave up.
    """
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def _probe(package: Any) -> str | None:
    x = np.ones((1, 1, 2, 2), np.float32)
    started: list[str] = []
    error = ""
    with captured_output() as captured:
        # onnxruntime's exceptions share no base class but Exception.
        try:
            preload = getattr(package, "preload_dlls", None)
            if preload is not None:
                preload()
            session = package.InferenceSession(
                PROBE_MODEL, providers=[(CUDA, CUDA_OPTIONS)], enable_fallback=0
            )
            started = session.get_providers()
            if CUDA in started:
                session.run(None, {"x": x, "w": x[:, :, :1, :1]})
                return None
        except Exception as exception:
            error = str(exception)
    return f"CUDA does not start ({cause(error or captured.text)})"


def cause(text: str) -> str:
    r"""Return the part of onnxruntime's native message that names what is missing.

    >>> cause("... Failed to load library /x/cuda.so with error: libcublasLt.so.13: cannot open "
    ...       "shared object file: No such file or directory\n more")
    'libcublasLt.so.13: cannot open shared object file'
    >>> cause("CUDA failure 209: no kernel image is available for execution on the device ; GPU=0")
    'CUDA failure 209: no kernel image is available for execution on the device'
    >>> cause("")
    'onnxruntime gives no reason'
    """
    for pattern in (r"with error: ([^:\n]+: [^:\n]+)", r"(CUDA failure [^;\n]+)"):
        match = re.search(pattern, text)
        if match:
            return match.group(1).strip()
    return one_line(text) or "onnxruntime gives no reason"


def one_line(message: object, limit: int = 300) -> str:
    r"""Return an onnxruntime message without where in its source it arose, on one line.

    >>> one_line("[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : Load model from m.onnx failed:"
    ...          "Protobuf parsing failed.\n")
    'Protobuf parsing failed.'
    >>> one_line("[ONNXRuntimeError] : 1 : FAIL : /src/core/graph/model.cc:256 ort::Model::Model("
    ...          "ModelProto&&, bool) Unsupported model IR version: 99")
    'Unsupported model IR version: 99'
    """
    text = " ".join(str(message).split())
    for noise in _NOISE:
        text = re.sub(noise, "", text)
    return text if len(text) <= limit else text[: limit - 3] + "..."
