"""The strategies: how the channels of a graph are chosen, removed and compensated."""
