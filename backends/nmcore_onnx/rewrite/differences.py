"""What a compressed model lacks of the original, or asks for otherwise, in words."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from nmcore_onnx.ir import defaults
from nmcore_onnx.ir.arrays import clipped


def differences(source: ir.Model, opened: ir.Model, result: ir.Model) -> Iterator[str]:
    """Functions and branches that are plain nodes now, and weights that callers may set.

    Parameters
    ----------
    source : ir.Model
        As it was read.
    opened : ir.Model
        The same with functions and decided branches written out, which was compressed.
    result : ir.Model
        What became of it.
    """
    gone = set(source.functions) - set(result.functions)
    if gone:
        count = f"{len(gone)} functions" if len(gone) > 1 else "1 function"
        yield f"{count} of the model's own became plain nodes where they are called"
    if count_ifs(opened) < count_ifs(source) and count_ifs(result) < count_ifs(source):
        yield "Ifs that can take but one branch became that branch"
    before, after = (defaults.listed(model) for model in (source, result))
    now = {value.name: value.shape for value in after}
    changed = [
        str(value.name)
        for value in before
        if value.name not in now or now[value.name] != value.shape
    ]
    if changed:
        weights = f"{len(changed)} weights" if len(changed) > 1 else "1 weight"
        yield (
            f"{weights} that the model lists as inputs changed in shape or went, {changed[0]!r} "
            "first: whoever sets them has to know"
        )


def clipped_weights(source: ir.Model, result: ir.Model) -> Iterator[str]:
    """Which weights became too large for the half precision that they are stored in."""
    before, after = (
        {
            str(name): clipped(value.const_value.numpy())
            for name, value in model.graph.initializers.items()
            if value.const_value is not None and value.dtype == ir.DataType.FLOAT16
        }
        for model in (source, result)
    )
    more = {name: count - before.get(name, 0) for name, count in after.items()}
    found = {name: count for name, count in more.items() if count > 0}
    if found:
        yield (
            f"{sum(found.values())} numbers in {len(found)} weights became larger than half "
            f"precision holds, first in {next(iter(found))!r}, and are 65504 now"
        )


def is_inlined(source: ir.Model, opened: ir.Model) -> bool:
    """Whether functions or branches of a model became plain nodes as it was opened."""
    return bool(source.functions) or count_ifs(source) > count_ifs(opened)


def count_ifs(model: ir.Model) -> int:
    """How many Ifs a model holds, also inside others."""
    return sum(node.op_type == "If" for node in model.graph.all_nodes())
