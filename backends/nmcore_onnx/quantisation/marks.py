"""How a value or a node of the model of floats tells what it was in the quantised one."""

from __future__ import annotations

import onnx_ir as ir

from nmcore_onnx.ir import constants
from nmcore_onnx.ir.arrays import Masks

# Of a constant: the form it is stored in. Of a node: what it is written as.
FORM = "nmcore.quantised"
# Of a constant: what is left of it on each axis, and the order of its axes where that changed.
KEPT, ORDER = "nmcore.kept", "nmcore.order"
# Of a quantised node whose weight is not read, why.
UNREAD = "nmcore.unread"


ADVICE = "compress the model before quantising it"


def is_quantised(value: ir.Value | None) -> bool:
    """Whether a constant is stored as integers."""
    found = constants.source(value)
    return found is not None and FORM in found.meta


def note_kept(value: ir.Value | None, masks: Masks) -> None:
    """Let a quantised constant tell which entries are left of it."""
    found = constants.source(value)
    if found is not None and FORM in found.meta:
        found.meta[KEPT] = dict(masks)


def reason(node: ir.Node) -> str:
    """Why the channels of a quantised node stay, in a clause."""
    why = node.meta.get(UNREAD, "quantised in a form that is not read back")
    return f"{why}: {ADVICE}"
