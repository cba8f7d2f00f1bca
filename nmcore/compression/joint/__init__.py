"""Layers that are fitted together, once the channels of all groups are cut."""
