"""Cutting a group of a graph as a compression does."""

from __future__ import annotations

from nmcore.group import Refit


def cut(graph, group, kept, weights, biases):
    """Give every consumer of a group new weights on the kept channels, and remove the others."""
    for index, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        graph.update(group, index, Refit(kept, weight, bias))
    graph.remove(group, kept)
