"""How the channels of a whole model can be compensated; ``auto`` takes the best applicable one."""

from __future__ import annotations

# Refits what reads the channels to measured moments; the others build a scaling matrix from
# weights alone, as :data:`nmcore.arrays.scaling.METHODS` has them.
RECONSTRUCTION = "moments"
METHODS = ("prune", "merge", "ridge", RECONSTRUCTION, "nmf")
