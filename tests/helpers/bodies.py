"""Models whose layers are in the bodies of If, Loop and Scan, with twins among their channels."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT, BOOL, INT64 = TensorProto.FLOAT, TensorProto.BOOL, TensorProto.INT64
value = helper.make_tensor_value_info
node = helper.make_node
constant = numpy_helper.from_array


class Weights:
    """Random weights; the last row of a twin is equal to its first, which is its smallest."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)

    def plain(self, name: str, *shape: int) -> onnx.TensorProto:
        array = self.rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
        return constant(array.astype("f4"), name)

    def twins(self, name: str, *shape: int) -> onnx.TensorProto:
        """Along the first axis, or the last one of a matrix."""
        array = numpy_helper.to_array(self.plain(name, *shape)).copy()
        rows = array.T if array.ndim == 2 else array
        rows[0] *= 0.25
        rows[-1] = rows[0]
        return constant(array, name)


def body(nodes, outputs, inits=(), inputs=()):
    """A graph that declares no shapes."""
    given = [each if not isinstance(each, str) else value(each, FLOAT, None) for each in inputs]
    made = [each if not isinstance(each, str) else value(each, FLOAT, None) for each in outputs]
    return helper.make_graph(list(nodes), "body", given, made, list(inits))


def model(nodes, inputs, outputs, inits=(), *, opset=17, ir_version=8):
    graph = helper.make_graph(list(nodes), "network", inputs, outputs, list(inits))
    imports = [helper.make_opsetid("", opset)]
    made = helper.make_model(graph, opset_imports=imports, ir_version=ir_version)
    onnx.checker.check_model(made, full_check=True)
    return made


def convolved(weights, source, width, out=4, *, name="conv", norm=False):
    """Nodes of conv, norm, relu, conv, which end in "given", and their initialisers."""
    inits = [weights.twins("w1", width, 3, 3, 3), weights.plain("w2", out, width, 1, 1)]
    nodes = [node("Conv", [source, "w1"], ["made"], name, pads=[1] * 4)]
    if norm:
        bias, ones = np.linspace(-1, 1, width, dtype="f4"), np.ones(width, "f4")
        bias[-1] = bias[0]
        inits += [constant(bias, "beta"), constant(ones, "one")]
        nodes += [node("BatchNormalization", ["made", "one", "beta", "beta", "one"], ["normed"])]
    nodes += [node("Relu", [nodes[-1].output[0]], ["bent"])]
    nodes += [node("Conv", ["bent", "w2"], ["given"], "last")]
    return nodes, inits


def branches(*, norm=False, opset=17, ir_version=8):
    """An If, both branches of which have layers of the same names and of different widths."""
    weights = Weights()
    parts = [convolved(weights, "x", width, norm=norm) for width in (8, 6)]
    yes, no = (body(nodes, ["given"], inits) for nodes, inits in parts)
    return model(
        [node("If", ["flag"], ["y"], "if", then_branch=yes, else_branch=no)],
        [value("x", FLOAT, ["n", 3, 8, 8]), value("flag", BOOL, [])],
        [value("y", FLOAT, ["n", 4, 8, 8])],
        opset=opset,
        ir_version=ir_version,
    )


def written_out():
    """An If with a turned weight, one scaled by a constant, and a mean over channels between."""
    weights, branches = Weights(), []
    for width in (8, 6):
        turned = numpy_helper.to_array(weights.twins("w", 5, width)).T.copy()
        inits = [constant(turned, "turned"), weights.plain("v", width, 5)]
        inits += [constant(np.linspace(1, 2, 5, dtype="f4"), "scale")]
        nodes = [
            node("Transpose", ["turned"], ["w1"]),
            node("MatMul", ["x", "w1"], ["made"], "first"),
            node("ReduceMean", ["made"], ["mean"], "mean", axes=[1]),
            node("Sub", ["made", "mean"], ["centred"]),
            node("Relu", ["centred"], ["bent"]),
            node("Mul", ["v", "scale"], ["w2"]),
            node("MatMul", ["bent", "w2"], ["given"], "last"),
        ]
        branches.append(body(nodes, ["given"], inits))
    choice = node("If", ["flag"], ["y"], "if", then_branch=branches[0], else_branch=branches[1])
    given = [value("x", FLOAT, ["n", 5]), value("flag", BOOL, [])]
    return model([choice], given, [value("y", FLOAT, ["n", 5])])


