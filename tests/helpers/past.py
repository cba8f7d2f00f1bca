"""One layer of a decoder whose keys and values of the past are inputs and outputs.

x (batch, length, WIDTH) becomes y; the last half of all heads are copies of the first half.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from chain import Chain, run

WIDTH, SIZE, HEADS = 6, 8, 4
MS = "com.microsoft"
# The order of the axes of keys of the past.
HEADS_FIRST, LENGTH_FIRST, TURNED = "bhsd", "bshd", "bhds"


class Decoder:
    """The layer; ``groups`` are fewer than HEADS where queries are grouped."""

    def __init__(self, groups=HEADS, opset=17):
        self.chain = Chain(("batch", "length", WIDTH), opset=opset)
        self.groups = groups
        self.inputs, self.outputs, self.opsets = {}, {}, []

    def projected(self, heads, columns=SIZE):
        """(batch, length, heads * SIZE), of which the second half of the heads are copies."""
        weight = self.chain.weight(heads, columns, WIDTH)
        weight[heads // 2 :] = weight[: heads // 2]
        self.chain.value = "input"
        self.chain.node("MatMul", np.ascontiguousarray(weight.reshape(-1, WIDTH).T) * 2)
        return self.chain.value

    def sides(self):
        return self.projected(HEADS), self.projected(self.groups), self.projected(self.groups)

    def apart(self, value, heads, order):
        """Heads as an axis of their own, in an order of the axes."""
        self.chain.value = value
        self.chain.node("Reshape", np.array([0, 0, heads, SIZE]))
        perm = ["bshd".index(axis) for axis in order]
        return (
            self.chain.node("Transpose", perm=perm).value if order != "bshd" else self.chain.value
        )

    def past(self, kind, order=HEADS_FIRST):
        """An input, and the output that will give it longer."""
        sizes = {"b": "batch", "h": self.groups, "d": SIZE}
        self.inputs[f"past_{kind}"] = [sizes.get(axis, "past") for axis in order]
        self.outputs[f"present_{kind}"] = [sizes.get(axis, "past + length") for axis in order]
        return f"past_{kind}"

    def joined(self, value, kind, order=HEADS_FIRST):
        """What is put behind the past."""
        self.chain.raw("Concat", self.past(kind, order), value, axis=order.index("s"))
        self.chain.nodes[-1].output[0] = f"present_{kind}"
        return f"present_{kind}"

    def turned(self, value, order, wanted):
        perm = [order.index(axis) for axis in wanted]
        return self.chain.raw("Transpose", value, perm=perm).value if order != wanted else value

    def repeated(self, value):
        """Each of the heads of keys or values for all query heads that read it."""
        if self.groups == HEADS:
            return value
        chain = self.chain
        shape = chain.raw("Shape", value).value
        length = chain.raw("Gather", shape, chain.constant(np.array([2]))).value
        ones = [chain.constant(np.array([size])) for size in (1, self.groups, HEADS // self.groups)]
        size = chain.constant(np.array([SIZE]))
        target = chain.raw("Concat", *ones, length, size, axis=0).value
        chain.raw("Unsqueeze", value, chain.constant(np.array([2])))
        chain.raw("Expand", chain.value, target)
        final = chain.constant(np.array([0, HEADS, -1, SIZE]))
        return chain.raw("Reshape", chain.value, final).value

    def attended(self, query, key, value):
        """Of queries (b, h, s, d), keys (b, h, d, s) and values (b, h, s, d)."""
        chain = self.chain
        chain.raw("MatMul", query, key).node("Softmax", axis=-1)
        chain.raw("MatMul", chain.value, value).node("Transpose", perm=[0, 2, 1, 3])
        return chain.node("Reshape", np.array([0, 0, HEADS * SIZE])).value

    def finish(self, value, *, outputs=None, inputs=None):
        """The model, with inputs and outputs in a chosen order."""
        self.chain.value = value
        self.chain.node("MatMul", self.chain.weight(HEADS * SIZE, WIDTH))
        self.chain.nodes[-1].output[0] = "y"
        shapes = {"input": ["batch", "length", WIDTH], **self.inputs}
        given = {"y": ["batch", "length", WIDTH], **self.outputs}
        kind = TensorProto.FLOAT
        graph = helper.make_graph(
            self.chain.nodes,
            "decoder",
            [helper.make_tensor_value_info(n, kind, shapes[n]) for n in inputs or shapes],
            [helper.make_tensor_value_info(n, kind, given[n]) for n in outputs or given],
            self.chain.initializers,
        )
        opsets = [helper.make_opsetid("", self.chain.opset), *self.opsets]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        onnx.checker.check_model(model, full_check=True)
        return model


def written_out(order=HEADS_FIRST, *, groups=HEADS, **finish):
    """Keys and values of the past in an order of their axes; TURNED is that of keys alone."""
    made = Decoder(groups)
    query, key, value = made.sides()
    query = made.apart(query, HEADS, "bhsd")
    other = HEADS_FIRST if order == TURNED else order
    key = made.joined(made.apart(key, groups, order), "key", order)
    value = made.joined(made.apart(value, groups, other), "value", other)
    key = made.repeated(made.turned(key, order, "bhsd"))
    key = made.chain.raw("Transpose", key, perm=[0, 1, 3, 2]).value
    value = made.repeated(made.turned(value, other, "bhsd"))
    return made.finish(made.attended(query, key, value), **finish)


def in_one(**finish):
    """Both of the past in one input (2, batch, heads, length, size)."""
    made = Decoder()
    chain = made.chain
    query, *sides = (made.apart(each, HEADS, "bhsd") for each in made.sides())
    made.inputs["past"] = [2, "batch", HEADS, "past", SIZE]
    made.outputs["present"] = [2, "batch", HEADS, "past + length", SIZE]
    both = []
    for number, each in enumerate(sides):
        before = chain.raw("Gather", "past", chain.constant(np.array(number)), axis=0).value
        both.append(chain.raw("Concat", before, each, axis=2).value)
    axis = chain.constant(np.array([0]))
    stacked = [chain.raw("Unsqueeze", each, axis).value for each in both]
    chain.raw("Concat", *stacked, axis=0)
    chain.nodes[-1].output[0] = "present"
    key = chain.raw("Transpose", both[0], perm=[0, 1, 3, 2]).value
    return made.finish(made.attended(query, key, both[1]), **finish)


def standard(*, groups=HEADS, apart=False):
    """ONNX's own operator, on heads side by side or apart."""
    made = Decoder(groups, opset=23)
    sides = made.sides()
    counts = {} if apart else {"q_num_heads": HEADS, "kv_num_heads": groups}
    if apart:
        sides = [
            made.apart(*each, "bhsd") for each in zip(sides, (HEADS, groups, groups), strict=True)
        ]
    pasts = [made.past(kind) for kind in ("key", "value")]
    made.chain.raw("Attention", *sides, "", *pasts, **counts)
    made.chain.nodes[-1].output.extend(["present_key", "present_value"])
    if apart:
        made.chain.node("Transpose", perm=[0, 2, 1, 3]).node("Reshape", np.array([0, 0, -1]))
    return made.finish(made.chain.value)


