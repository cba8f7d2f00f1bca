"""The errors a user can cause and mend; the command line prints each as one line.

Anything else that escapes is a bug in nmcore and keeps its traceback.
"""


class NmcoreError(ValueError):
    """What the user gave cannot be used; the message names it and says what is needed."""


class ArgumentError(NmcoreError):
    """An array, an option or a combination of them is not usable."""


class BudgetError(ArgumentError):
    """What may be left of a model is less than the least that can be left of it."""


class ModelError(NmcoreError):
    """A model cannot be read, is broken, or is of a kind that no backend opens."""


class DataError(NmcoreError):
    """A data file cannot be read or does not fit the model."""


class VerificationError(Exception):
    """The compressed model is not what the plan says: a bug in nmcore, never the user's mistake."""