def stepped(weights, source, *, width=8, size=5, tag=""):
    """Nodes of a step that gives a state from a state, and their initialisers."""
    inits = [weights.twins(f"wide{tag}", size, width), weights.plain(f"back{tag}", width, size)]
    nodes = [
        node("MatMul", [source, f"wide{tag}"], [f"made{tag}"], f"step{tag}"),
        node("Relu", [f"made{tag}"], [f"bent{tag}"]),
        node("MatMul", [f"bent{tag}", f"back{tag}"], [f"summed{tag}"], f"end{tag}"),
        node("Tanh", [f"summed{tag}"], [f"after{tag}"]),
    ]
    return nodes, inits


def loop_node(nodes, inits, start, result, *, state="state", after="after", name="loop"):
    """A Loop of three steps over one state."""
    inputs = [value("number", INT64, []), value("go", BOOL, []), state]
    outputs = [value("on", BOOL, []), after]
    inner = body([node("Identity", ["go"], ["on"]), *nodes], outputs, inits, inputs)
    return node("Loop", ["times", "", start], [result], name, body=inner)


def loop():
    nodes, inits = stepped(Weights(), "state")
    return model(
        [loop_node(nodes, inits, "x", "y")],
        [value("x", FLOAT, ["n", 5])],
        [value("y", FLOAT, ["n", 5])],
        [constant(np.array(3), "times")],
    )


def scan():
    nodes, inits = stepped(Weights(), "sum")
    add, copy = node("Add", ["state", "item"], ["sum"]), node("Identity", ["after"], ["each"])
    inner = body([add, *nodes, copy], ["after", "each"], inits, ["state", "item"])
    return model(
        [node("Scan", ["start", "x"], ["last", "y"], "scan", body=inner, num_scan_inputs=1)],
        [value("x", FLOAT, [4, "n", 5]), value("start", FLOAT, ["n", 5])],
        [value("last", FLOAT, ["n", 5]), value("y", FLOAT, [4, "n", 5])],
    )


def nested():
    """An If with a Loop in one branch, which has an If inside, and plain layers in the other."""
    weights = Weights()
    inner = []
    for width in (8, 6):
        nodes, inits = stepped(weights, "state", width=width)
        inner.append(body(nodes, ["after"], inits))
    choice = node("If", ["flag"], ["chosen"], "choice", then_branch=inner[0], else_branch=inner[1])
    yes = body([loop_node([choice], [], "x", "given", after="chosen")], ["given"])
    nodes, inits = stepped(weights, "x", width=7)
    no = body(nodes, ["after"], inits)
    return model(
        [node("If", ["first"], ["y"], "if", then_branch=yes, else_branch=no)],
        [value("x", FLOAT, ["n", 5]), value("flag", BOOL, []), value("first", BOOL, [])],
        [value("y", FLOAT, ["n", 5])],
        [constant(np.array(3), "times")],
    )


def crossing(*, other="wide", outside=False):
    """Channels of the graph around are read in both branches, which give others that go on.

    ``other`` is what the second branch gives: as many channels, or what is around as it is.
    ``outside`` lets a layer behind read a weight that a branch reads too.
    """
    weights = Weights()
    inits = [weights.twins("w0", 5, 8), weights.twins("w1", 8, 6), weights.plain("w2", 6, 3)]
    inits += [weights.twins("w3", 8, 6)]
    yes = body([node("MatMul", ["h", "w1"], ["yes"], "yes")], ["yes"])
    no = body([node("MatMul", ["h", "w3"], ["no"], "no")], ["no"])
    if other == "shared":
        no = body([node("MatMul", ["h", "w1"], ["no"], "no")], ["no"])
    elif other == "plain":
        no = body([node("Slice", ["x", "from", "to", "axis"], ["no"], "no")], ["no"])
        inits += [
            constant(np.array([k]), name) for name, k in (("from", 0), ("to", 6), ("axis", 1))
        ]
    nodes = [
        node("MatMul", ["x", "w0"], ["made"], "first"),
        node("Relu", ["made"], ["h"]),
        node("If", ["flag"], ["g"], "if", then_branch=yes, else_branch=no),
        node("Relu", ["g"], ["r"]),
        node("MatMul", ["r", "w2"], ["y"], "last"),
    ]
    outputs = [value("y", FLOAT, ["n", 3])]
    if outside:
        nodes.append(node("MatMul", ["h", "w1"], ["z"], "outside"))
        outputs.append(value("z", FLOAT, ["n", 6]))
    size = 6 if other == "plain" else 5
    if other == "plain":
        inits[0] = weights.twins("w0", 6, 8)
    given = [value("x", FLOAT, ["n", size]), value("flag", BOOL, [])]
    return model(nodes, given, outputs, inits)
