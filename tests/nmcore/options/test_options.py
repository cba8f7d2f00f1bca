"""The options of a compression as the program sees them."""

from __future__ import annotations

from dataclasses import fields
from inspect import Parameter, signature

import nmcore
from nmcore.options.options import CompressOptions

# What is worked on, and who looks on, is no option.
APART = ("model", "plan", "data", "metric", "progress", "executor")


def test_the_defaults_are_those_of_compress():
    """They stand in two places, of which users read the one and the program the other."""
    parameters = signature(nmcore.compress).parameters.values()
    stated = {each.name: each.default for each in parameters if each.name not in APART}
    assert stated == {each.name: each.default for each in fields(CompressOptions)}
    assert Parameter.empty not in stated.values()
    assert CompressOptions.checked(**stated) == CompressOptions()
