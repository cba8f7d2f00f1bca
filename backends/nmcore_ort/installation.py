"""Whether the onnxruntime that is installed can be used, and what to do where it cannot.

Its wheels (``onnxruntime``, ``onnxruntime-gpu`` and others) put different files in one folder: the
second overwrites the first, and uninstalling either takes files of both.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from importlib import metadata
from typing import Any

from nmcore.errors import ArgumentError
from nmcore_ort.native_output import captured_output

# Distributions that all install the package ``onnxruntime``.
WHEELS = (
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-directml",
    "onnxruntime-openvino",
    "onnxruntime-rocm",
    "onnxruntime-migraphx",
    "onnxruntime-qnn",
    "onnxruntime-training",
)
_EITHER = "pip install onnxruntime-gpu (CPU and CUDA) or pip install onnxruntime (CPU alone)"


@functools.cache
def onnxruntime() -> Any:
    """The package onnxruntime.

    Raises
    ------
    ArgumentError
        It is not installed, more than once, or in part.
    """
    wheels = installed_wheels()
    if len(wheels) > 1:
        raise ArgumentError(
            f"{' and '.join(wheels)} are installed, of which each overwrites files of the other: "
            f"pip uninstall -y {' '.join(wheels)}, then {_EITHER}"
        )
    try:
        with captured_output():  # Importing it can already warn about odd devices.
            import onnxruntime as package
        if hasattr(package, "InferenceSession"):
            return package
        problem = "its package is empty"
    except Exception as error:  # What is left of a package can fail in any way.
        problem = " ".join(str(error).split()) or type(error).__name__
    if not wheels:
        raise ArgumentError(f"no onnxruntime is installed: {_EITHER}")
    raise ArgumentError(
        f"{wheels[0]} does not load ({problem}); uninstalling another of its kind damages it: "
        f"pip install --force-reinstall --no-deps {wheels[0]}"
    )


def installed_wheels(names: Sequence[str] = WHEELS) -> list[str]:
    """Which of some distributions are installed.

    >>> installed_wheels(["numpy", "no-such-package"])
    ['numpy']
    """
    found = []
    for name in names:
        try:
            metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        found.append(name)
    return found
