"""Random networks from the blocks that real ones are made of.

:func:`generate` makes the same network for the same seed, so a failing test only has to name it::

    from random_graphs import generate
    onnx.save(generate(17, "none").model, "failing.onnx")

A network with ``copies`` holds every hidden channel twice; see :mod:`random_graphs.pictures`.
"""

from random_graphs.branches import in_branches
from random_graphs.networks import Sample, generate, of_block
from random_graphs.pictures import BLOCKS

__all__ = ["BLOCKS", "Sample", "generate", "in_branches", "of_block"]
