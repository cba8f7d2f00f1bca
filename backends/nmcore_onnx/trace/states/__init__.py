"""States that are inputs and outputs of a model: of recurrent layers, and keys and values."""
