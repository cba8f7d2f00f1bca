"""Measuring models: fidelity, latency, and the proof that a rewrite is exact."""
