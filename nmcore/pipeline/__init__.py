"""From a model to a smaller one: the order of the steps."""
