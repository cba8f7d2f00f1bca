"""The page on text encoders, followed with a small encoder in place of the reader's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest

from encoder import encoder, padded, texts
from pages import ROOT, Reader, blocks

PAGE = ROOT / "docs" / "howto" / "texts.md"
# More words than the small encoder knows.
IDS = "[[101, 7592, 2088, 102], [101, 2748, 102]]"
SMALL_IDS = f"{[[*range(1, 2 + k % 9)] for k in range(64)]}"


@pytest.fixture
def reader(tmp_path):
    reader = Reader(tmp_path)
    folder = reader.folder / "path" / "to"
    folder.mkdir(parents=True)
    onnx.save(encoder(optional_types=True), folder / "encoder.onnx")
    for name, seed in (("texts", 0), ("others", 1)):
        np.savez(folder / f"{name}.npz", **padded(texts(70, seed=seed)))
    return reader


def test_the_page_runs(reader):
    found = [block for block in blocks(PAGE, "sh", "python") if not block.title]
    assert len(found) == 3
    for block in found:
        body = block.body.replace(IDS, SMALL_IDS)
        assert (body != block.body) == (block.language == "python")
        body = body.replace("--vocabulary 16000", "--vocabulary 20")
        reader.run(replace(block, body=body))
    assert (reader.folder / "path" / "to" / "small.onnx").is_file()
