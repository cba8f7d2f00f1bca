"""Several seeds of made inputs: which is taken, and what is told of how they differ."""

from __future__ import annotations

import json

import numpy as np
import pytest

import nmcore
from nmcore.errors import ArgumentError
from nmcore.spread import Likeness
from small import small_network

QUICK = {"samples": 48, "providers": ("cpu",)}


@pytest.fixture(scope="module")
def model():
    return small_network().build()


@pytest.fixture(scope="module")
def result(model):
    return nmcore.compress(model, ratio=0.5, tries=3, seed=4, **QUICK)


def scores(*classes):
    return np.eye(3, dtype=np.float32)[list(classes)]


class TestLikeness:
    def test_classes_are_counted_by_pairs(self):
        likeness = Likeness(3)
        likeness.add([scores(0, 1), scores(0, 2), scores(0, 2)])
        likeness.add([scores(2, 2), scores(2, 1), scores(2, 2)])
        spread = likeness.spread((7, 8), 4)
        assert spread.agreement == (50, 75)
        assert spread.agreement_among == 75
        assert (spread.kept, spread.n) == (8, 4)
        # Two of four answers differ, each by 1 in two places, where all have a power of 1.
        assert spread.deviation == (100, pytest.approx(70.71))
        assert spread.deviation_among == pytest.approx(70.71)

    def test_where_classes_agree_alike_the_outputs_decide(self):
        likeness = Likeness(4)
        likeness.add([scores(0, 1), 3 * scores(0, 1), 1.5 * scores(0, 1), 2 * scores(0, 1)])
        spread = likeness.spread((0, 1, 2), 2)
        assert spread.agreement == (100, 100, 100)
        assert spread.kept == 1

    def test_outputs_that_are_no_scores(self):
        likeness = Likeness(3)
        pictures = np.ones((2, 1, 4, 4), np.float32)
        likeness.add([pictures, 1.5 * pictures, 0.9 * pictures])
        spread = likeness.spread((0, 1), 2)
        assert (spread.agreement, spread.agreement_among, spread.kept) == (None, None, 1)
        assert spread.deviation == (50, 10)
        assert spread.deviation_among == 60
        assert str(spread) == (
            "seeds 0 to 1: on 2 made inputs that nothing was measured on outputs deviate by 10.0 "
            "to 50.0 % from the original's, by 60.0 % from each other's; where they differ the "
            "seed decides; seed 1 was kept"
        )


class TestCompress:
    def test_what_is_kept_is_what_its_seed_gives(self, model, result):
        assert result.spread.seeds == (4, 5, 6)
        assert result.seed == result.spread.kept
        alone = nmcore.compress(model, ratio=0.5, seed=result.seed, **QUICK)
        assert result.graph.serialize() == alone.graph.serialize()

    def test_it_is_the_nearest(self, result):
        spread = result.spread
        best = spread.agreement[spread.seeds.index(spread.kept)]
        assert best == max(spread.agreement)
        assert 0 < spread.agreement_among < 100

    def test_the_report_tells(self, result):
        told = json.loads(json.dumps(result.report.as_dict()))["spread"]
        assert told["kept"] == result.seed
        assert len(told["agreement"]) == len(told["seeds"]) == 3
        assert str(result.spread) in result.notes

    def test_the_plan_gives_it_again(self, model, result):
        again = nmcore.compress(model, plan=result.plan, **QUICK)
        assert again.graph.serialize() == result.graph.serialize()
        assert again.spread is None

    def test_one_result_says_that_others_would_differ(self, model, result):
        alone = nmcore.compress(model, ratio=0.5, **QUICK)
        (hint,) = [note for note in alone.notes if "--tries" in note]
        assert hint.startswith("another seed makes other inputs")
        assert alone.spread is None
        assert not [note for note in result.notes if "--tries" in note]

    def test_where_nothing_is_removed_every_seed_gives_the_same(self, model):
        result = nmcore.compress(model, ratio=0, tries=2, **QUICK)
        assert result.spread.agreement == (100, 100)
        assert result.spread.deviation_among == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tries": 0}, "tries is 0; a whole number from 1 is needed"),
        ({"tries": 2, "method": "merge"}, "method merge looks at weights alone; leave out tries"),
        ({"tries": 2, "threshold": 0.5}, "method merge looks at weights alone; leave out tries"),
        ({"tries": 2, "data": np.zeros((9, 3, 8, 8), np.float32)}, "with data none are made"),
        ({"tries": 2, "plan": {"groups": {"conv1": [0]}}}, "tries cannot be given with a plan"),
    ],
)
def test_where_seeds_change_nothing(model, options, words):
    with pytest.raises(ArgumentError, match=words):
        nmcore.compress(model, **options)
