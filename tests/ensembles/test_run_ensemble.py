from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from emsearch.ensembles.keeping import Kept
from emsearch.ensembles.package import load_ensemble
from emsearch.ensembles.run import run_ensemble
from emsearch.errors import SpecError
from emsearch.inference.box import Box
from emsearch.inference.part import parts_of
from emsearch.inference.predict import Predictor
from emsearch.inference.score import judge
from emsearch.metrics.overlap import confusion
from emsearch.metrics.scorecard import score
from emsearch.records.dataset import Dataset
from emsearch.records.files import read_json
from emsearch.records.order import EnsembleOrder, Member
from emsearch.records.score import Split
from emsearch.records.trial import Cause
from tests.support.trials import FakePost, picture

Studied = tuple[Path, Dataset, list[Member]]


def _by_kind(facts: Any, kind: str) -> Any:
    return next(entry for entry in facts["entries"] if entry["kind"] == kind)


def test_the_ensemble_stands_beside_its_rivals(order: EnsembleOrder, post: FakePost) -> None:
    outcome = run_ensemble(order, post)
    assert outcome.cause is Cause.COMPLETED
    kinds = [entry["kind"] for entry in outcome.facts["entries"]]
    assert kinds == ["ensemble", "single", "baseline", "baseline", "baseline_ensemble"]
    for entry in outcome.facts["entries"]:
        assert sum(member["weight"] for member in entry["members"]) == pytest.approx(1)
        assert entry["validation"]["split"] == "validation"
        assert entry["test"]["split"] == "test"
    assert post.steps == len(order.pool)


def test_gains_over_the_rivals_are_told_with_intervals(
    order: EnsembleOrder, post: FakePost
) -> None:
    facts = run_ensemble(order, post).facts
    ours, *rivals = facts["entries"]
    assert ours["ensemble_gain"] == {}
    for rival in rivals:
        for split in ("validation", "test"):
            gain = rival["ensemble_gain"][split]
            expected = ours[split]["mean_iou"] - rival[split]["mean_iou"]
            assert gain["difference"] == pytest.approx(expected)
            assert gain["low"] <= gain["high"]


def test_the_ensemble_is_no_worse_on_validation_than_any_single_trial(
    order: EnsembleOrder, post: FakePost
) -> None:
    facts = run_ensemble(order, post).facts
    best = max(member.score for member in order.pool)
    assert _by_kind(facts, "ensemble")["validation"]["mean_iou"] >= best - 1e-3  # votes in 255ths


def test_a_single_trial_scores_what_it_scored_in_training(
    order: EnsembleOrder, post: FakePost
) -> None:
    single = _by_kind(run_ensemble(order, post).facts, "single")
    (told,) = single["members"]
    (member,) = (m for m in order.pool if m.trial == told["trial"])
    assert single["validation"]["mean_iou"] == pytest.approx(member.score, abs=1e-6)


def test_the_package_runs_without_the_study_and_scores_the_same(
    order: EnsembleOrder, post: FakePost, tmp_path: Path
) -> None:
    facts = run_ensemble(order, post).facts
    (post.study / "ensembles" / "best").rename(tmp_path / "moved")
    image, labels = picture((6, 72, 56))
    found = load_ensemble(tmp_path / "moved", device="cpu").segment(image)
    confusion_KK = confusion(found[5:6], labels[5:6], 3)
    expected = _by_kind(facts, "ensemble")["test"]
    assert score(confusion_KK, Split.TEST).mean_iou == pytest.approx(expected["mean_iou"], abs=1e-3)


def test_members_disagreement_and_calibration_are_told(
    order: EnsembleOrder, post: FakePost
) -> None:
    entries = run_ensemble(order, post).facts["entries"]
    ours = entries[0]
    for split in ("validation", "test"):
        errors = ours["calibration"][split]
        assert 0 <= errors["tempered_error"] < 1
        assert len(ours["ensemble_gain"]) == 0
        for rival in entries[1:]:
            assert len(rival["ensemble_gain"][split]["iou_K"]) == 3
    assert ours["temperature"] > 0
    team = _by_kind({"entries": entries}, "baseline_ensemble")
    assert 0 < team["disagreement"]["test"] < 1


@pytest.mark.parametrize("size", [1, 4])
def test_the_baselines_ensemble_has_as_many_members(
    order: EnsembleOrder, post: FakePost, size: int
) -> None:
    seeds = tuple(replace(order.baselines[0], trial=90 + seed) for seed in range(4))
    facts = run_ensemble(replace(order, baselines=seeds, size=size), post).facts
    as_many = max(len(_by_kind(facts, "ensemble")["members"]), 2)  # one would be no ensemble
    assert len(_by_kind(facts, "baseline_ensemble")["members"]) == as_many


def test_a_majority_is_packed_and_scored_as_one(order: EnsembleOrder, post: FakePost) -> None:
    order = replace(order, methods=("top_k",), combine=("majority",))
    entry = _by_kind(run_ensemble(order, post).facts, "ensemble")
    ensemble = load_ensemble(post.study / "ensembles" / "best", device="cpu")
    image, labels = picture((6, 72, 56))
    found = score(confusion(ensemble.segment(image)[5:6], labels[5:6], 3), Split.TEST)
    assert found.mean_iou == pytest.approx(entry["test"]["mean_iou"], abs=1e-3)
    assert ensemble.committee.is_majority == (entry["combine"] == "majority")


