"""How many channels the options ask of each group."""

from __future__ import annotations

from nmcore.group import Group
from nmcore.plan.selection import Selection


def test_what_attention_heads_hold_counts_when_widths_are_rounded():
    heads = Group("heads", 6, ["values"], ["out"], block=32)
    assert Selection(ratio=0.5, multiple=8).counts([heads], []) == {"heads": 3}
