"""How the channels of a whole model can be compensated; ``auto`` takes the best applicable one."""

from __future__ import annotations

from nmcore.arrays import scaling

# Refits what reads the channels to measured moments; the others build a scaling matrix from
# weights alone. Of the methods for arrays, affine is what that refit is for a single group.
RECONSTRUCTION = "moments"
METHODS = (*(name for name in scaling.METHODS if name != "affine"), RECONSTRUCTION)
# What the weights can become afterwards.
THEN = ("int8", "fp16")
