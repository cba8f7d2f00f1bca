"""A small text encoder with three inputs, as exporters write them, and texts for it."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from chain import Chain

NAMES = ("input_ids", "attention_mask", "token_type_ids")
WORDS, WIDTH, HIDDEN = 60, 16, 48


def encoder(*, batch="n", optional_types=False, ids=TensorProto.INT64) -> onnx.ModelProto:
    """One block of attention over unmasked places and one MLP; gives the states (n, s, 16).

    Parameters
    ----------
    optional_types : bool
        Whether ``token_type_ids`` has a default.
    """
    chain = Chain((batch, "s"))
    rng = np.random.default_rng(1)
    tables = [rng.standard_normal((rows, WIDTH)).astype("f4") for rows in (WORDS, 2)]
    looked_up = [
        chain.raw("Gather", chain.constant(table), name).value
        for table, name in zip(tables, (NAMES[0], NAMES[2]), strict=True)
    ]
    states = chain.raw("Add", *looked_up).value
    states = _normed(chain, chain.raw("Add", states, _attention(chain, states)).value)
    chain.value, chain.width = states, WIDTH
    made = chain.matmul(HIDDEN).node("Relu").matmul(WIDTH).value
    output = _normed(chain, chain.raw("Add", made, states).value)
    inputs = [helper.make_tensor_value_info(name, ids, [batch, "s"]) for name in NAMES]
    if optional_types:
        inputs[2] = helper.make_tensor_value_info(NAMES[2], ids, [1, 1])
        zeros = np.zeros((1, 1), helper.tensor_dtype_to_np_dtype(ids))
        chain.constant(zeros, NAMES[2])
    shape = [batch, "s", WIDTH]
    graph = helper.make_graph(
        chain.nodes,
        "encoder",
        inputs,
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
        chain.initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def _attention(chain: Chain, states: str) -> str:
    """What one head gives, of the places whose mask is 1."""
    query, key, value = (_projected(chain, states) for _ in range(3))
    turned = chain.raw("Transpose", key, perm=[0, 2, 1]).value
    scores = chain.raw("MatMul", query, turned).value
    chain.raw("Cast", NAMES[1], to=TensorProto.FLOAT).node("Unsqueeze", np.array([1]))
    hidden = chain.raw("Sub", chain.constant(np.float32(1)), chain.value)
    hidden = hidden.node("Mul", np.float32(-1e4)).value
    weights = chain.raw("Add", scores, hidden).node("Softmax", axis=-1).value
    return chain.raw("MatMul", weights, value).value


def _projected(chain: Chain, states: str) -> str:
    chain.value, chain.width = states, WIDTH
    return chain.matmul(WIDTH).value


def _normed(chain: Chain, states: str) -> str:
    chain.value = states
    ones, zeros = np.ones(WIDTH, "f4"), np.zeros(WIDTH, "f4")
    return chain.node("LayerNormalization", ones, zeros, axis=-1).value


def texts(count: int, longest: int = 12, *, seed: int = 0) -> list[dict[str, np.ndarray]]:
    """Texts of different lengths, as a tokenizer gives them one by one: arrays (1, s)."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, longest + 1, count)
    return [
        {
            NAMES[0]: rng.integers(1, WORDS, (1, length)),
            NAMES[1]: np.ones((1, length), np.int64),
            NAMES[2]: (np.arange(length) > length // 2).astype(np.int64)[None],
        }
        for length in lengths
    ]


def padded(feeds: list[dict[str, np.ndarray]], length: int = 12) -> dict[str, np.ndarray]:
    """The same texts in one array (n, length) for each input, with zeros behind them."""
    arrays = {name: np.zeros((len(feeds), length), np.int64) for name in NAMES}
    for place, feed in enumerate(feeds):
        for name, array in feed.items():
            arrays[name][place, : array.shape[1]] = array[0]
    return arrays
