"""Every command's quick run on the shared models and data, where these lie beside the checkout."""

from __future__ import annotations

import json

import numpy as np
import pytest

from nmcore import select


def rows(markdown):
    """The tables' rows as lists of cells."""
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def quick(command, tmp_path, name, *words):
    """Run twice: the second time must know everything."""
    kept = tmp_path / f"{name}.json"
    first, told = command(name, *words, "--json", kept, "--quick")
    again, nothing = command(name, *words, "--json", kept, "--quick")
    assert told.count("\n") > 1
    assert not [line for line in nothing.splitlines() if "matplotlib" not in line]
    assert first == again
    assert not kept.exists()
    records = json.loads((tmp_path / f"{name}_quick.json").read_text())
    text = (tmp_path / f"{name}_quick.md").read_text()
    assert text == first
    assert str(tmp_path) not in json.dumps(records)
    return records, rows(text)


@pytest.mark.slow
def test_table1(command, tmp_path, built, cifar10):
    model = built / "vgg16_half_leakyrelu_cifar10_bn.onnx"
    records, table = quick(command, tmp_path, "table1", model, *cifar10)
    top1 = {each["cell"]["method"]: each["result"]["top1"] for each in records}
    assert top1["prune"] < top1["merge"] < top1["moments"] < top1["as it is"]
    assert top1["merge"] < top1["moments+data"]
    assert table[2][:3] == ["LeakyReLU", "kept", "l1"]
    # Half of the first convolution's and of the last six's channels.
    after = next(each["result"] for each in records if each["cell"]["method"] == "merge")
    assert after["params"] == 1_355_642


@pytest.mark.slow
def test_table2(command, tmp_path, built, cifar10):
    model = built / "mobilenet_v1_cifar10_bn.onnx"
    records, table = quick(command, tmp_path, "table2", model, *cifar10)
    top1 = {each["cell"]["method"]: each["result"]["top1"] for each in records}
    assert top1["prune"] < top1["merge"] < top1["moments"]
    assert ["0 %", "kept", "3,239,114", "3,217,226", "3.2M", "3.2M", "46,354,432"] in table
    assert ["40 %", "kept", "1,446,342", "1,432,394", "1.4M", "1.4M", "18,233,292"] in table


@pytest.mark.slow
def test_nmf(command, tmp_path, shared, fashion_mnist):
    model = shared / "models" / "lenet300100_fashion_mnist.onnx"
    records, _ = quick(command, tmp_path, "nmf", "--model", model, *fashion_mnist)
    free = [each for each in records if each["cell"]["method"] == "nmf, free atoms"]
    merge = next(each for each in records if each["cell"]["method"] == "merge")
    assert len(free) == 2
    assert all(each["result"]["top1"] < 30 < merge["result"]["top1"] for each in free)
    assert {each["result"]["params"] for each in free} == {merge["result"]["params"]}


@pytest.mark.slow
def test_lenet300100(command, tmp_path, shared, fashion_mnist):
    model = shared / "models" / "lenet300100_fashion_mnist.onnx"
    records, _ = quick(command, tmp_path, "lenet300100", "--model", model, *fashion_mnist)
    top1 = {
        each["cell"]["method"]: each["result"]["top1"]
        for each in records
        if each["cell"].get("removed") == "60"
    }
    assert top1["prune"] < top1["merge"]
    assert set(top1) == {"prune", "merge", "ridge", "moments", "moments+data"}


@pytest.mark.slow
def test_resnet56(command, tmp_path, shared, cifar10):
    model = shared / "models" / "resnet56_cifar10_bn.onnx"
    records, _ = quick(command, tmp_path, "resnet56", "--model", model, *cifar10)
    top1 = {
        each["cell"]["method"]: each["result"]["top1"]
        for each in records
        if each["cell"].get("removed") == "60"
    }
    assert max(top1["prune"], top1["merge"]) < top1["moments"] < top1["moments+data"]


def test_redundancy(command, tmp_path, shared):
    model = shared / "models" / "lenet300100_fashion_mnist.onnx"
    command("redundancy", model, "--json", tmp_path / "redundancy.json")
    (record,) = json.loads((tmp_path / "redundancy.json").read_text())
    assert 0.3 < record["result"]["size"] < 0.6


PROGRAMS = [
    *("compare", "lenet300100", "nmf", "page", "redundancy", "resnet56"),
    *("table1", "table2", "table3"),
]


@pytest.mark.parametrize("name", PROGRAMS)
def test_help(command, name):
    described, _ = command(name, "--help")
    assert described.startswith(f"usage: {name}.py")


@pytest.mark.parametrize("name", ["table1", "lenet300100"])
def test_results_of_before_are_not_mixed(command, tmp_path, shared, fashion_mnist, name):
    """A file of another form is left alone."""
    kept = tmp_path / "x.json"
    kept.write_text("[1]")
    model = shared / "models" / "lenet300100_fashion_mnist.onnx"
    words = (model,) if name == "table1" else ("--model", model)
    with pytest.raises(AssertionError, match="holds no results"):
        command(name, *words, *fashion_mnist, "--json", kept)
    assert kept.read_text() == "[1]"


def test_redundant_rows():
    """What :mod:`redundancy` measures on rows of which half are copies at half size."""
    from redundancy import layer

    rng = np.random.default_rng(0)
    rows = rng.standard_normal((8, 32))
    both = np.concatenate([rows, 0.5 * rows])
    assert len(select(both, 8)) == 8
    size, cosine = layer(both)
    assert size < 0.7
    assert cosine > 0.9
