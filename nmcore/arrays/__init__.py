"""Weights in, weights out: selection, the scaling matrix Z, and its absorption."""
