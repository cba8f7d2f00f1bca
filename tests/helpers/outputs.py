"""Outputs of two models, given to a metric."""

from __future__ import annotations

import numpy as np

from nmcore.evaluation.outputs import Batch

RNG = np.random.default_rng(0)


def batch(original, outputs, y=None, counts=None, start=0):
    places = np.arange(start, start + len(outputs[0]))
    return Batch(original, outputs, y, places, counts)


def values(metric, *batches):
    for each in batches:
        metric.add(each)
    return metric.values()


def softmax(x):
    return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


__all__ = ["RNG", "batch", "softmax", "values"]
