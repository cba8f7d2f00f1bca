"""Every command and snippet of the README is run, or checked where it needs what is not here."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from configparser import ConfigParser
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
ABSENT = "path/to/"
ADDED_BIASES = re.compile(r"gives layers without a bias one: [^.]* parameters more")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# In points of top-1. Prune and merge reproduce to the digit of the table; what the default chooses
# may move with another processor's order of additions, and some of 1,000 images with it.
EXACT, CLOSE = 0.05, 1.5
TOLERANCES = {"prune": EXACT, "merge": EXACT, "default": CLOSE, "default with data": CLOSE}


@dataclass(frozen=True)
class Block:
    """A fenced block of the README."""

    language: str
    body: str
    line: int

    def __str__(self) -> str:
        return f"line {self.line}"

    @property
    def commands(self) -> list[list[str]]:
        """A shell block's commands as lists of words; continued lines are joined."""
        joined = self.body.replace("\\\n", " ")
        return [shlex.split(line, comments=True) for line in joined.splitlines() if line.strip()]


def blocks(*languages: str) -> Iterator[Block]:
    text = README.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        if match[1] in languages:
            yield Block(match[1], match[2], text[: match.start()].count("\n") + 1)


def programs(*names: str) -> list[Block]:
    """The shell blocks that start one of these programs."""
    return [block for block in blocks("sh") if block.commands[0][0] in names]


@pytest.fixture
def checkout(tmp_path):
    """A folder that looks like a checkout and takes what commands write."""
    for name in ("examples", "benchmarks"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def run(words, folder):
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def as_here(words):
    """The command with this interpreter and the nmcore that it imports."""
    program, *rest = words
    return [sys.executable, *(["-m", "nmcore"] if program == "nmcore" else []), *rest]


@pytest.mark.parametrize("block", programs("nmcore"), ids=str)
def test_commands_run(block, checkout):
    if ABSENT in block.body:
        pytest.skip("needs files that are not in the repository; its options are checked")
    for words in block.commands:
        assert run(as_here(words), checkout)


@pytest.mark.parametrize("block", programs("nmcore", "python"), ids=str)
def test_options_exist(block):
    for words in block.commands:
        program = as_here(words[: 3 if words[1] == "bench" else 2])
        described = run([*program, "--help"], ROOT)
        for option in (word for word in words if word.startswith("--")):
            assert re.search(rf"(?<![\w-]){option}(?![\w-])", described), (words, option)


@pytest.mark.parametrize("block", programs("make"), ids=str)
def test_make_has_these_words(block):
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {words[1] for words in block.commands} <= targets


def test_ci_runs_the_test_command():
    assert "make test" in {line.strip() for line in (ROOT / ".ci/run").read_text().splitlines()}
    recipe = (ROOT / "Makefile").read_text()
    assert "$(BIN)/python examples/fashion_mnist/compare.py" in recipe
    assert "$(BIN)/python -m pytest" in recipe


def test_no_other_program_is_named():
    assert {block.commands[0][0] for block in blocks("sh")} <= {"make", "nmcore", "python"}
    assert {block.language for block in blocks("sh", "python", "bibtex", "", "text")} <= {
        "sh",
        "python",
        "bibtex",
    }


@pytest.mark.parametrize("block", list(blocks("python")), ids=str)
def test_snippets_run(block, checkout):
    run([sys.executable, "-c", block.body], checkout)


def test_links_and_extras_exist():
    text = README.read_text(encoding="utf-8")
    named = re.findall(r'(?:src|srcset)="([^"]+)"', text) + re.findall(r"\]\(([^)#:]+)\)", text)
    named += re.findall(r"`((?:nmcore|backends|examples|benchmarks|docs)/[\w./]+)`", text)
    named += re.findall(r"`python (\S+\.py)", text)
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extras = {extra for each in re.findall(r"\.\[([\w,]+)\]", text) for extra in each.split(",")}
    assert extras <= set(setup["options.extras_require"])


def table_row(network, removed):
    """Parameters, MACs and the accuracies by method that the table of the example gives."""
    rows = (line.strip().split("|")[1:-1] for line in README.read_text().splitlines())
    (found,) = (
        cells
        for cells in ([cell.strip() for cell in row] for row in rows)
        if cells and cells[0].startswith(f"`{network}`") and cells[1] == removed
    )
    return found[2], found[3], found[4:]


@pytest.mark.parametrize("removed", [0, 0.25, 0.5, 0.7])
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
    assert added <= {"0", *re.findall(r"\d+", ADDED_BIASES.search(README.read_text())[0])}
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
