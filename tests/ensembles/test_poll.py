from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emsearch.ensembles.poll import Asked, draw_sample, largest_sample, poll
from emsearch.ensembles.pool import Tallies, mean_iou
from emsearch.inference.device import pick_device
from emsearch.inference.ensemble import load_network
from emsearch.inference.part import parts_of
from emsearch.inference.predict import Predictor
from emsearch.inference.score import confusion_on
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


def ignore(_done: int) -> None:
    """Nobody wants to know."""


def leave_after_two(done: int) -> None:
    if done == 2:
        raise InterruptedError


def test_a_whole_sample_gives_each_trial_its_own_score(studied: Studied, tmp_path: Path) -> None:
    study, dataset, _ = studied
    predictors = _predictors(studied)
    parts = parts_of(dataset, study, Split.VALIDATION)
    sample = draw_sample(parts, 3, [predictors[0].tiling])
    told: list[int] = []
    pool = poll(sample, _asked(predictors, []), tmp_path, told.append)
    assert told == [1, 2, 3, 4]
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
    with pytest.raises(InterruptedError):
        poll(sample, asked, tmp_path, leave_after_two)
    assert loads == [0, 1]
    first = poll(sample, asked, tmp_path, ignore)
    assert loads == [0, 1, 2, 3]
    again = poll(sample, asked, tmp_path, ignore)
    assert loads == [0, 1, 2, 3]
    np.testing.assert_array_equal(first.probability_MKN, again.probability_MKN)
    changed = [replace(asked[0], digest="trained on"), *asked[1:]]
    poll(sample, changed, tmp_path, ignore)
    assert loads == [0, 1, 2, 3, 0]
    poll(other, changed, tmp_path, ignore)
    assert loads[5:] == [0, 1, 2, 3]


def test_a_damaged_answer_is_asked_for_again(studied: Studied, tmp_path: Path) -> None:
    study, dataset, _ = studied
    predictors = _predictors(studied)
    sample = draw_sample(parts_of(dataset, study, Split.VALIDATION), 3, [predictors[0].tiling])
    loads: list[int] = []
    first = poll(sample, _asked(predictors, loads), tmp_path, ignore)
    chunk = next(path for path in (tmp_path / "1.zarr" / "c").rglob("*") if path.is_file())
    chunk.write_bytes(chunk.read_bytes()[:10])
    (tmp_path / "2.zarr" / "zarr.json").write_text("")
    again = poll(sample, _asked(predictors, loads), tmp_path, ignore)
    assert loads == [0, 1, 2, 3, 1, 2]
    np.testing.assert_array_equal(first.probability_MKN, again.probability_MKN)


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
