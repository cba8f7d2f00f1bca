"""The training script learns something tiny and exports it in both forms, where torch is."""

from __future__ import annotations

import tarfile

import numpy as np
import onnx
import onnxruntime
import pytest

pytest.importorskip("torch", reason="torch is not installed: pip install '.[train]'")


@pytest.fixture(scope="module")
def images():
    """Two classes that a child could tell apart: dark and bright."""
    rng = np.random.default_rng(0)
    y = np.arange(256) % 2
    x = rng.integers(0, 64, (256, 3, 32, 32)) + 160 * y[:, None, None, None]
    return x.astype(np.uint8), y


@pytest.fixture(scope="module")
def data(images, tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "train.npz"
    np.savez(path, x=images[0], y=images[1])
    return path


def small(data, folder):
    return ("--data", data, "--test", data, "--width", 0.125, "--epochs", 3, "--out", folder)


@pytest.mark.parametrize("network", ["vgg16_hardswish", "mobilenet_v1"])
def test_train_and_export(command, tmp_path, data, images, network):
    command("train", network, *small(data, tmp_path))
    outputs = []
    for suffix, norms in (("", False), ("_bn", True)):
        path = tmp_path / f"{network}_cifar10{suffix}.onnx"
        kinds = {node.op_type for node in onnx.load(path).graph.node}
        assert ("BatchNormalization" in kinds) is norms
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        x = ((images[0][:8] / 255 - 0.47) / 0.2).astype(np.float32)
        outputs.append(session.run(None, {"input": x})[0])
    assert outputs[0].shape == (8, 10)
    assert np.allclose(*outputs, atol=1e-3)


def test_a_seed_gives_the_same_weights(command, tmp_path, data):
    files = []
    for name in ("a", "b"):
        command("train", "vgg16_tanh", *small(data, tmp_path / name))
        files.append((tmp_path / name / "vgg16_tanh_cifar10.onnx").read_bytes())
    assert files[0] == files[1]


def test_what_is_trained_goes_into_table_1(command, tmp_path, data):
    command("train", "vgg16_selu", *small(data, tmp_path))
    models = [tmp_path / f"vgg16_selu_cifar10{suffix}.onnx" for suffix in ("", "_bn")]
    printed, _ = command("table1", *models, "--data", data, "--method", "prune", "merge")
    assert "| SELU       | kept" in printed
    assert "| SELU       | folded" in printed


@pytest.mark.parametrize("activation", ["relu", "tanh", "softsign", "elu", "selu", "leakyrelu"])
def test_full_width_is_the_papers(activation):
    from networks import vgg16
    from torch import nn

    layers = [each for each in vgg16(activation) if isinstance(each, nn.Conv2d)]
    widths = [each.out_channels for each in layers]
    assert widths == [64] * 2 + [128] * 2 + [256] * 3 + [512] * 6


def test_parameters_of_mobilenet():
    from networks import mobilenet_v1

    count = sum(each.numel() for each in mobilenet_v1().parameters())
    assert count == 3_217_226


def test_archive(images, tmp_path):
    from cifar10 import TEST, load

    x, y = images
    records = np.column_stack([y.astype(np.uint8), x.reshape(len(x), -1)])
    for name, part in (("data_batch_1", records[:100]), ("data_batch_2", records[100:])):
        (tmp_path / f"{name}.bin").write_bytes(part.tobytes())
    (tmp_path / "test_batch.bin").write_bytes(records[:7].tobytes())
    with tarfile.open(tmp_path / "cifar.tar.gz", "w:gz") as archive:
        for file in sorted(tmp_path.glob("*.bin")):
            archive.add(file, f"cifar-10-batches-bin/{file.name}")
    read_x, read_y = load(tmp_path / "cifar.tar.gz")
    assert np.array_equal(read_x, x)
    assert np.array_equal(read_y, y)
    assert len(load(tmp_path / "cifar.tar.gz", TEST)[0]) == 7
