"""How a model came to be opened as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir

from nmcore.group import Declined


@dataclass(frozen=True, eq=False)
class Origin:
    """How a model came to be opened as it is.

    Attributes
    ----------
    source : ir.Model
        The model as it was read, where that which is opened computes the same in another way. It is
        the result for as long as nothing has changed.
    left_out : sequence of str
        What of the file was not taken over, a line each.
    states : bool
        Whether states that are inputs and outputs of the model may shrink.
    declined : sequence of Declined
        Why nodes stayed where more weights were computed beforehand: that is what keeps them.
    reopen : callable, optional
        Opens the source again, with states that may shrink.
    backward : mapping of group name to sequence of int
        The backward units of recurrent layers that are units 0, 1, ... here, where they are others.
    """

    source: ir.Model
    left_out: Sequence[str] = ()
    states: bool = False
    declined: Sequence[Declined] = ()
    reopen: Callable[[], Any] | None = None
    backward: Mapping[str, Sequence[int]] = field(default_factory=dict)
