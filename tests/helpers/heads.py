"""Attention in the forms that exporters write, with scores of a chosen rank."""

from __future__ import annotations

import numpy as np
import onnx

from chain import Chain

LENGTH, WIDTH, HEADS, SIZE = 7, 16, 4, 8
MS = "com.microsoft"


class Attention:
    """Queries, keys and values of ``input`` (n, s, WIDTH), whose scores have a chosen rank.

    Parameters
    ----------
    rank : int
        Of the scores of each head.
    key_heads : int
        Fewer than HEADS where queries are grouped.
    bias : bool
        Whether the projections have biases.
    opset, ms : int, bool
        The version, and whether operators of onnxruntime are used.
    """

    def __init__(self, rank=SIZE, *, key_heads=HEADS, bias=True, opset=17, ms=False):
        self.chain = Chain(("n", LENGTH, WIDTH), opset=opset)
        self.rank, self.key_heads, self.bias, self.ms = rank, key_heads, bias, ms

    def projected(self, heads, *, narrow=False, layer="MatMul"):
        """A projection (n, s, heads * SIZE)."""
        chain = self.chain
        weight = chain.weight(heads, SIZE, WIDTH) * 4
        offsets = chain.weight(heads, SIZE)
        if narrow:
            # Queries that read one key head use the same few channels of it.
            for some in np.split(np.arange(heads), self.key_heads):
                used = chain.weight(SIZE, self.rank) @ chain.weight(self.rank, SIZE)
                weight[some], offsets[some] = 2 * used @ weight[some], offsets[some] @ used.T
        matrix, added = weight.reshape(-1, WIDTH), offsets.reshape(-1)
        chain.value = "input"
        if layer == "Gemm":
            chain.node("Reshape", np.array([-1, WIDTH]))
            chain.node("Gemm", matrix, *([added] if self.bias else []), transB=1)
            return chain.node("Reshape", np.array([-1, LENGTH, heads * SIZE])).value
        chain.node("MatMul", np.ascontiguousarray(matrix.T))
        return (chain.node("Add", added) if self.bias else chain).value

    def sides(self, **how):
        """Queries, keys and values, heads side by side."""
        return (
            self.projected(HEADS, narrow=True, **how),
            self.projected(self.key_heads, **how),
            self.projected(self.key_heads, **how),
        )

    def apart(self, value, heads, perm):
        """Heads as an axis of their own."""
        self.chain.value = value
        target = np.array([0, 0, heads, SIZE])
        return self.chain.node("Reshape", target).node("Transpose", perm=perm).value

    def finish(self):
        """The model, from what the heads give (n, s, HEADS * SIZE)."""
        self.chain.node("MatMul", self.chain.weight(HEADS * SIZE, WIDTH))
        model = self.chain.build(check=False)
        if self.ms:
            model.opset_import.append(onnx.helper.make_opsetid(MS, 1))
        shape = ["n", LENGTH, WIDTH]
        output = onnx.helper.make_tensor_value_info(self.chain.value, onnx.TensorProto.FLOAT, shape)
        model.graph.output[0].CopyFrom(output)
        return model

    def summed(self, scores, value):
        """A softmax, and sums of values."""
        self.chain.value = scores
        weights = self.chain.node("Softmax", axis=-1).value
        self.chain.raw("MatMul", weights, value).node("Transpose", perm=[0, 2, 1, 3])
        self.chain.node("Reshape", np.array([0, 0, HEADS * SIZE]))


def written_out(rank=SIZE, *, layer="MatMul", masked=True, scaled="scores", **given):
    """Reshape, Transpose, MatMul; scores are scaled, or both sides before."""
    made = Attention(rank, **given)
    chain = made.chain
    query, key, value = made.sides(layer=layer)
    query = made.apart(query, HEADS, [0, 2, 1, 3])
    key = made.apart(key, HEADS, [0, 2, 3, 1])
    value = made.apart(value, HEADS, [0, 2, 1, 3])
    if scaled == "sides":
        query, key = (
            chain.raw("Mul", each, chain.constant(np.float32(SIZE**-0.25))).value
            for each in (query, key)
        )
    chain.raw("MatMul", query, key)
    if scaled == "scores":
        chain.node("Div", np.float32(SIZE**0.5))
    if masked:
        mask = np.triu(np.full((LENGTH, LENGTH), -1e4, np.float32), 1)
        chain.node("Add", mask)
    made.summed(chain.value, value)
    return made.finish()


def scaled_by_shape(rank=SIZE, **given):
    """As PyTorch writes it: both sides are scaled by what is computed from the queries' shape."""
    made = Attention(rank, **given)
    chain = made.chain
    query, key, value = (made.apart(each, HEADS, [0, 2, 1, 3]) for each in made.sides())
    bounds = [chain.constant(np.array([each])) for each in (-1, 2**63 - 1)]
    chain.value = chain.raw("Slice", chain.raw("Shape", query).value, *bounds).value
    chain.node("Cast", to=onnx.TensorProto.FLOAT).node("Sqrt")
    root = chain.raw("Div", chain.constant(np.ones(1, "f4")), chain.value).node("Sqrt").value
    key = chain.raw("Transpose", key, perm=[0, 1, 3, 2]).value
    query, key = (chain.raw("Mul", each, root).value for each in (query, key))
    chain.raw("MatMul", query, key)
    made.summed(chain.value, value)
    return made.finish()


