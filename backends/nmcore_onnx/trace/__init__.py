"""The dependency graph: which channels must be kept or removed together, and where they are."""
