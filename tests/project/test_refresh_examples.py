"""The output that pages show gets the numbers of today and nothing else."""

from __future__ import annotations

import importlib.util

import pytest

from pages import ROOT


@pytest.fixture(scope="module")
def refresh():
    path = ROOT / "docs" / "refresh_examples.py"
    spec = importlib.util.spec_from_file_location("refresh_examples", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_lines_of_the_same_words_get_new_numbers_in_their_columns(refresh):
    said = ["...", "size  1,000 kB   7", "", "lost 3.5 % of 10", "other words", "..."]
    printed = ["first", "size  20 kB  1,000", "lost 4 % of 12 ", "size 30 kB 8"]
    now = ["...", "size     20 kB 1,000", "", "lost 4 % of 12", "other words", "..."]
    assert [line for line, _ in refresh.refreshed(said, printed)] == now
    assert [found for _, found in refresh.refreshed(said, printed)] == [True] * 4 + [False, True]


def test_a_line_that_stands_for_more_and_one_of_the_same_numbers_stay(refresh):
    said = ["took ... for 3", "a  1"]
    found = list(refresh.refreshed(said, ["took a while for 4", "a 1"]))
    assert found == [(line, True) for line in said]


def test_a_page_is_run_and_written(refresh, tmp_path):
    page = tmp_path / "page.md"
    text = """```sh
echo one 2; echo three 4; echo one 9 > other
```

```text
one 9
```

```text title="for example"
one 9
five 5
...
```
"""
    page.write_text(text)
    assert refresh.refresh(page) == ["- one 9", "+ one 2", "not printed: five 5"]
    head, _, tail = text.rpartition("one 9")
    assert page.read_text() == f"{head}one 2{tail}"
    assert refresh.refresh(page) == ["not printed: five 5"]