def test_another_order_does_not_predict_again(
    order: EnsembleOrder, post: FakePost, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_ensemble(order, post)
    monkeypatch.setattr("emsearch.ensembles.poll._ask", None)
    assert run_ensemble(replace(order, size=1), post).cause is Cause.COMPLETED


def test_an_ensemble_replaces_the_one_before(order: EnsembleOrder, post: FakePost) -> None:
    for _ in range(2):
        run_ensemble(order, post)
    names = sorted(path.name for path in (post.study / "ensembles").iterdir())
    assert names == ["baseline", "best", "predictions"]


def test_overlays_show_sections_of_the_test_split(order: EnsembleOrder, post: FakePost) -> None:
    paths = run_ensemble(order, post).facts["overlays"]
    assert [Path(path).name for path in paths] == ["v0-z0005.png", "v0-z0005-worst.png"]
    with Image.open(post.study / paths[0]) as opened:
        sheet = np.asarray(opened)
    assert sheet.shape[1] == 5 * 56 + 4 * 6
    assert (sheet[..., 0] != sheet[..., 1]).any()  # there is colour


def test_without_a_test_split_validation_is_shown_and_test_is_none(
    order: EnsembleOrder, post: FakePost
) -> None:
    (volume,) = order.dataset.volumes
    dataset = replace(order.dataset, volumes=(replace(volume, test=None),))
    facts = run_ensemble(replace(order, dataset=dataset), post).facts
    assert {entry["test"] is None for entry in facts["entries"]} == {True}
    assert [Path(path).name for path in facts["overlays"]] == ["v0-z0004.png", "v0-z0004-worst.png"]


def test_an_empty_pool_is_refused(order: EnsembleOrder, post: FakePost) -> None:
    with pytest.raises(SpecError, match="the pool is empty"):
        run_ensemble(replace(order, pool=()), post)


def test_who_does_not_count_any_more_packs_nothing(order: EnsembleOrder, post: FakePost) -> None:
    run_ensemble(order, post)
    before = (post.study / "ensembles" / "best" / "ensemble.json").stat().st_mtime_ns
    post.claim = False
    assert run_ensemble(order, post).facts == {"superseded": True}
    assert (post.study / "ensembles" / "best" / "ensemble.json").stat().st_mtime_ns == before


@pytest.mark.parametrize("trials", [0, 1, 4])
def test_who_is_asked_to_leave_leaves(order: EnsembleOrder, post: FakePost, trials: int) -> None:
    post.stop_after = trials  # of the pool: after all of them, the choice is still to be scored
    assert len(order.pool) == 4
    assert run_ensemble(order, post).cause is Cause.PREEMPTED


def test_scoring_goes_on_with_the_block_where_it_was_left(
    order: EnsembleOrder, post: FakePost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emsearch.inference.score.block_shape", lambda *_: (1, 40, 40))
    unbroken = run_ensemble(order, post).facts
    judged: list[Box] = []

    def note(part: Any, block: Box, *others: Any) -> Any:
        judged.append(block)
        verdict = judge(part, block, *others)
        broken.stop_after = 0
        return verdict

    monkeypatch.setattr("emsearch.inference.score.judge", note)
    causes = []
    for attempt in range(9):  # each is asked to leave once it has scored a block
        folder = post.folder.parent.parent / "broken" / str(attempt)
        broken = FakePost(study=post.study, folder=folder)
        outcome = run_ensemble(order, broken)
        causes.append(outcome.cause)
    assert causes == [Cause.PREEMPTED] * 8 + [Cause.COMPLETED]
    assert len(judged) == len({(box.start_zyx, box.stop_zyx) for box in judged}) == 8
    assert outcome.facts["entries"] == unbroken["entries"]
    names = [[Path(path).name for path in facts["overlays"]] for facts in (outcome.facts, unbroken)]
    assert names[0] == names[1]


def test_who_is_asked_amid_a_block_leaves_before_the_next_network_and_counts_it_anew(
    order: EnsembleOrder, post: FakePost, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken = run_ensemble(order, post).facts
    asked = FakePost(study=post.study, folder=post.folder.parent.parent / "asked" / "0")
    predicted: list[Box] = []
    probability = Predictor.probability

    def ask(predictor: Predictor, read: Any, volume_zyx: Any, block: Box) -> Any:
        predicted.append(block)
        asked.stop_after = 0
        return probability(predictor, read, volume_zyx, block)

    with monkeypatch.context() as patch:
        patch.setattr(Predictor, "probability", ask)
        assert run_ensemble(order, asked).cause is Cause.PREEMPTED
    assert len(predicted) == 1
    again = FakePost(study=post.study, folder=post.folder.parent.parent / "asked" / "1")
    assert run_ensemble(order, again).facts["entries"] == unbroken["entries"]


def test_counts_of_other_weights_or_cut_short_do_not_count(
    order: EnsembleOrder, post: FakePost
) -> None:
    run_ensemble(order, post)
    parts = parts_of(order.dataset, post.study, Split.TEST)
    (path,) = post.folder.glob("counted-test.json")
    digest = read_json(path)["digest"]
    kept = Kept(post=post, split=Split.TEST, parts=parts, digest=digest)
    found = kept.find()
    assert found is not None
    assert found.to_dict(parts) == read_json(path)["count"]
    assert replace(kept, digest="of others").find() is None
    path.write_text(path.read_text()[:100])
    assert kept.find() is None


def test_the_worlds_chance_does_not_matter(order: EnsembleOrder, post: FakePost) -> None:
    torch.manual_seed(1)
    first = run_ensemble(order, post)
    torch.manual_seed(2)
    assert run_ensemble(order, post) == first
