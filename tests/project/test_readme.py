"""The links of the README, and the figures of the example; ``test_pages.py`` runs all snippets."""

from __future__ import annotations

import re

import pytest

from pages import ROOT

README = ROOT / "README.md"
EXAMPLE = ROOT / "examples/fashion_mnist/README.md"
ADDED_BIASES = re.compile(r"gives layers without a bias one: [^.]* parameters more")
# In points of top-1. Prune and merge reproduce to the digit of the table; what the default chooses
# may move with another processor's order of additions, and some of 1,000 images with it.
EXACT, CLOSE = 0.05, 1.5
TOLERANCES = {"prune": EXACT, "merge": EXACT, "default": CLOSE, "default with data": CLOSE}


def test_readme_is_short():
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 150


def test_ci_runs_the_test_command():
    assert "make test" in {line.strip() for line in (ROOT / ".ci/run").read_text().splitlines()}
    recipe = (ROOT / "Makefile").read_text()
    assert "$(BIN)/python examples/fashion_mnist/compare.py" in recipe
    assert "$(BIN)/python -m pytest" in recipe


def test_links_exist():
    text = README.read_text(encoding="utf-8")
    named = re.findall(r'(?:src|srcset)="([^"]+)"', text) + re.findall(r"\]\(([^)#:]+)\)", text)
    named += re.findall(r"`((?:nmcore|backends|examples|benchmarks|docs)/[\w./]+)`", text)
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


def table_row(network, removed):
    """Parameters, MACs and the accuracies by method that the table of the example gives."""
    rows = (line.strip().split("|")[1:-1] for line in EXAMPLE.read_text().splitlines())
    (found,) = (
        cells
        for cells in ([cell.strip() for cell in row] for row in rows)
        if cells and cells[0].startswith(f"`{network}`") and cells[1] == removed
    )
    return found[2], found[3], found[4:]


@pytest.mark.parametrize("removed", [0, pytest.param(0.25, marks=pytest.mark.slow), 0.5, 0.7])
@pytest.mark.parametrize("network", ["lenet5.onnx", "lenet5_bn.onnx"])
def test_the_example_gives_what_its_table_says(network, removed, tmp_path, example):
    assert list(example.METHODS) == list(TOLERANCES)
    model = ROOT / "examples/fashion_mnist" / network
    models = list(example.compressed(model, removed, tmp_path)) if removed else [model]
    results = example.measured(models)
    params, macs, accuracies = table_row(network, f"{100 * removed:.0f} %")
    assert {f"{each.macs:,}" for each in results} == {macs}
    assert {f"{each.params:,}" for each in results[:2]} == {params}
    # Of two networks with the same widths the default's has biases where a layer had none.
    added = {f"{each.params - results[0].params}" for each in results[2:]}
    assert added <= {"0", *re.findall(r"\d+", ADDED_BIASES.search(EXAMPLE.read_text())[0])}
    tolerances = list(TOLERANCES.values()) if removed else [EXACT]
    said = [float(cell) for cell in accuracies if cell]
    for top1, figure, tolerance in zip(
        (each.top1 for each in results), said, tolerances, strict=True
    ):
        assert top1 == pytest.approx(figure, abs=tolerance)


@pytest.fixture(scope="module")
def example():
    """The program that ``make example`` runs."""
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("compare", ROOT / "examples/fashion_mnist/compare.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
