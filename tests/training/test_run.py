import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from emsearch.errors import CollapsedError, DivergedError
from emsearch.records.budget import Budget
from emsearch.records.chance import seed_of
from emsearch.records.dataset import Dataset
from emsearch.records.files import read_json
from emsearch.records.order import TrainOrder
from emsearch.records.trial import Cause
from emsearch.training.run import run_trial
from emsearch.volumes.sample import PatchSampler
from tests.support.trials import FakePost, make_study, train_order

Posts = Callable[..., FakePost]


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return make_study(tmp_path)


@pytest.fixture
def posts(tmp_path: Path) -> Posts:
    def post(attempt: str = "a", stop_after: int | None = None) -> FakePost:
        folder = tmp_path / "trials" / "0003" / "attempts" / attempt
        return FakePost(study=tmp_path, folder=folder, stop_after=stop_after)

    return post


def _without_place(facts: Mapping[str, object]) -> dict[str, object]:
    return {name: facts[name] for name in facts if name not in {"train_s", "weights", "first_step"}}


def test_a_completed_trial_leaves_weights_and_scores(dataset: Dataset, posts: Posts) -> None:
    post = posts()
    outcome = run_trial(train_order(dataset), post)
    assert outcome.cause is Cause.COMPLETED
    assert [facts["step"] for facts in post.said] == [4, 8]
    assert outcome.facts["score"] == post.said[-1]["score"]
    assert outcome.facts["weights"] == "trials/0003/attempts/a/weights.pt"
    weights = torch.load(post.study / outcome.facts["weights"], weights_only=True)
    assert all(isinstance(tensor, torch.Tensor) for tensor in weights.values())
    names = sorted(path.name for path in post.folder.iterdir())
    assert names == ["provenance.json", "result.json", "weights.pt"]
    assert post.steps == 8


def test_a_trial_says_what_it_was_made_with(dataset: Dataset, posts: Posts) -> None:
    post = posts()
    run_trial(train_order(dataset, horizon=1, until_step=1), post)
    made = read_json(post.folder / "provenance.json")
    assert made["seed"] == 11
    assert made["torch"] == torch.__version__
    assert made["data"] == {"v0": ""}
    assert {"emsearch", "numpy", "zarr", "cuda", "device", "threads", "recipe"} <= made.keys()


def test_a_trial_learns(dataset: Dataset, posts: Posts) -> None:
    order = train_order(dataset, horizon=60, until_step=60, evaluate_at=(10, 60))
    post = posts()
    run_trial(order, post)
    assert post.said[1]["loss"] < 0.7 * post.said[0]["loss"]
    assert post.said[1]["score"]["mean_iou"] > 0.8


def test_results_depend_on_the_seed_alone(dataset: Dataset, posts: Posts) -> None:
    order = train_order(dataset)
    first, second, other = (
        run_trial(task, posts(name))
        for name, task in (("a/x", order), ("b/x", order), ("c/x", replace(order, seed=12)))
    )
    assert first.facts["score"] == second.facts["score"]
    assert first.facts["loss"] == second.facts["loss"]
    assert other.facts["loss"] != first.facts["loss"]


def test_a_rung_pauses_the_trial_and_does_not_disturb_it(dataset: Dataset, posts: Posts) -> None:
    unbroken = run_trial(train_order(dataset), posts("one/a"))
    paused = run_trial(train_order(dataset, until_step=4), posts("two/a"))
    assert paused.cause is Cause.PAUSED
    assert paused.facts["step"] == 4
    resumed = run_trial(train_order(dataset), posts("two/b"))
    assert resumed.facts["first_step"] == 4
    assert _without_place(resumed.facts) == _without_place(unbroken.facts)


def test_who_is_asked_to_leave_leaves_a_checkpoint(dataset: Dataset, posts: Posts) -> None:
    post = posts(stop_after=3)
    outcome = run_trial(train_order(dataset), post)
    assert outcome.cause is Cause.PREEMPTED
    assert outcome.facts == {"first_step": 0, "step": 3}
    assert [path.name for path in post.folder.glob("*.pt")] == ["checkpoint-000000003.pt"]


def test_no_step_before_a_checkpoint_is_repeated(dataset: Dataset, posts: Posts) -> None:
    run_trial(train_order(dataset), posts("a", stop_after=5))
    post = posts("b")
    run_trial(train_order(dataset), post)
    assert post.steps == 3
    assert [facts["step"] for facts in post.said] == [4, 8]  # 4 is said again, equal


def test_an_attempt_that_does_not_count_any_more_leaves_nothing(
    dataset: Dataset, posts: Posts
) -> None:
    post = posts()
    post.claim = False
    outcome = run_trial(train_order(dataset, checkpoint_every_s=0.0), post)
    assert outcome.cause is Cause.CANCELLED
    assert outcome.facts == {"superseded": True}
    assert post.steps == 1
    assert not list(post.folder.glob("*.pt"))


def test_a_completed_trial_is_told_again_and_not_trained_again(
    dataset: Dataset, posts: Posts
) -> None:
    first = run_trial(train_order(dataset), posts("a"))
    post = posts("b")
    assert run_trial(train_order(dataset), post) == first
    assert post.steps == 0
    assert [facts["step"] for facts in post.said] == [8]


def test_a_torn_checkpoint_is_passed_over(dataset: Dataset, posts: Posts) -> None:
    run_trial(train_order(dataset), posts("a", stop_after=2))
    torn = posts("b").folder / "checkpoint-000000005.pt"
    torn.write_bytes(b"PK\x03\x04 half of it")
    post = posts("c")
    run_trial(train_order(dataset), post)
    assert post.steps == 6


