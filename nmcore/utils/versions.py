"""The versions of the packages that a result depends on."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, version

REPORTED_PACKAGES = (
    "nmcore",
    "numpy",
    "numba",
    "onnx",
    "onnx-ir",
    "onnxruntime-gpu",
    "onnxruntime",
)


def installed_versions() -> dict[str, str]:
    """Return the version of Python and of every installed package that the result rests on."""
    found = {"python": platform.python_version(), "platform": sys.platform}
    for package in REPORTED_PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
