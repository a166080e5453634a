from pathlib import Path

import numpy as np

from emsearch.ensembles.poll import draw_sample, poll
from emsearch.inference.device import pick_device
from emsearch.inference.ensemble import load_network
from emsearch.inference.predict import Predictor
from emsearch.inference.score import confusion_on, parts_of
from emsearch.metrics.scorecard import score
from emsearch.records.dataset import Dataset
from emsearch.records.order import Member, tree_of
from emsearch.records.score import Split

Studied = tuple[Path, Dataset, list[Member]]


def _predictors(studied: Studied) -> list[Predictor]:
    study, _, members = studied
    device = pick_device("cpu")
    return [
        load_network(tree_of(member), study / member.weights, 3, member.patch_zyx, device)
        for member in members
    ]


def test_a_whole_sample_gives_each_trial_its_own_score(studied: Studied) -> None:
    study, dataset, _ = studied
    predictors = _predictors(studied)
    parts = parts_of(dataset, study, Split.VALIDATION)
    sample = draw_sample(parts, 3, [predictors[0].tiling])
    told: list[int] = []
    pool = poll(sample, [lambda p=p: p for p in predictors], told.append)  # type: ignore[misc]
    assert told == [1, 2, 3, 4]
    for place, predictor in enumerate(predictors):
        expected = score(confusion_on(parts, predictor), Split.VALIDATION).mean_iou
        assert abs(pool.mean_iou(pool.sums([place])) - expected) < 2e-3  # rounded to 255ths


def test_of_many_voxels_a_sample_keeps_the_rare_class(studied: Studied) -> None:
    study, dataset, _ = studied
    parts = parts_of(dataset, study, Split.VALIDATION)
    tilings = [_predictors(studied)[0].tiling]
    whole = draw_sample(parts, 3, tilings)
    some = draw_sample(parts, 3, tilings, largest=900)
    whole_K, some_K = (np.bincount(sample.true_N, minlength=3) for sample in (whole, some))
    assert 700 < some_K.sum() < 1100
    assert some_K.min() > 200
    np.testing.assert_allclose(some.stands_for_K * some_K, whole_K)


def test_a_sample_is_the_same_each_time(studied: Studied) -> None:
    study, dataset, _ = studied
    parts = parts_of(dataset, study, Split.VALIDATION)
    tilings = [_predictors(studied)[0].tiling]
    first, second = (draw_sample(parts, 3, tilings, largest=500) for _ in range(2))
    np.testing.assert_array_equal(first.true_N, second.true_N)
