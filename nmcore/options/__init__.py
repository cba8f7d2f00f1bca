"""Options, and their checks."""
