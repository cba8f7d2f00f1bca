"""Several seeds of synthetic inputs: which is taken, and what is told of how they differ."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

import nmcore
from chain import Chain
from nmcore.errors import ArgumentError
from nmcore.evaluation.fidelity import Fidelity
from nmcore.evaluation.seed_spread import SEED_HINT, Spread
from small import small_network

QUICK = {"samples": 48, "providers": ("cpu",)}


@pytest.fixture(scope="module")
def model():
    return small_network().build()


@pytest.fixture(scope="module")
def result(model):
    return nmcore.compress(model, ratio=0.5, tries=3, seed=4, **QUICK)


def pair(agreement, deviation):
    return Fidelity("made", 40, None, None, agreement, deviation)


class TestSpread:
    def test_the_one_that_gives_most_of_the_originals_classes_is_kept(self):
        own = [pair(50.0, 10.0), pair(75.0, 30.0), pair(70.0, 20.0)]
        spread = Spread.of((7, 8, 9), own, [pair(60.0, 5.0), pair(61.0, 6.0), pair(65.0, 7.0)])
        assert (spread.kept, spread.n) == (8, 40)
        assert spread.agreement == (50, 75, 70)
        assert (spread.agreement_among, spread.deviation_among) == (62, 6)
        assert str(spread) == (
            "seeds 7 to 9: on 50.0 to 75.0 % of 40 synthetic inputs that nothing was measured on "
            "they give the original's top class, on 62.0 % each other's; seed 8 was kept"
        )

    def test_where_classes_agree_alike_the_outputs_decide(self):
        own = [pair(75.0, 10.0), pair(75.0, 5.0), pair(75.0, 5.0)]
        assert Spread.of((0, 1, 2), own, [pair(90.0, 1.0)] * 3).kept == 1

    def test_outputs_that_are_no_scores(self):
        spread = Spread.of((0, 1), [pair(None, 50.0), pair(None, 10.0)], [pair(None, 60.0)])
        assert (spread.agreement, spread.agreement_among, spread.kept) == (None, None, 1)
        assert str(spread) == (
            "seeds 0 to 1: on 40 synthetic inputs that nothing was measured on they deviate by "
            "10.0 to 50.0 % from the original, by 60.0 % from each other; seed 1 was kept"
        )

    def test_outputs_of_different_shapes(self):
        spread = Spread.of((3, 4), [pair(None, None)] * 2, [pair(None, None)])
        assert (spread.deviation, spread.deviation_among) == (None, None)
        assert str(spread) == "seeds 3 to 4: their outputs cannot be compared; seed 3 was kept"


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
        told = json.loads(json.dumps(result.report.to_dict()))["spread"]
        assert told["kept"] == result.seed
        assert len(told["agreement"]) == len(told["seeds"]) == 3
        assert str(result.spread) in result.notes

    def test_the_plan_gives_it_again(self, model, result):
        again = nmcore.compress(model, plan=result.plan, **QUICK)
        assert again.graph.serialize() == result.graph.serialize()
        assert again.spread is None

    def test_one_result_says_that_others_would_differ(self, model, result):
        alone = nmcore.compress(model, ratio=0.5, **QUICK)
        assert alone.notes.count(SEED_HINT) == 1
        assert alone.spread is None
        assert SEED_HINT not in result.notes
        assert SEED_HINT not in nmcore.compress(model, plan=alone.plan, **QUICK).notes

    def test_where_nothing_is_removed_every_seed_gives_the_same(self, model):
        result = nmcore.compress(model, ratio=0, tries=2, **QUICK)
        assert result.spread.agreement == (100, 100)
        assert result.spread.deviation_among == 0

    def test_a_model_that_runs_on_nothing_is_merged_and_not_compared(self):
        """Shapes do not fit at run time: the second factor is never as long as that."""
        chain = Chain(("n", 8)).gemm(16).node("Relu").gemm(12)
        chain.node("Reshape", np.array([-1, 7], np.int64))
        result = nmcore.compress(chain.build(check=False), ratio=0.5, tries=2, **QUICK)
        assert result.notes[0].startswith("the seeds are not compared: ")
        assert any(note.startswith("method merge instead, since nothing") for note in result.notes)
        assert SEED_HINT not in result.notes
        assert result.spread is None

    def test_outputs_whose_length_depends_on_their_numbers(self):
        """Those of the results may have other shapes than the original's."""
        chain = Chain(("n", 8)).gemm(16).node("Relu").gemm(12).node("Relu").node("NonZero")
        chain.node("Cast", to=onnx.TensorProto.FLOAT)
        result = nmcore.compress(chain.build(check=False), ratio=0.5, tries=2, **QUICK)
        assert result.notes[0].endswith("their outputs cannot be compared; seed 0 was kept")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tries": 0}, "tries is 0; a whole number from 1 is needed"),
        ({"tries": 2, "method": "merge"}, "method merge looks at weights alone; leave out tries"),
        ({"tries": 2, "threshold": 0.5}, "method merge looks at weights alone; leave out tries"),
        ({"tries": 2, "data": np.zeros((9, 3, 8, 8), np.float32)}, "with data there are none"),
        ({"tries": 2, "max_drop": 5}, "tries and max-drop were given"),
        ({"tries": 2, "plan": {"groups": {"conv1": [0]}}}, "tries cannot be given with a plan"),
    ],
)
def test_where_seeds_change_nothing(model, options, words):
    with pytest.raises(ArgumentError, match=words):
        nmcore.compress(model, **options)