def test_a_training_that_diverges_says_so(dataset: Dataset, posts: Posts) -> None:
    order = train_order(dataset)
    recipe = replace(order.recipe, learning_rate=1e30, gradient_clip=1e30)
    with pytest.raises(DivergedError, match=r"(by|at) step"):
        run_trial(replace(order, recipe=recipe), posts())


def test_a_network_that_sees_one_class_everywhere_has_collapsed(
    dataset: Dataset, posts: Posts, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.logit = nn.Parameter(torch.zeros(1, 3, 1, 1, 1))

        def forward(self, image_BCZYX: torch.Tensor) -> torch.Tensor:
            return self.logit + 0 * image_BCZYX

    monkeypatch.setattr("emsearch.training.run.build", lambda *_: Constant())
    with pytest.raises(CollapsedError, match=r"at step 4 the network sees class \d everywhere"):
        run_trial(train_order(dataset), posts())


def test_before_half_of_the_horizon_one_class_everywhere_is_no_verdict(
    dataset: Dataset, posts: Posts
) -> None:
    order = train_order(dataset, horizon=100, until_step=1, evaluate_at=(1,))
    assert run_trial(order, posts()).cause is Cause.PAUSED


def _extended(order: TrainOrder) -> TrainOrder:
    return replace(order, horizon=16, until_step=16, evaluate_at=(8, 16))


def test_a_training_is_extended_from_before_its_decay(dataset: Dataset, posts: Posts) -> None:
    order = train_order(dataset)
    recipe = replace(order.recipe, warmup=0.0, decay=0.25)
    order = replace(order, recipe=recipe, keep_plateau=True, evaluate_at=(8,))
    short = run_trial(order, posts("one/a"))
    folder = posts("one/a").folder
    assert [path.name for path in folder.glob("*.pt*")].count("plateau-000000006.pt") == 1
    longer = run_trial(_extended(order), posts("one/b"))
    assert longer.facts["first_step"] == 6  # not 8: the last two steps were of the decay
    unbroken = run_trial(_extended(order), posts("two/a"))
    for name in ("score", "step"):
        assert longer.facts[name] == unbroken.facts[name]
    weights = [
        torch.load(folder.parents[4] / one.facts["weights"], weights_only=True)
        for one in (longer, unbroken)
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert short.facts["step"] == 8


def test_without_its_plateau_an_extended_training_begins_anew(
    dataset: Dataset, posts: Posts
) -> None:
    order = train_order(dataset)
    run_trial(order, posts("a"))
    assert not list(posts("a").folder.glob("plateau-*"))
    assert run_trial(_extended(order), posts("b")).facts["first_step"] == 0


def test_what_the_sampler_really_drew_is_recorded(dataset: Dataset, posts: Posts) -> None:
    post = posts()
    order = train_order(dataset)
    facts = run_trial(order, post).facts
    sampler = PatchSampler(dataset, post.study, (1, 32, 32), 2, seed_of("patches", order.seed))
    expected = sampler.plan.drawn(range(8))
    assert facts["sampled_K"] == pytest.approx(expected.fractions_K)
    assert facts["seen_K"] == pytest.approx(expected.seen_K)


def test_a_budget_of_voxels_ends_when_they_are_seen(dataset: Dataset, posts: Posts) -> None:
    order = train_order(dataset)
    recipe = replace(order.recipe, batch_size=100)  # of 32 x 32 voxels: a tenth of a million
    order = replace(order, recipe=recipe, budget=Budget.MEGAVOXELS, horizon=1, until_step=1)
    facts = run_trial(replace(order, evaluate_at=()), posts()).facts
    assert (facts["step"], facts["steps"]) == (1, 10)


def test_a_budget_of_seconds_ends_when_they_have_passed(
    dataset: Dataset, posts: Posts, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter(range(10**6))
    monkeypatch.setattr(time, "monotonic", lambda: next(ticks) / 4)  # each look takes a quarter
    order = replace(train_order(dataset), budget=Budget.SECONDS)
    post = posts()
    facts = run_trial(order, post).facts
    assert [said["step"] for said in post.said] == [4, 8]
    assert facts["steps"] == 32  # a quarter of a second each


def test_a_micro_batch_is_recorded_with_what_makes_its_step_another_one(
    dataset: Dataset, posts: Posts
) -> None:
    facts = run_trial(train_order(dataset, micro_batch=1), posts("a/x")).facts
    assert facts["micro_batch"] == {"patches": 1, "differs_by": ["BatchNorm2d"]}
    assert run_trial(train_order(dataset), posts("b/x")).facts["micro_batch"] is None


def test_the_weights_that_are_left_are_those_of_the_score(dataset: Dataset, posts: Posts) -> None:
    order = train_order(dataset, horizon=12, until_step=12, evaluate_at=(2, 4, 6, 8, 10, 12))
    post = posts()
    facts = run_trial(order, post).facts
    (best,) = [said for said in post.said if said["step"] == facts["best_step"]]
    assert facts["score"] == best["score"]


def test_a_compiled_network_trains_as_the_plain_one_to_rounding(
    dataset: Dataset, posts: Posts, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled_by: list[str] = []

    def traced(network: nn.Module) -> object:
        # Traced, not turned into machine code: torch's own code for that warns.
        compiled_by.append("aot_eager")
        return real(network, backend=compiled_by[-1])

    real = torch.compile
    monkeypatch.setattr(torch, "compile", traced)
    order = train_order(dataset, horizon=2, until_step=2, evaluate_at=(2,))
    plain = run_trial(order, posts("a/x")).facts
    compiled = run_trial(replace(order, compile=True), posts("b/x")).facts
    assert compiled["loss"] == pytest.approx(plain["loss"], rel=1e-3)
    assert compiled_by == ["aot_eager"]
