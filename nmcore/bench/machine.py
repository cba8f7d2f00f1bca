"""What the figures depend on."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = ("nmcore", "numpy", "numba", "onnxruntime", "onnxruntime-gpu")


def machine(threads: int, packages: Iterable[str] = ()) -> dict[str, Any]:
    """Return what the figures depend on: processor, threads, load, and versions.

    Parameters
    ----------
    threads : int
        How many every contender may use.
    packages : iterable of str
        The distributions whose versions are wanted, besides nmcore's and what it is built on.

    Examples
    --------
    >>> machine(2)["threads"]
    2
    """
    versions = {}
    for package in dict.fromkeys([*_PACKAGES, *packages]):
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
