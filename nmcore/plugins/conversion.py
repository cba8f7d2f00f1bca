"""What runtimes may offer: models in smaller numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray


@dataclass(frozen=True)
class Converted:
    """A model in smaller numbers.

    Attributes
    ----------
    model : bytes
        It, serialised.
    how : str
        How it came about, in words.
    fitted : bool
        Whether ranges were measured on the inputs at hand.
    """

    model: bytes
    how: str
    fitted: bool


@runtime_checkable
class Converting(Protocol):
    """A runtime that writes models in smaller numbers."""

    def check_convertible(self, model: bytes, to: str) -> None:
        """Raise where no weight of a model would become another, before any work.

        Parameters
        ----------
        model, to
            As for :meth:`convert`.

        Raises
        ------
        ModelError
            None would.
        """
        ...

    def convert(
        self, model: bytes, to: str, feeds: Callable[[], Sequence[Mapping[str, NDArray[Any]]]]
    ) -> Converted:
        """The model with weights of another type; its inputs and outputs keep theirs.

        Parameters
        ----------
        model : bytes
            An fp32 model, serialised.
        to : {"int8", "fp16"}
            What its weights become.
        feeds : callable
            Gives what the model is fed with run by run, where ranges have to be measured.

        Raises
        ------
        ModelError
            It has no such weights, or cannot be converted.
        """
        ...
