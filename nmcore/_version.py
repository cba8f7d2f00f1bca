"""The version of nmcore."""

__version__ = "0.1.0"
