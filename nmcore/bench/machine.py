"""What the figures depend on."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = (
    "nmcore", "numpy", "numba", "scikit-learn", "scipy", "torch", "faiss-cpu", "onnxruntime",
    "onnxruntime-gpu",
)  # fmt: skip


def machine(threads: int) -> dict[str, Any]:
    """Return what the figures depend on: processor, threads, load, and the versions at hand.

    Examples
    --------
    >>> machine(2)["threads"]
    2
    """
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "processor": _processor(),
        "threads": threads,
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "versions": versions,
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
