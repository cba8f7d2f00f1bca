"""What networks are shown so that their activations can be measured."""
