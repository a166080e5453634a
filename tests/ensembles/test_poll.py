from dataclasses import replace
from pathlib import Path

import numpy as np

from emsearch.ensembles.poll import Asked, draw_sample, largest_sample, poll
from emsearch.ensembles.pool import Tallies, mean_iou
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


def _asked(predictors: list[Predictor], loads: list[int]) -> list[Asked]:
    """Return trials that note when their networks are loaded."""

    def load(place: int) -> Predictor:
        loads.append(place)
        return predictors[place]

    return [
        Asked(name=str(place), digest=f"weights {place}", load=lambda place=place: load(place))  # type: ignore[misc]
        for place in range(len(predictors))
    ]


def test_a_whole_sample_gives_each_trial_its_own_score(studied: Studied, tmp_path: Path) -> None:
    study, dataset, _ = studied
    predictors = _predictors(studied)
    parts = parts_of(dataset, study, Split.VALIDATION)
    sample = draw_sample(parts, 3, [predictors[0].tiling])
    told: list[int] = []

    def tell(done: int) -> bool:
        told.append(done)
        return True

    pool = poll(sample, _asked(predictors, []), tmp_path, tell)
    assert told == [1, 2, 3, 4]
    assert pool is not None
    for place, predictor in enumerate(predictors):
        expected = score(confusion_on(parts, predictor), Split.VALIDATION).mean_iou
        found = mean_iou(Tallies(pool, 1).of([place]).sum(0))
        assert abs(found - expected) < 2e-3  # rounded to 255ths


def test_answers_are_kept_and_asked_for_again_only_of_other_weights_or_voxels(
    studied: Studied, tmp_path: Path
) -> None:
    study, dataset, _ = studied
    predictors = _predictors(studied)
    parts = parts_of(dataset, study, Split.VALIDATION)
    sample, other = (draw_sample(parts, 3, [predictors[0].tiling], n) for n in (2000, 900))
    loads: list[int] = []
    asked = _asked(predictors, loads)
    assert poll(sample, asked, tmp_path, lambda done: done < 2) is None
    assert loads == [0, 1]
    first = poll(sample, asked, tmp_path, lambda _done: True)
    assert loads == [0, 1, 2, 3]
    again = poll(sample, asked, tmp_path, lambda _done: True)
    assert loads == [0, 1, 2, 3]
    assert first is not None
    assert again is not None
    np.testing.assert_array_equal(first.probability_MKN, again.probability_MKN)
    changed = [replace(asked[0], digest="trained on"), *asked[1:]]
    poll(sample, changed, tmp_path, lambda _done: True)
    assert loads == [0, 1, 2, 3, 0]
    poll(other, changed, tmp_path, lambda _done: True)
    assert loads[5:] == [0, 1, 2, 3]


def test_many_trials_of_many_classes_are_asked_about_fewer_voxels() -> None:
    assert largest_sample(16, 7) == 2_000_000
    assert largest_sample(200, 7) == 2_000_000
    assert largest_sample(1000, 10) == 300_000


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
