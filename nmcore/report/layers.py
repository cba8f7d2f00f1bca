"""The network layer by layer, before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nmcore.plugins.capabilities import Layer


@dataclass(frozen=True)
class LayerReport:
    """A node with weights in both models.

    Attributes
    ----------
    name, op : str
        Its name and its operator.
    width_before, width_after : int or None
        The channels that it makes.
    macs_before, macs_after : int or None
        Multiply-accumulates of one sample.
    ms_before, ms_after : float or None
        Milliseconds of a run, by the runtime's own profile, with what follows it up to the next
        layers; None where that was not measured, or the runtime calls it by no name that is known.
    """

    name: str
    op: str
    width_before: int | None
    width_after: int | None
    macs_before: int | None
    macs_after: int | None
    ms_before: float | None = None
    ms_after: float | None = None


Times = Mapping[str, float]


def layer_reports(
    before: Sequence[Layer], after: Sequence[Layer], times: tuple[Times, Times] = ({}, {})
) -> tuple[LayerReport, ...]:
    """Join the layers of both models that have one name.

    Parameters
    ----------
    times : pair of mapping of str to float
        Milliseconds of each kernel of both, by its name.

    >>> conv = Layer("conv", "Conv", 8, 100, frozenset({"conv", "relu"}))
    >>> layer_reports([conv], [conv], ({"relu": 0.5, "other": 1.0}, {}))[0].ms_before
    0.5
    """
    left = {layer.name: layer for layer in after}
    pairs = [(layer, left[layer.name]) for layer in before if layer.name in left]
    return tuple(
        LayerReport(
            *(layer.name, layer.op, layer.width, other.width, layer.macs, other.macs),
            *(_time(each, kernels) for each, kernels in zip((layer, other), times, strict=True)),
        )
        for layer, other in pairs
    )


def _time(layer: Layer, kernels: Times) -> float | None:
    known = [kernels[name] for name in layer.names if name in kernels]
    return round(sum(known), 5) if known else None
