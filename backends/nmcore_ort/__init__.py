"""The onnxruntime plugin: loads models and runs them, on CUDA where that really works.

``runtime`` is what the entry point offers; it fulfils
:class:`nmcore.plugins.protocols.RuntimeBackend`.
onnxruntime itself is imported when the first session is asked for, not before.
"""

from nmcore_ort.session import OrtRuntime, OrtSession

__all__ = ["OrtRuntime", "OrtSession", "runtime"]

runtime = OrtRuntime()
