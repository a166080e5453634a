from dataclasses import replace

import pytest

from emsearch.ledger.store import Ledger
from emsearch.records.score import Score, Split
from emsearch.reports.standings import MemberLine, Standing, headline, split_tables, standings


def score(mean: float, split: Split = Split.TEST) -> Score:
    return Score(
        split=split, iou_K=(mean,), mean_iou=mean, mean_iou_foreground=mean, accuracy=1, voxels=1
    )


def standing(kind: str, mean: float, members: int = 1) -> Standing:
    them = tuple(MemberLine(trial=n, candidate=n, weight=1 / members) for n in range(members))
    return Standing(
        name=kind,
        kind=kind,
        method="",
        members=them,
        validation=score(mean + 0.1, Split.VALIDATION),
        test=score(mean),
    )


def test_ensembles_are_read_with_members_and_scores(ledger: Ledger) -> None:
    with ledger.reading() as connection:
        found = standings(connection, 1)
    assert [one.kind for one in found] == ["ensemble", "single", "baseline", "baseline_ensemble"]
    assert [member.weight for member in found[0].members] == [0.5, 0.25, 0.25]
    assert found[0].test is not None
    assert found[0].test.split == Split.TEST
    assert len(found[0].test.iou_K) == 5


def test_the_headline_says_on_test_what_the_ensemble_gained() -> None:
    found = [
        standing("ensemble", 0.7, members=4),
        standing("single", 0.68),
        standing("baseline", 0.7),
        standing("baseline_ensemble", 0.71),
    ]
    assert headline(found) == (
        "The ensemble of 4 networks reaches a mean IoU of 0.700 on test: 0.020 above the best "
        "single network, level with the best baseline and 0.010 below the baseline's own ensemble."
    )


def test_without_test_data_the_headline_says_validation() -> None:
    found = [replace(standing("ensemble", 0.6), test=None)]
    assert headline(found) == (
        "The ensemble, a single network, reaches a mean IoU of 0.700 on validation."
    )


@pytest.mark.parametrize("found", [[], [standing("single", 0.5)]])
def test_without_an_ensemble_the_headline_says_so(found: list[Standing]) -> None:
    assert headline(found) == "No ensemble has been selected yet."


def test_the_baselines_seeds_are_one_line_their_mean_beside_the_best() -> None:
    found = [
        standing("ensemble", 0.7, members=4),
        standing("baseline", 0.6),
        standing("baseline", 0.5),
        standing("baseline_ensemble", 0.65, members=2),
    ]
    test, validation = split_tables(found)
    assert [(line.name, line.score.mean_iou) for line in test.lines] == [
        ("ensemble", 0.7),
        ("baseline", 0.6),
        ("baseline_ensemble", 0.65),
        ("baseline, mean of 2 seeds", pytest.approx(0.55)),
    ]
    assert (test.best_mean, test.best_K) == (0.7, (0.7,))
    assert validation.split == Split.VALIDATION
    assert validation.best_mean == pytest.approx(0.8)


def test_a_class_that_one_seed_lacks_is_the_mean_of_the_others() -> None:
    lacking = replace(standing("baseline", 0.5), test=replace(score(0.5), iou_K=(None,)))
    (test, _) = split_tables([standing("baseline", 0.6), lacking])
    assert test.lines[-1].score.iou_K == (0.6,)


def test_without_scores_there_is_no_table() -> None:
    assert split_tables([]) == ()
    assert split_tables([replace(standing("single", 0.5), test=None, validation=None)]) == ()