def multi_head():
    """onnxruntime's operator."""
    made = Decoder()
    made.opsets.append(helper.make_opsetid(MS, 1))
    sides = made.sides()
    pasts = [made.past(kind) for kind in ("key", "value")]
    made.chain.raw("MultiHeadAttention", *sides, "", "", "", *pasts, num_heads=HEADS, domain=MS)
    made.chain.nodes[-1].output.extend(["present_key", "present_value"])
    return made.finish(made.chain.value)


def grouped_queries(groups=2):
    """onnxruntime's operator for grouped queries, which wants lengths beside the past."""
    made = Decoder(groups)
    chain = made.chain
    made.opsets.append(helper.make_opsetid(MS, 1))
    sides = made.sides()
    pasts = [made.past(kind) for kind in ("key", "value")]
    ends = [[0, 1], [1, 2]]
    before = chain.raw("Shape", pasts[0], start=2, end=3).value
    batch, new = (chain.raw("Shape", "input", start=a, end=b).value for a, b in ends)
    total = chain.raw("Add", before, new).node("Cast", to=TensorProto.INT32).value
    last = chain.raw("Sub", total, chain.constant(np.array([1], np.int32))).value
    lasts = chain.raw("Expand", last, batch).value
    total = chain.raw("Squeeze", total).value
    counts = {"num_heads": HEADS, "kv_num_heads": groups}
    chain.raw("GroupQueryAttention", *sides, *pasts, lasts, total, **counts, domain=MS)
    chain.nodes[-1].output.extend(["present_key", "present_value"])
    return made.finish(chain.value)


