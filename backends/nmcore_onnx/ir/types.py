"""Types that the modules of the plugin share."""

from __future__ import annotations

# The length of an axis, or the name of a dynamic one.
Dim = int | str
# Shapes by value name.
Shapes = dict[str, tuple[Dim, ...]]
