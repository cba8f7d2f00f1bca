"""Recurrent layers: what stands where, what they begin with, what their weights read and give."""