def packed():
    """onnxruntime's operator with the projection in it, keys and values of the past in one."""
    made = Decoder()
    chain = made.chain
    made.opsets.append(helper.make_opsetid(MS, 1))
    parts = [made.chain.weight(HEADS, SIZE, WIDTH) for _ in range(3)]
    for part in parts:
        part[HEADS // 2 :] = part[: HEADS // 2]
    weight = chain.constant(np.concatenate(parts).reshape(-1, WIDTH).T.copy())
    bias = chain.constant(np.zeros(3 * HEADS * SIZE, np.float32))
    made.inputs["past"] = [2, "batch", HEADS, "past", SIZE]
    made.outputs["present"] = [2, "batch", HEADS, "past + length", SIZE]
    inputs = ("input", weight, bias, "", "past")
    chain.raw("Attention", *inputs, num_heads=HEADS, unidirectional=1, domain=MS)
    chain.nodes[-1].output.append("present")
    return made.finish(chain.value)


def merged():
    """The heads' outputs are made in the branches of an If, with the past and without it."""
    model = written_out()
    cut = {"present_key", "present_value"}
    inner = [node for node in model.graph.node if cut & set(node.output)]
    rest = [node for node in model.graph.node if not cut & set(node.output)]
    outputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in sorted(cut)]
    first = [
        helper.make_node("Identity", [node.input[1]], [f"{node.output[0]}_first"], f"only_{k}")
        for k, node in enumerate(inner)
    ]
    alone = [
        helper.make_tensor_value_info(f"{n}_first", TensorProto.FLOAT, None) for n in sorted(cut)
    ]
    branch = helper.make_node(
        "If",
        ["use_cache_branch"],
        sorted(cut),
        "choice",
        then_branch=helper.make_graph(inner, "with_past", [], outputs),
        else_branch=helper.make_graph(first, "without", [], alone),
    )
    position = max(
        k for k, node in enumerate(rest) if node.output[0] in [i.input[1] for i in inner]
    )
    del model.graph.node[:]
    model.graph.node.extend([*rest[: position + 1], branch, *rest[position + 1 :]])
    model.graph.input.append(
        helper.make_tensor_value_info("use_cache_branch", TensorProto.BOOL, [1])
    )
    return model


def static(length=8):
    """Keys and values are written to their places in a cache of fixed length."""
    made = Decoder()
    chain = made.chain
    query, key, value = (made.apart(each, HEADS, "bhsd") for each in made.sides())
    caches = []
    for kind, each in (("key", key), ("value", value)):
        for group in (made.inputs, made.outputs):
            name = "past" if group is made.inputs else "present"
            group[f"{name}_{kind}"] = [1, HEADS, length, SIZE]
        places = chain.constant(np.zeros((1, HEADS, 1, 3), np.int64))
        chain.raw("ScatterND", f"past_{kind}", places, each)
        chain.nodes[-1].output[0] = f"present_{kind}"
        caches.append(f"present_{kind}")
    key = chain.raw("Transpose", caches[0], perm=[0, 1, 3, 2]).value
    return made.finish(made.attended(query, key, caches[1]))


def generated(model, groups, *, kinds=("key", "value"), steps=(3, 1, 1)):
    """What steps of a decoder give, each with what the one before has given as its past."""
    shapes = {
        value.name: [d.dim_value or d.dim_param for d in value.type.tensor_type.shape.dim]
        for value in model.graph.input
    }
    names = [f"past_{kind}" for kind in kinds] if kinds else ["past"]
    sizes = {"batch": 2, "past": 0}
    past = {name: np.zeros([sizes.get(s, s) for s in shapes[name]], np.float32) for name in names}
    assert all(groups in array.shape for array in past.values())  # as wide as is thought
    rng, found = np.random.default_rng(1), []
    order = [output.name for output in model.graph.output]
    for length in steps:
        x = rng.standard_normal((2, length, WIDTH)).astype(np.float32)
        outputs = dict(zip(order, run(model, {"input": x, **past}), strict=True))
        past = {name: outputs[name.replace("past", "present", 1)] for name in names}
        found.append(outputs["y"])
    return np.concatenate(found, axis=1)
