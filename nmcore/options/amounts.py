"""What says how much of a model goes: a ratio, a budget or a largest drop."""

from __future__ import annotations

from collections.abc import Mapping

# Budgets that are counted, with their help on the command line: attributes of these names of
# :class:`nmcore.group.Cost` and :class:`nmcore.group.Term`.
COUNTED: Mapping[str, str] = {
    "macs": "Keep at most this share of the whole model's multiply-accumulates; groups lose "
    "different shares.",
    "params": "The same for parameters.",
}
# All budgets: the time is measured instead.
BUDGETS: Mapping[str, str] = {
    **COUNTED,
    "latency": "Take at most this share of the original's time, in the runtime on this machine.",
}
AMOUNTS = ("ratio", *BUDGETS, "max_drop")