def in_batch(rank=SIZE, **given):
    """Heads as a part of the batch, as in bmm."""
    made = Attention(rank, **given)
    chain = made.chain
    query, key, value = (made.apart(each, HEADS, [0, 2, 1, 3]) for each in made.sides())
    query, key, flat = (
        chain.raw("Reshape", each, chain.constant(np.array([-1, LENGTH, SIZE]))).value
        for each in (query, key, value)
    )
    chain.raw("Transpose", key, perm=[0, 2, 1])
    chain.raw("MatMul", query, chain.value).node("Softmax", axis=-1)
    chain.raw("MatMul", chain.value, flat)
    chain.node("Reshape", np.array([-1, HEADS, LENGTH, SIZE])).node("Transpose", perm=[0, 2, 1, 3])
    chain.node("Reshape", np.array([0, 0, HEADS * SIZE]))
    return made.finish()


def grouped(rank=SIZE, **given):
    """Two query heads read one key head, which is repeated."""
    made = Attention(rank, key_heads=HEADS // 2, **given)
    chain = made.chain
    query, key, value = made.sides()
    query = made.apart(query, HEADS, [0, 2, 1, 3])
    repeated = []
    for each in (key, value):
        chain.value = made.apart(each, HEADS // 2, [0, 2, 1, 3])
        chain.node("Unsqueeze", np.array([2]))
        chain.node("Expand", np.array([1, 1, 2, LENGTH, SIZE]))
        repeated.append(chain.node("Reshape", np.array([0, HEADS, LENGTH, SIZE])).value)
    chain.raw("Transpose", repeated[0], perm=[0, 1, 3, 2])
    chain.raw("MatMul", query, chain.value).node("Div", np.float32(SIZE**0.5))
    made.summed(chain.value, repeated[1])
    return made.finish()


def einsum(rank=SIZE, **given):
    """Scores as an Einsum of heads that stay where they are."""
    made = Attention(rank, **given)
    chain = made.chain
    query, key, value = (
        chain.raw("Reshape", each, chain.constant(np.array([0, 0, HEADS, SIZE]))).value
        for each in made.sides()
    )
    value = chain.raw("Transpose", value, perm=[0, 2, 1, 3]).value
    chain.raw("Einsum", query, key, equation="bqhd,bkhd->bhqk").node("Div", np.float32(SIZE**0.5))
    made.summed(chain.value, value)
    return made.finish()


def standard(rank=SIZE, *, apart=False, key_heads=HEADS, scale=None, **given):
    """ONNX's own operator, on heads apart or side by side."""
    made = Attention(rank, key_heads=key_heads, opset=23, **given)
    chain, sides = made.chain, made.sides()
    counts = {} if apart else {"q_num_heads": HEADS, "kv_num_heads": key_heads}
    if apart:
        heads = (HEADS, key_heads, key_heads)
        sides = [made.apart(*each, [0, 2, 1, 3]) for each in zip(sides, heads, strict=True)]
    chain.raw("Attention", *sides, **counts, **({} if scale is None else {"scale": scale}))
    if apart:
        chain.node("Transpose", perm=[0, 2, 1, 3]).node("Reshape", np.array([0, 0, -1]))
    model = made.finish()
    model.ir_version = 11
    return model


def multi_head(rank=SIZE, **given):
    """onnxruntime's operator."""
    made = Attention(rank, ms=True, **given)
    made.chain.raw("MultiHeadAttention", *made.sides(), num_heads=HEADS, domain=MS)
    return made.finish()


def turned(rank=SIZE, *, keys=False, **given):
    """The heads of one side stand in two axes, which are exchanged before they are joined."""
    made = Attention(rank, **given)
    chain = made.chain
    query, key, value = made.sides()
    chain.value = key if keys else query
    chain.node("Reshape", np.array([0, 0, 2, HEADS // 2, SIZE]))
    if keys:
        chain.node("Transpose", perm=[0, 3, 2, 4, 1])
        key = chain.node("Reshape", np.array([0, HEADS, SIZE, LENGTH])).value
        query = made.apart(query, HEADS, [0, 2, 1, 3])
    else:
        chain.node("Transpose", perm=[0, 3, 2, 1, 4])
        query = chain.node("Reshape", np.array([0, HEADS, LENGTH, SIZE])).value
        key = made.apart(key, HEADS, [0, 2, 3, 1])
    chain.raw("MatMul", query, key)
    made.summed(chain.value, made.apart(value, HEADS, [0, 2, 1, 3]))
    return made.finish()


def interleaved(rank=SIZE, **given):
    """Query head i reads key head i % 2, as all key heads are repeated together."""
    made = Attention(rank, key_heads=2, **given)
    chain = made.chain
    query, *others = made.sides()
    repeated = []
    for each in others:
        chain.value = made.apart(each, 2, [0, 2, 1, 3])
        chain.node("Unsqueeze", np.array([1]))
        chain.node("Expand", np.array([1, HEADS // 2, 1, LENGTH, SIZE]))
        repeated.append(chain.node("Reshape", np.array([0, HEADS, LENGTH, SIZE])).value)
    query = made.apart(query, HEADS, [0, 2, 1, 3])
    chain.raw("Transpose", repeated[0], perm=[0, 1, 3, 2])
    chain.raw("MatMul", query, chain.value)
    made.summed(chain.value, repeated[1])
    return made.finish()


def broadcast(rank=SIZE, *, inner=True, **given):
    """Each key head meets two query heads beside an axis of its own, inside or outside of it."""
    made = Attention(rank, key_heads=2, **given)
    chain = made.chain
    query, key, value = made.sides()
    axis = 2 if inner else 1
    chain.value = query
    chain.node("Reshape", np.array([0, 0, 2, HEADS // 2, SIZE]))
    query = chain.node("Transpose", perm=[0, 2, 3, 1, 4]).value
    chain.value = made.apart(key, 2, [0, 2, 3, 1])
    key = chain.node("Unsqueeze", np.array([axis])).value
    chain.value = made.apart(value, 2, [0, 2, 1, 3])
    value = chain.node("Unsqueeze", np.array([axis])).value
    chain.raw("MatMul", query, key).node("Div", np.float32(SIZE**0.5)).node("Softmax", axis=-1)
    chain.raw("MatMul", chain.value, value)
    chain.node("Reshape", np.array([0, HEADS, LENGTH, SIZE]))
    chain.node("Transpose", perm=[0, 2, 1, 3]).node("Reshape", np.array([0, 0, HEADS * SIZE]))
    return made.finish()


def every_pair(rank=SIZE, *, named=True, **given):
    """Every query head meets every key head."""
    made = Attention(rank, **given)
    chain = made.chain
    query, key, value = (made.apart(each, HEADS, [0, 2, 1, 3]) for each in made.sides())
    if named:
        chain.raw("Einsum", query, key, equation="bhqd,bgkd->bhgqk")
    else:
        query = chain.raw("Unsqueeze", query, chain.constant(np.array([2]))).value
        chain.raw("Unsqueeze", key, chain.constant(np.array([1])))
        chain.raw("MatMul", query, chain.node("Transpose", perm=[0, 1, 2, 4, 3]).value)
    chain.node("Softmax", axis=-1)
    chain.raw("ReduceMean", chain.value, axes=[2], keepdims=0)
    chain.raw("MatMul", chain.value, value).node("Transpose", perm=[0, 2, 1, 3])
    chain.node("Reshape", np.array([0, 0, HEADS * SIZE]))
    return made.finish()


def heads_first(rank=SIZE, **given):
    """Heads stand before the batch that they are joined with."""
    made = Attention(rank, **given)
    chain = made.chain
    sides = []
    for each in made.sides():
        made.apart(each, HEADS, [2, 0, 1, 3])
        sides.append(chain.node("Reshape", np.array([-1, LENGTH, SIZE])).value)
    chain.raw("Transpose", sides[1], perm=[0, 2, 1])
    chain.raw("MatMul", sides[0], chain.value).node("Softmax", axis=-1)
    chain.raw("MatMul", chain.value, sides[2])
    chain.node("Reshape", np.array([HEADS, -1, LENGTH, SIZE])).node("Transpose", perm=[1, 2, 0, 3])
    chain.node("Reshape", np.array([0, 0, HEADS * SIZE]))
    return made.finish()


def chosen(rank=SIZE, *, fill=-np.inf, exchanged=False, known=True, scaled=None, **given):
    """A Where puts something else in the place of scores of what comes later; all may be scaled."""
    made = Attention(rank, **given)
    chain = made.chain
    query, key, value = made.sides()
    query = made.apart(query, HEADS, [0, 2, 1, 3])
    scores = chain.raw("MatMul", query, made.apart(key, HEADS, [0, 2, 3, 1])).value
    later = np.triu(np.ones((LENGTH, LENGTH), bool), 1)
    other = chain.constant(np.float32(fill))
    if not known:
        other = chain.raw("ReduceMin", "input", keepdims=0).value
    places = (later, other, scores) if exchanged else (~later, scores, other)
    chain.raw("Where", chain.constant(places[0]), *places[1:])
    if scaled is not None:
        chain.raw(scaled, chain.value, chain.constant(np.float32(1e-4)))
    made.summed(chain.value, made.apart(value, HEADS, [0, 2, 1, 3]))
    return made.finish()
