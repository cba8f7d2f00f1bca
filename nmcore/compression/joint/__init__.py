"""Layers that are fitted together once all groups are cut: pairs, and residual blocks."""
