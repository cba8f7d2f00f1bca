"""CUDA that starts on any machine, and fails as a test wants it."""

from __future__ import annotations

import logging

import onnxruntime
import pytest

from nmcore.utils import logs
from nmcore_ort import kernel, providers
from nmcore_ort.providers import CPU, CUDA


class FakeCuda:
    """What the sessions of a process do that were asked to run on CUDA; they compute on the CPU.

    Attributes
    ----------
    starts : bool or Exception
        Whether CUDA starts; onnxruntime may also change to the CPU without a word.
    failure : Exception or None
        What a run raises.
    fits : int
        The longest batch that fits into the memory of the device.
    ran : list of int
        The length of each batch that was tried there.
    """

    def __init__(self):
        self.starts, self.failure, self.fits, self.ran = True, None, 10**9, []

    def start(self):
        if isinstance(self.starts, Exception):
            raise self.starts
        return self.starts

    def run(self, count):
        self.ran.append(count)
        if self.failure is not None:
            raise self.failure
        if count > self.fits:
            raise onnxruntime.capi.onnxruntime_pybind11_state.RuntimeException(
                "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while "
                "running MatMul node. Name:'' Status Message: /src/bfc_arena.cc:376 void* "
                "onnxruntime::BFCArena::AllocateRawInternal(size_t, bool) Failed to allocate "
                "memory for requested buffer of size 800000000"
            )


@pytest.fixture
def cuda(monkeypatch):
    """Let CUDA be there and do as told; nothing was said to the user before."""
    fake = FakeCuda()

    class Session(onnxruntime.InferenceSession):
        def __init__(self, model, options=None, providers=(CPU,), **rest):
            self.fakes = providers[0] != CPU and fake.start()
            super().__init__(model, options, providers=[CPU], **rest)

        def get_providers(self):
            return [CUDA, CPU] if self.fakes else [CPU]

        def run(self, names, feeds):
            if self.fakes:
                fake.run(max(len(array) for array in feeds.values()))
            return super().run(names, feeds)

        def run_with_iobinding(self, binding):
            if self.fakes:
                fake.run(1)
            return super().run_with_iobinding(binding)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    monkeypatch.setattr(providers, "cuda_problem", lambda: None)
    monkeypatch.setattr(kernel, "_device", kernel._Device())
    placed = kernel._Cache.get
    monkeypatch.setattr(kernel._Cache, "get", lambda self, array, _: placed(self, array, "cpu"))
    kernel._session.cache_clear()
    logs.tell.cache_clear()
    # The command line, where it has run in this process, takes them for itself.
    monkeypatch.setattr(logging.getLogger(logs.NOTICES), "propagate", True)
    yield fake
    kernel._session.cache_clear()
