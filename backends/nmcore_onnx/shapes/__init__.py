"""The shapes of a model's values."""
