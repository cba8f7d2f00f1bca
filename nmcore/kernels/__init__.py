"""The kernels by name: ``numpy``, ``numba``, and whatever is installed under ``nmcore.kernels``.

A third party adds one by naming a module (see :mod:`nmcore.kernels.numpy_`) in the entry-point
group ``nmcore.kernels``; ``ort`` of the onnxruntime plugin is such a one.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module, metadata
from typing import cast

from nmcore.errors import ArgumentError
from nmcore.kernels.protocol import Kernel

GROUP = "nmcore.kernels"
_BUILT_IN = {"numpy": "nmcore.kernels.numpy_", "numba": "nmcore.kernels.numba_"}
# Below this many multiplications the compiled passes save less time than they take to load.
_LARGE = 1 << 28


def kernel_names() -> list[str]:
    """Every kernel that can be asked for by name, without loading any.

    Examples
    --------
    >>> {"numpy", "numba"} <= set(kernel_names())
    True
    """
    return sorted({*_BUILT_IN, *(entry.name for entry in metadata.entry_points(group=GROUP))})


def get_kernel(name: str, work: int = 0) -> Kernel:
    """Return the kernel called `name`; ``auto`` chooses by how many multiplications there are.

    Raises
    ------
    ArgumentError
        If there is none of that name, or what it needs is not installed.

    Examples
    --------
    >>> get_kernel("auto", work=100).NAME
    'numpy'
    >>> get_kernel("fortran")
    Traceback (most recent call last):
    nmcore.errors.ArgumentError: kernel: got 'fortran'; need one of auto, ...
    """
    if name == "auto":
        name = "numba" if work >= _LARGE else "numpy"
    return _load(name)


@cache
def _load(name: str) -> Kernel:
    if name in _BUILT_IN:
        return cast(Kernel, import_module(_BUILT_IN[name]))
    for entry in metadata.entry_points(group=GROUP, name=name):
        try:
            return cast(Kernel, entry.load())
        except ImportError as error:
            raise ArgumentError(f"kernel: {name!r} cannot be loaded: {error}") from error
    raise ArgumentError(f"kernel: got {name!r}; need one of {', '.join(['auto', *kernel_names()])}")
