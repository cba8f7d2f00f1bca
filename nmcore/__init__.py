"""Make a trained network smaller without training: remove channels and merge what they did.

===================================  ==============================================================
a model, file or in memory           :func:`compress`
what it holds, and what can go       :func:`inspect`
how good and fast models are         :func:`evaluate`
many models, methods, sizes          :func:`sweep`
what each group of it can lose       :func:`sensitivity`
a layer's channels, by importance    :func:`select`
how the rest rebuilds the removed    :func:`scaling_matrix` -> :class:`Scaling`
folding that into the next layer     :func:`absorb`
a decision that was saved            :func:`load_plan`
===================================  ==============================================================

The method is Neuron Merging (Kim et al., NeurIPS 2020).
"""

from typing import TYPE_CHECKING, Any

from nmcore._version import __version__ as __version__

# Where each public name lives; importing them only when used keeps `import nmcore` quick.
_HOMES = {
    "BatchNorm": "nmcore.group",
    "Scaling": "nmcore.group",
    "absorb": "nmcore.arrays.absorption",
    "compress": "nmcore.pipeline.compress",
    "evaluate": "nmcore.evaluation.evaluate",
    "inspect": "nmcore.pipeline.inspect",
    "load_plan": "nmcore.plan.serialization",
    "scaling_matrix": "nmcore.arrays.scaling",
    "select": "nmcore.arrays.criteria",
    "sensitivity": "nmcore.pipeline.sensitivity",
    "sweep": "nmcore.sweeps.sweep",
}

__all__ = [
    "BatchNorm",
    "Scaling",
    "absorb",
    "compress",
    "evaluate",
    "inspect",
    "load_plan",
    "scaling_matrix",
    "select",
    "sensitivity",
    "sweep",
]

if TYPE_CHECKING:
    from nmcore.arrays.absorption import absorb
    from nmcore.arrays.criteria import select
    from nmcore.arrays.scaling import scaling_matrix
    from nmcore.evaluation.evaluate import evaluate
    from nmcore.group import BatchNorm, Scaling
    from nmcore.pipeline.compress import compress
    from nmcore.pipeline.inspect import inspect
    from nmcore.pipeline.sensitivity import sensitivity
    from nmcore.plan.serialization import load_plan
    from nmcore.sweeps.sweep import sweep


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module 'nmcore' has no attribute {name!r}")
    found = getattr(import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
