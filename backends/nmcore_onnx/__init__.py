"""nmcore's plugin for ONNX graphs: tracing channels, reading weights, writing smaller models.

From the top; imports go down only:

* ``plugin`` opens models, ``graph`` is an opened one, as :class:`nmcore.plugins.Graph` asks;
* ``probes`` makes graphs that measure; ``cost`` counts parameters and multiply-accumulates;
* ``rewrite`` makes the smaller model;
* ``trace`` is the dependency graph: ``rules`` say where channels go, ``operators`` what an operator
  with weights is;
* ``storage`` reads, validates and writes files;
* ``shapes`` infers the shapes of all values;
* ``ir`` holds helpers over onnx-ir.
"""

import logging

from nmcore_onnx.plugin import OnnxBackend

# Its passes tell at level INFO what they removed from each probe; who set a level keeps it.
_onnx_ir = logging.getLogger("onnx_ir")
if _onnx_ir.level == logging.NOTSET:
    _onnx_ir.setLevel(logging.WARNING)

backend = OnnxBackend()

__all__ = ["OnnxBackend", "backend"]
