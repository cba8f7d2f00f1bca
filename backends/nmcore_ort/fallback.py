"""What to do where CUDA starts and then fails: go on with the CPU, and say so."""

from __future__ import annotations

import re

from nmcore.utils.logs import tell
from nmcore_ort.providers import cause

# How onnxruntime's allocators, CUDA and its libraries say that memory does not suffice.
_OUT_OF_MEMORY = re.compile(
    r"failed to allocate memory|bad_alloc|bad allocation|out of memory|alloc_failed", re.IGNORECASE
)


def is_out_of_memory(error: Exception) -> bool:
    """Whether an exception of onnxruntime says that memory does not suffice.

    There is no type for it: allocators fail as ``Fail`` or as ``RuntimeException``.

    >>> is_out_of_memory(RuntimeError("CUDA failure 2: out of memory ; GPU=0 ; hostname=host"))
    True
    >>> is_out_of_memory(RuntimeError("CUDA failure 700: an illegal memory access"))
    False
    """
    return isinstance(error, MemoryError) or bool(_OUT_OF_MEMORY.search(str(error)))


def is_of_the_device(error: Exception) -> bool:
    """Whether the same may work elsewhere; inputs that a model does not take, it takes nowhere."""
    is_misuse = isinstance(error, (TypeError, ValueError))
    return not (is_misuse or type(error).__name__ == "InvalidArgument")


def tell_of_cpu(name: str, error: Exception | None) -> None:
    """Tell the user that something goes on with the CPU, and what happened on CUDA.

    Parameters
    ----------
    name : str
        What goes on.
    error : Exception or None
        What was raised; None where onnxruntime changed to the CPU without a word.
    """
    if error is None:
        problem = "does not start on CUDA"
    elif is_out_of_memory(error):
        problem = "does not fit into the memory of the CUDA device"
    else:
        problem = f"failed on CUDA ({cause(str(error))})"
    tell(f"going on with the CPU: {name} {problem}")
