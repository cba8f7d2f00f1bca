"""What a rule must show: the runtime gives the same for the cut model and its full-width twin."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx import numpy_helper

import nmcore
from chain import run
from nmcore_onnx import backend

METHODS = ("merge", "prune", "ridge")


def widths(model):
    """How many units each group of a model has, by name."""
    return {group.name: group.width for group in backend.open(model).groups}


def reasons(model):
    """Why nodes are left alone, by name."""
    return {place.node: place.reason for place in backend.open(model).declined}


def prove(model, expected, **options):
    """Cut half of the channels of the expected groups with each method, and verify it."""
    assert widths(model) == expected
    for method in METHODS:
        result = nmcore.compress(
            model, ratio=0.5, method=method, verify=True, providers=("cpu",), threads=1, **options
        )
        assert result.report.verified
        assert {group.name for group in result.report.groups} == set(expected)
        assert all(group.kept < group.width for group in result.report.groups)
        assert result.after.params < result.before.params


def prove_twins(model, units, parts):
    """Let the last of some equal units go, and see that nothing is lost.

    The last unit is made a copy of the first, which is made smaller than the others: it goes.
    ``parts`` has, for each length that the last axis of constants with these units has, the
    lengths of its parts, in each of which all units stand side by side.
    """
    for tensor in model.graph.initializer:
        lengths = parts.get(tensor.dims[-1]) if tensor.dims else None
        if lengths is not None:
            array = numpy_helper.to_array(tensor).copy()
            for part in np.split(array, np.cumsum(lengths)[:-1], axis=-1):
                runs = part.reshape(*array.shape[:-1], units, -1)
                runs[..., 0, :] *= 0.25
                runs[..., -1, :] = runs[..., 0, :]
                part[...] = runs.reshape(part.shape)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    (name,) = widths(model)
    assert widths(model) == {name: units}
    result = nmcore.compress(
        model, keep={name: units - 1}, method="merge", criterion="l1", verify=True, threads=1
    )
    assert result.after.params < result.before.params
    shape = [axis.dim_value for axis in model.graph.input[0].type.tensor_type.shape.dim]
    feeds = {"input": np.random.default_rng(1).standard_normal(shape).astype("f4")}
    before, after = (run(each, feeds)[0] for each in (model, ir.to_proto(result.model)))
    np.testing.assert_allclose(after, before, atol=1e-5 * np.abs(before).max())
