"""Recurrent layers: what stands where, their states, and what their weights read and give."""
