"""Tables with fewer rows give what the whole table gives whose rows are made of the kept ones."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from nmcore.arrays.vocabulary import rebuild_rows
from nmcore.plugins import open_graph

ROWS, WIDTH = 30, 8
TABLE = np.random.default_rng(0).standard_normal((ROWS, WIDTH)).astype("f4")
KEPT = np.array([1, 4, 9, 16, 25, 29])


Y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["a", "b", "c"])


def model(nodes, *, opset=17, ids="INT64", initialisers=(), inputs=(), outputs=None):
    """A model of ids (n, s) and the table, which gives y."""
    kind = getattr(TensorProto, ids)
    outputs = outputs or [Y]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("ids", kind, ["n", "s"]), *inputs],
        outputs,
        [numpy_helper.from_array(TABLE, "table"), *initialisers],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def lookup(**attributes):
    return helper.make_node("Gather", ["table", "ids"], ["states"], name="lookup", **attributes)


RELU = helper.make_node("Relu", ["states"], ["y"])
HEADS = {
    "none": [RELU],
    "transposed": [
        helper.make_node("Transpose", ["table"], ["turned"], perm=[1, 0]),
        helper.make_node("MatMul", ["states", "turned"], ["scores"]),
        helper.make_node("Relu", ["scores"], ["y"]),
    ],
    "gemm": [
        helper.make_node("Flatten", ["states"], ["flat"], axis=2),
        helper.make_node("Gemm", ["flat", "table"], ["scores"], transB=1),
        helper.make_node("Reshape", ["scores", "sizes"], ["y"]),
    ],
}


def ran(given, ids):
    data = given if isinstance(given, bytes) else given.SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return session.run(None, {"ids": ids})


def both(graph, terms, ids):
    """The outputs with fewer rows, and with all rows made of them."""
    sums = rebuild_rows(TABLE, KEPT, terms)
    smaller = open_graph(graph.with_rows("table", sums))
    whole = graph.with_table("table", sums.rebuilt(TABLE))
    onnx.checker.check_model(onnx.load_from_string(smaller.serialize()), full_check=True)
    return ran(smaller.serialize(), ids), ran(whole, ids), smaller


@pytest.mark.parametrize("opset", [11, 13, 17])
@pytest.mark.parametrize("ids", ["INT32", "INT64"])
@pytest.mark.parametrize("terms", [1, 3])
@pytest.mark.parametrize("head", HEADS)
def test_same_outputs(head, terms, ids, opset):
    sizes = numpy_helper.from_array(np.array([2, 1, ROWS]), "sizes")
    given = model([lookup(), *HEADS[head]], ids=ids, opset=opset, initialisers=[sizes])
    graph = open_graph(given)
    (table,) = graph.tables()
    assert (table.rows, table.width, table.is_tied) == (ROWS, WIDTH, head != "none")
    if table.is_tied and terms > 1:
        with pytest.raises(ValueError, match="one kept row's multiple"):
            both(graph, terms, None)
        return
    places = np.arange(-ROWS, ROWS).reshape(1, -1) if head != "gemm" else np.array([[3], [7]])
    places = places.astype(np.int32 if ids == "INT32" else np.int64)
    (found,), (wanted,), smaller = both(graph, terms, places)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert smaller.cost().params < graph.cost().params


def test_kept_rows_are_the_same_to_the_bit():
    graph = open_graph(model([lookup(), RELU]))
    (found,), _, _ = both(graph, 3, KEPT[None])
    assert (found == np.maximum(TABLE[KEPT], 0)).all()


def test_an_output_keeps_its_name():
    graph = open_graph(model([helper.make_node("Gather", ["table", "ids"], ["y"])]))
    (found,), (wanted,), smaller = both(graph, 2, np.array([[0, 3]]))
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert [value.name for value in smaller.result().graph.outputs] == ["y"]


def test_inside_a_branch():
    """Constants of the main graph are seen there."""
    inside = helper.make_graph(
        [helper.make_node("Gather", ["table", "ids"], ["inner"])],
        "then",
        [],
        [helper.make_tensor_value_info("inner", TensorProto.FLOAT, ["a", "b", "c"])],
    )
    other = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "ids"], ["looked"]),
            helper.make_node("Neg", ["looked"], ["inner"]),
        ],
        "else",
        [],
        [helper.make_tensor_value_info("inner", TensorProto.FLOAT, ["a", "b", "c"])],
    )
    size = numpy_helper.from_array(np.int64(5), "five")
    nodes = [
        helper.make_node("Size", ["ids"], ["size"]),
        helper.make_node("Greater", ["size", "five"], ["many"]),
        helper.make_node("If", ["many"], ["y"], then_branch=inside, else_branch=other),
    ]
    graph = open_graph(model(nodes, initialisers=[size]))
    for count in (3, 9):
        (found,), (wanted,), _ = both(graph, 2, np.arange(count)[None])
        np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_what_is_looked_up():
    shifted = [
        helper.make_node("Add", ["ids", "one"], ["next"]),
        helper.make_node("Gather", ["table", "next"], ["states"]),
        RELU,
    ]
    one = numpy_helper.from_array(np.int64(1), "one")
    graph = open_graph(model(shifted, initialisers=[one]))
    (places,) = ran(graph.lookup_probe("table"), np.array([[3, 5]]))
    assert places.tolist() == [[4, 6]]


UNUSABLE = {
    "columns": model([lookup(axis=1), RELU]),
    "at constant places": model(
        [helper.make_node("Gather", ["table", "place"], ["states"]), RELU],
        initialisers=[numpy_helper.from_array(np.array([1, 2]), "place")],
    ),
    "read otherwise": model(
        [lookup(), helper.make_node("ReduceSum", ["table"], ["sum"]),
         helper.make_node("Add", ["states", "sum"], ["y"])]
    ),
    "an output": model(
        [lookup(), RELU],
        outputs=[Y,
                 helper.make_tensor_value_info("table", TensorProto.FLOAT, [ROWS, WIDTH])],
    ),
    "an input": model(
        [lookup(), RELU],
        inputs=[helper.make_tensor_value_info("table", TensorProto.FLOAT, [ROWS, WIDTH])],
    ),
    "with a bias a token": model(
        [lookup(), helper.make_node("Flatten", ["states"], ["flat"], axis=2),
         helper.make_node("Gemm", ["flat", "table", "bias"], ["y"], transB=1)],
        initialisers=[numpy_helper.from_array(np.ones(ROWS, "f4"), "bias")],
    ),
    "before axes count from the end": model([lookup(), RELU], opset=10),
}  # fmt: skip


@pytest.mark.parametrize("case", UNUSABLE)
def test_tables_that_are_left(case):
    assert not open_graph(UNUSABLE[case]).tables()
