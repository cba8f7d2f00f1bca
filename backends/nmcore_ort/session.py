"""A model loaded in onnxruntime."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmcore.errors import ArgumentError, ModelError, OutOfMemoryError
from nmcore.plugins.conversion import Converted
from nmcore.plugins.inputs import InputSpec
from nmcore_ort.fallback import is_of_the_device, is_out_of_memory, tell_of_cpu
from nmcore_ort.installation import onnxruntime
from nmcore_ort.native_output import captured_output
from nmcore_ort.providers import CPU, CUDA, CUDA_OPTIONS, Choice, choose, one_line

FATAL_ONLY = 4
# More threads than processors can be worth a try; thousands never are.
THREADS_PER_PROCESSOR = 4
LEAST_LIMIT = 64

# The names onnxruntime gives to element types, where NumPy has another.
_DTYPES = {"float": "float32", "double": "float64", "string": "object"}


class OrtRuntime:
    """onnxruntime, as a plugin."""

    name = "onnxruntime"

    def check(self, providers: Sequence[str] = ("auto",)) -> None:
        """Raise ArgumentError unless onnxruntime is whole and can run models on ``providers``."""
        onnxruntime()
        if "cuda" in providers or not set(providers) <= {"auto", "cpu"}:
            choose(providers)

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

    def native_session(self, model: bytes, **options: Any) -> Any:
        """An ``onnxruntime.InferenceSession``; see :class:`nmcore.plugins.Native`.

        Parameters
        ----------
        **options
            Of ``InferenceSession``. Without ``providers`` it runs on CUDA where that works.
        """
        package = onnxruntime()
        if "providers" not in options:
            on_cuda = choose(["auto"]).provider == "cuda"
            options["providers"] = [(CUDA, CUDA_OPTIONS), CPU] if on_cuda else [CPU]
        return package.InferenceSession(model, **options)

    def profile(
        self, model: bytes | Path, feeds: Mapping[str, NDArray[Any]], *, threads: int = 0
    ) -> Mapping[str, float]:
        """See :class:`nmcore.plugins.capabilities.Profiling`."""
        from nmcore_ort.profile import profile

        return profile(model, feeds, threads or usable_threads())

    def check_convertible(self, model: bytes, to: str) -> None:
        """See :class:`nmcore.plugins.conversion.Converting`."""
        from nmcore_ort.conversion import check_convertible

        check_convertible(model, to)

    def convert(
        self, model: bytes, to: str, feeds: Callable[[], Sequence[Mapping[str, NDArray[Any]]]]
    ) -> Converted:
        """See :class:`nmcore.plugins.conversion.Converting`."""
        from nmcore_ort.conversion import convert

        return convert(model, to, feeds)


class OrtSession:
    """A model that is loaded and ready to run; see :class:`nmcore.plugins.protocols.Session`."""

    def __init__(self, model: bytes | Path, choice: Choice, threads: int) -> None:
        self.threads = threads
        self.notice = choice.notice
        self._name = str(model) if isinstance(model, Path) else "the model"
        on_cuda = failure = None
        if choice.provider == "cuda":
            on_cuda, failure = _tried_on_cuda(model, threads)
        try:
            self._session = _load(model, threads, [CPU]) if on_cuda is None else on_cuda
        except Exception as error:  # onnxruntime's exceptions share no narrower base class.
            raise ModelError(
                f"{self._name} does not load in onnxruntime: {one_line(error)}"
            ) from error
        # What it takes to load the model once more, should CUDA fail later.
        self._model = None if on_cuda is None else model
        if choice.provider != self.provider:
            tell_of_cpu(self._name, failure)

    @property
    def provider(self) -> str:
        """Where the model runs now."""
        return "cuda" if CUDA in self._session.get_providers() else "cpu"

    @functools.cached_property
    def inputs(self) -> Sequence[InputSpec]:
        """What the model wants.

        Raises
        ------
        ModelError
            An input is no tensor, or of an element type that NumPy does not have.
        """
        return tuple(self._spec(value) for value in self._session.get_inputs())

    @functools.cached_property
    def output_names(self) -> Sequence[str]:
        """How the outputs are called."""
        return tuple(value.name for value in self._session.get_outputs())

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

    def run(
        self, feeds: Mapping[str, NDArray[Any]], *, divisible: bool = False
    ) -> list[NDArray[Any]]:
        """Return all outputs, in the model's order.

        Where CUDA fails the model is loaded on the CPU, and stays there.

        Parameters
        ----------
        feeds : mapping of input name to array
            What the model reads.
        divisible : bool
            Whether the caller will try with fewer inputs where memory does not suffice for these;
            then the model stays on CUDA.

        Raises
        ------
        OutOfMemoryError
            Memory does not suffice.
        ModelError
            The model fails on these inputs.
        """
        try:
            return _arrays(self._session.run(None, dict(feeds)))
        except Exception as error:  # As above.
            hopeless = self._model is None or not is_of_the_device(error)
            if hopeless or (divisible and is_out_of_memory(error)):
                raise self._refusal(error) from error
            return self._run_on_cpu(feeds, error)

    def _run_on_cpu(
        self, feeds: Mapping[str, NDArray[Any]], failure: Exception
    ) -> list[NDArray[Any]]:
        """Leave CUDA, unless the model fails on the CPU as well: then CUDA is not to blame."""
        assert self._model is not None
        try:
            session = _load(self._model, self.threads, [CPU])
            outputs = _arrays(session.run(None, dict(feeds)))
        except Exception as error:  # As above.
            raise self._refusal(error) from failure
        self._session, self._model = session, None
        tell_of_cpu(self._name, failure)
        return outputs

    def _refusal(self, error: Exception) -> ModelError:
        if is_out_of_memory(error):
            return OutOfMemoryError(f"{self._name} does not run: memory does not suffice")
        return ModelError(f"{self._name} does not run: {one_line(error)}")


def _arrays(outputs: Sequence[Any]) -> list[NDArray[Any]]:
    """Outputs as arrays: sequences, maps and missing optional ones become arrays of objects."""
    return [each if isinstance(each, np.ndarray) else _boxed(each) for each in outputs]


def _boxed(output: Any) -> NDArray[Any]:
    """A sequence as a vector of what it holds, anything else as one object."""
    if not isinstance(output, list):
        box = np.empty((), object)
        box[()] = output
        return box
    row = np.empty(len(output), object)
    for place, part in enumerate(output):
        row[place] = part
    return row


def _tried_on_cuda(model: bytes | Path, threads: int) -> tuple[Any, Exception | None]:
    """The model loaded on CUDA, or None and what was raised."""
    try:
        with captured_output():
            session = _load(model, threads, [(CUDA, CUDA_OPTIONS), CPU])
    except Exception as error:  # Whether the model is at fault shows on the CPU.
        return None, error
    return (session if CUDA in session.get_providers() else None), None


def _load(model: bytes | Path, threads: int, providers: Sequence[Any]) -> Any:
    package = onnxruntime()
    options = package.SessionOptions()
    # Errors arrive as exceptions; printing them as well would only garble the terminal.
    options.log_severity_level = FATAL_ONLY
    options.intra_op_num_threads = threads
    # Idle threads of one session would otherwise keep spinning on the processors that the
    # next session needs, and make models that are timed in turn look slow.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    source = model if isinstance(model, bytes) else os.fspath(model)
    return package.InferenceSession(source, options, providers=providers, enable_fallback=0)


def usable_threads() -> int:
    """How many processors this process may use.

    onnxruntime left to itself counts those of the machine and, in a container that has fewer,
    prints an error for each one it cannot pin a thread to.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
