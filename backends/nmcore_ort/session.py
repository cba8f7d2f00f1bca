"""A model loaded in onnxruntime."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmcore.errors import ArgumentError, ModelError
from nmcore.plugins import InputSpec
from nmcore_ort.providers import CPU, CUDA, CUDA_OPTIONS, Choice, choose, fallback_notice, one_line
from nmcore_ort.quiet import captured_output

FATAL_ONLY = 4
# More threads than processors can be worth a try; thousands never are.
THREADS_PER_PROCESSOR = 4
LEAST_LIMIT = 64

# The names onnxruntime gives to element types, where NumPy has another.
_DTYPES = {"float": "float32", "double": "float64", "string": "object"}


class OrtRuntime:
    """onnxruntime, as a plugin."""

    name = "onnxruntime"

    def session(
        self, model: bytes | Path, *, providers: Sequence[str] = ("auto",), threads: int = 0
    ) -> OrtSession:
        """Load a model on the first of ``providers`` that really starts.

        Parameters
        ----------
        model : bytes or Path
            A serialised model or its file; external data is found beside the file.
        providers : sequence of {"auto", "cuda", "cpu"}
            In order of preference.
        threads : int
            Threads that one operator may use on the CPU; 0 for all that this process may use.

        Raises
        ------
        ArgumentError
            A provider is not known, or there are far more threads than processors.
        ModelError
            onnxruntime does not load the model.
        """
        most = max(LEAST_LIMIT, THREADS_PER_PROCESSOR * (os.cpu_count() or 1))
        if threads > most:  # onnxruntime starts them all and then waits for ever
            raise ArgumentError(f"threads is {threads}; this machine can use at most {most}")
        return OrtSession(model, choose(providers), threads or usable_threads())


class OrtSession:
    """A model that is loaded and ready to run; see :class:`nmcore.plugins.Session`."""

    def __init__(self, model: bytes | Path, choice: Choice, threads: int) -> None:
        self.threads = threads
        self.notice = choice.notice
        self._name = str(model) if isinstance(model, Path) else "the model"
        with captured_output():
            import onnxruntime
        options = onnxruntime.SessionOptions()
        # Errors arrive as exceptions; printing them as well would only garble the terminal.
        options.log_severity_level = FATAL_ONLY
        options.intra_op_num_threads = threads
        # Idle threads of one session would otherwise keep spinning on the processors that the
        # next session needs, and make models that are timed in turn look slow.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        try:
            self._session = _load(model, options, cuda=choice.provider == "cuda")
        except Exception as error:  # onnxruntime's exceptions share no narrower base class.
            raise ModelError(
                f"{self._name} does not load in onnxruntime: {one_line(error)}"
            ) from error
        self.provider = "cuda" if CUDA in self._session.get_providers() else "cpu"
        if self.provider != choice.provider:
            self.notice = fallback_notice("this model does not start on CUDA", asked=False)

    @functools.cached_property
    def inputs(self) -> Sequence[InputSpec]:
        """What the model wants.

        Raises
        ------
        ModelError
            An input is no tensor, or of an element type that NumPy does not have.
        """
        return tuple(self._spec(value) for value in self._session.get_inputs())

    def _spec(self, value: Any) -> InputSpec:
        kind = value.type.removeprefix("tensor(").removesuffix(")")
        try:
            dtype = np.dtype(_DTYPES.get(kind, kind))
        except TypeError:
            raise ModelError(
                f"{self._name}: input {value.name!r} is a {value.type}, which cannot be fed"
            ) from None
        shape = tuple(size if isinstance(size, int) else None for size in value.shape)
        symbols = tuple(size if isinstance(size, str) and size else None for size in value.shape)
        return InputSpec(value.name, shape, dtype, symbols)

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Return all outputs, in the model's order.

        Raises
        ------
        ModelError
            The model fails on these inputs.
        """
        try:
            return list(self._session.run(None, dict(feeds)))
        except Exception as error:  # As above.
            raise ModelError(f"{self._name} does not run: {one_line(error)}") from error


def _load(model: bytes | Path, options: Any, *, cuda: bool) -> Any:
    import onnxruntime

    source = model if isinstance(model, bytes) else os.fspath(model)
    if not cuda:
        return onnxruntime.InferenceSession(source, options, providers=[CPU], enable_fallback=0)
    with captured_output():
        return onnxruntime.InferenceSession(
            source, options, providers=[(CUDA, CUDA_OPTIONS), CPU], enable_fallback=0
        )


def usable_threads() -> int:
    """How many processors this process may use.

    onnxruntime left to itself counts those of the machine and, in a container that has fewer,
    prints an error for each one it cannot pin a thread to.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
