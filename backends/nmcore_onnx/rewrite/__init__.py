"""The smaller model: changed weights, the copy that they are written into, and its reference."""
