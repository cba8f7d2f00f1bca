"""Graphs that measure: moments, batch norm statistics, pairs of layers, statistics of inputs."""
