"""How much each group may lose under a budget."""
