"""Reports as compressions of different kinds would write them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nmcore.arrays.elimination import Curve
from nmcore.arrays.scaling import scaling_matrix
from nmcore.evaluation.fidelity import Fidelity
from nmcore.evaluation.latency import Latency
from nmcore.group import Cost, Declined
from nmcore.plan.outcome import Outcome
from nmcore.plan.plan import GroupPlan
from nmcore.report.report import GroupReport, Measures, Report
from nmcore.report.warnings import warnings_of


def outcome(name="conv", width=8, kept=4, *, method="merge", seed=0, inputs=6):
    """What a method made of a group of random rows."""
    rng = np.random.default_rng(seed)
    stays = np.sort(rng.permutation(width)[:kept])
    plan = GroupPlan(name, width, tuple(map(int, stays)), method, f"{method}: because")
    if method == "moments":
        error = np.cumsum(rng.random(width - 1) ** 4) / width
        order = rng.permutation(width)[: width - 1]
        return Outcome(plan, width - kept, curve=Curve(order, error))
    scaling = scaling_matrix(rng.standard_normal((width, inputs)), stays, method, threshold=0.3)
    return Outcome(plan, scaling.merged, scaling)


def report(*outcomes, **changes):
    """The account of these outcomes, with the warnings that it calls for."""
    given = {
        "before": Measures.of(Cost(3, 1000, 5000), 4000, Latency(2.0, 1.9, 2.1, 50)),
        "after": Measures.of(Cost(3, 600, 2500), 2400, Latency(1.5, 1.4, 1.6, 50)),
        "groups": tuple(GroupReport.of(each, picture=True) for each in outcomes),
        "declined": (Declined("fc", "Gemm", "its channels are the output 'y'"),),
        "notes": ("measured on synthetic inputs",),
        "command": "nmcore compress a.onnx b.onnx",
        "seed": 7,
        "provider": "cpu",
        "threads": 2,
        "verified": True,
        "model": "a.onnx",
        "fidelity": Fidelity(
            *("data.npz", 200, 92.5, 91.25, 97.5, 12.0),
            metrics={"top1": 91.25, "agreement": 97.5, "deviation": 12.0},
            before={"top1": 92.5},
        ),
    }
    found = Report(**(given | changes))
    return replace(found, warnings=tuple(warnings_of(found)))
