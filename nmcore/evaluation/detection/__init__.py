"""Detectors: the forms that their outputs have, as boxes, and which boxes are the same."""
