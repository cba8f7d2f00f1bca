"""How many random graphs are tried, and where failing ones go.

``pytest tests/property --graphs 5000`` tries thousands; ``--graph-seed 17`` only that one. The
options belong to this folder, so it has to stand on the command line with them.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from nmcore.calibration import random_inputs

GRAPHS = 150


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("random graphs")
    group.addoption("--graphs", type=int, default=GRAPHS, help=f"how many to try ({GRAPHS})")
    group.addoption("--graph-seed", type=int, help="try this one alone")
    group.addoption(
        "--dump-graphs", type=Path, metavar="DIR", help="where failing ones are written"
    )


def seeds(config: pytest.Config, share: float = 1.0) -> list[int]:
    """The seeds to try; a ``share`` of them for costlier checks."""
    # Without a default, pytest does not know options of a conftest that it finds on its way.
    one = config.getoption("--graph-seed", None)
    count = config.getoption("--graphs", GRAPHS)
    return [one] if one is not None else list(range(max(1, round(count * share))))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for name, share in (("seed", 1.0), ("twin_seed", 0.4), ("few_seed", 0.06)):
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, seeds(metafunc.config, share))


@pytest.fixture(autouse=True)
def small_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof runs models with open axes at usual picture sizes; these networks need no such."""
    monkeypatch.setattr(random_inputs, "TRIAL_SIZES", ((16, 8), (32, 8)))


@pytest.fixture
def dump_folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where this test may leave a failing model; pytest keeps its own folders for three runs."""
    folder = request.config.getoption("--dump-graphs", None)
    return folder if folder is not None else tmp_path
