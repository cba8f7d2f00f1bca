"""The errors a user can cause and mend; the command line prints each as one line.

Anything else that escapes is a bug in nmcore and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class NmcoreError(ValueError):
    """What the user gave cannot be used; the message names it and says what is needed."""


class ArgumentError(NmcoreError):
    """An array, an option or a combination of them is not usable."""


class BudgetError(ArgumentError):
    """What may be left of a model is less than the least that can be left of it."""


class ModelError(NmcoreError):
    """A model cannot be read, is broken, or is of a kind that no backend opens."""


class OutOfMemoryError(ModelError):
    """A model and what it is given do not fit into memory."""


class DataError(NmcoreError):
    """A data file cannot be read or does not fit the model."""


class VerificationError(Exception):
    """The compressed model is not what the plan says: a bug in nmcore, never the user's mistake."""


@contextmanager
def blaming(model: str, fault: Callable[[], str | None]) -> Iterator[None]:
    """Let what goes wrong inside be the model's fault, where the model is at fault.

    A model that breaks its format's rules can break any assumption: errors that it leads to are
    told as such. With a model that keeps them, they are bugs and pass as they are.

    Parameters
    ----------
    model : str
        What errors call it.
    fault : callable
        Says in one line which rule the model breaks, or None; asked only when something went wrong.

    Raises
    ------
    ModelError
        Instead of any other error than the user's, where there is a fault.

    Examples
    --------
    >>> with blaming("a.onnx", lambda: "its node has no inputs"):
    ...     [][0]
    Traceback (most recent call last):
    nmcore.errors.ModelError: a.onnx is not a valid model: its node has no inputs
    """
    try:
        yield
    except NmcoreError:
        raise
    except Exception as error:
        found = fault()
        if found is None:
            raise
        raise ModelError(f"{model} is not a valid model: {found}") from error


def not_finite(name: str) -> ArgumentError:
    """The error of an array that holds NaN or infinity."""
    return ArgumentError(f"{name}: holds NaN or infinity; need finite numbers")
