"""A training killed at any step ends where an unbroken one does, bit for bit."""

import subprocess
import sys
import time
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch

from emsearch.records.budget import Budget
from emsearch.records.candidate import Optimizer, Recipe, Schedule, Weighting
from emsearch.records.dataset import Dataset
from emsearch.records.files import write_json
from emsearch.records.order import Order
from emsearch.records.policy import Policy
from emsearch.records.trial import Cause
from emsearch.training import run
from emsearch.training.run import run_trial
from tests.support.trials import FakePost, make_study, train_order

STEPS = 8


class Killed(BaseException):
    """Death at an instant: nothing is tidied up."""


class MortalPost(FakePost):
    """A post that dies instead of telling progress for the n-th time."""

    def progress(self, done: int, of: int) -> None:
        super().progress(done, of)
        if self.steps == self.stop_after:
            raise Killed

    def stop_cause(self) -> Cause | None:
        return None


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return make_study(tmp_path)


@pytest.fixture
def last_states(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Return a list that gets the whole state of each training that ends."""
    states: list[dict[str, Any]] = []
    finish = run._Trial._finish

    def note(trial: Any) -> Any:
        states.append(trial.training.state_dict())
        return finish(trial)

    monkeypatch.setattr(run._Trial, "_finish", note)
    return states


def _folder(study: Path, trial: str, attempt: str) -> Path:
    return study / "trials" / trial / "attempts" / attempt


def _assert_same(first: Any, second: Any) -> None:
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second)
    elif isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            _assert_same(first[key], second[key])
    elif isinstance(first, list | tuple):
        for one, other in zip(first, second, strict=True):
            _assert_same(one, other)
    else:
        assert first == second


@pytest.mark.parametrize("fatal", range(1, STEPS + 1))
def test_a_training_killed_at_a_step_ends_where_an_unbroken_one_does(
    fatal: int, tmp_path: Path, dataset: Dataset, last_states: list[dict[str, Any]]
) -> None:
    order = train_order(dataset, checkpoint_every_s=0.0)  # a checkpoint at every step
    whole = run_trial(order, FakePost(study=tmp_path, folder=_folder(tmp_path, "whole", "a")))
    with pytest.raises(Killed):
        run_trial(
            order,
            MortalPost(study=tmp_path, folder=_folder(tmp_path, "killed", "a"), stop_after=fatal),
        )
    post = FakePost(study=tmp_path, folder=_folder(tmp_path, "killed", "b"))
    resumed = run_trial(order, post)
    assert post.steps == STEPS - (fatal - 1)  # the step whose checkpoint was not written again
    assert resumed.facts["score"] == whole.facts["score"]
    _assert_same(last_states[1], last_states[0])


SMALL = Recipe(patch_zyx=(1, 32, 32), batch_size=2, learning_rate=1e-2, ema_decay=0.8)
OPTIONS: dict[str, dict[str, Any]] = {
    "sgd, deep heads, focal, borders": {
        "recipe": replace(
            SMALL,
            optimizer=Optimizer.SGD,
            deep_supervision=0.5,
            focal=2.0,
            miss_weight=0.7,
            weighting=Weighting.EDGES,
            edge_sigma_vx=2.0,
            policy=Policy(elastic=2.0, cutout=0.0),
        )
    },
    "cosine, parts of the batch": {
        "recipe": replace(SMALL, schedule=Schedule.COSINE),
        "micro_batch": 1,
    },
    "voxels, a kept plateau": {
        "recipe": replace(SMALL, batch_size=123, patch_zyx=(1, 32, 32), schedule=Schedule.LATE),
        "budget": Budget.MEGAVOXELS,
        "horizon": 1,
        "until_step": 1,
        "evaluate_at": (),
        "keep_plateau": True,
    },
}


@pytest.mark.parametrize("option", OPTIONS)
def test_with_any_option_a_killed_training_ends_where_an_unbroken_one_does(
    option: str, tmp_path: Path, dataset: Dataset, last_states: list[dict[str, Any]]
) -> None:
    order = train_order(dataset, checkpoint_every_s=0.0, **OPTIONS[option])
    whole = run_trial(order, FakePost(study=tmp_path, folder=_folder(tmp_path, "whole", "a")))
    for fatal in range(1, STEPS + 1):
        trial = f"killed-{fatal}"
        mortal = MortalPost(study=tmp_path, folder=_folder(tmp_path, trial, "a"), stop_after=fatal)
        with pytest.raises(Killed):
            run_trial(order, mortal)
        post = FakePost(study=tmp_path, folder=_folder(tmp_path, trial, "b"))
        resumed = run_trial(order, post)
        for name in ("score", "loss", "best_step", "sampled_K", "seen_K", "steps"):
            assert resumed.facts[name] == whole.facts[name]
        _assert_same(last_states.pop(), last_states[0])


class ImpatientPost(FakePost):
    """A post that asks to leave from the n-th time on that it is asked, be it in an evaluation."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.looks = count(1)

    def stop_cause(self) -> Cause | None:
        assert self.stop_after is not None
        return Cause.TIMEOUT if next(self.looks) >= self.stop_after else None


@pytest.mark.parametrize("moment", range(1, 20))
def test_a_training_that_is_asked_to_leave_at_any_moment_loses_no_step(
    moment: int, tmp_path: Path, dataset: Dataset, last_states: list[dict[str, Any]]
) -> None:
    order = train_order(dataset)
    whole = FakePost(study=tmp_path, folder=_folder(tmp_path, "whole", "a"))
    run_trial(order, whole)
    first = ImpatientPost(study=tmp_path, folder=_folder(tmp_path, "asked", "a"), stop_after=moment)
    outcome = run_trial(order, first)
    second = FakePost(study=tmp_path, folder=_folder(tmp_path, "asked", "b"))
    if outcome.cause is Cause.TIMEOUT:
        assert run_trial(order, second).cause is Cause.COMPLETED
    assert first.steps + second.steps == STEPS
    said = {told["step"]: told["score"] for told in first.said + second.said}
    assert said == {told["step"]: told["score"] for told in whole.said}
    _assert_same(last_states[-1], last_states[0])


@pytest.mark.parametrize("moment", ["save", "replace", "result"])
def test_death_while_files_are_written_costs_no_trial(
    moment: str,
    tmp_path: Path,
    dataset: Dataset,
    last_states: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    order = train_order(dataset, checkpoint_every_s=0.0)
    run_trial(order, FakePost(study=tmp_path, folder=_folder(tmp_path, "whole", "a")))
    with monkeypatch.context() as patch:
        _die_at(moment, patch)
        with pytest.raises(Killed):
            run_trial(order, FakePost(study=tmp_path, folder=_folder(tmp_path, "killed", "a")))
    resumed = run_trial(order, FakePost(study=tmp_path, folder=_folder(tmp_path, "killed", "b")))
    assert resumed.cause is Cause.COMPLETED
    _assert_same(last_states[-1], last_states[0])


def _die_at(moment: str, patch: pytest.MonkeyPatch) -> None:
    def die(*_: object) -> Any:
        raise Killed

    if moment == "save":
        patch.setattr(torch, "save", lambda _state, file: (file.write(b"half"), die()))
    elif moment == "replace":
        replace = Path.replace
        patch.setattr(
            Path, "replace", lambda path, to: die() if "0005" in to.name else replace(path, to)
        )
    else:
        patch.setattr(
            run,
            "write_json",
            lambda path, content, **options: (
                die() if path.name == "result.json" else write_json(path, content, **options)
            ),
        )


@pytest.mark.slow
def test_a_worker_killed_by_the_system_ends_where_an_unbroken_one_does(
    tmp_path: Path, dataset: Dataset
) -> None:
    order = train_order(dataset, horizon=60, until_step=60, checkpoint_every_s=0.0)
    write_json(
        tmp_path / "order.json",
        Order(number=1, folder="", kind="train", task=order, version="").to_dict(),
    )
    _train_in_a_process(tmp_path, "whole", "a").wait(timeout=120)
    killed = _train_in_a_process(tmp_path, "killed", "a")
    folder = _folder(tmp_path, "killed", "a")
    while not list(folder.glob("checkpoint-*[2-9].pt")):
        assert killed.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    killed.kill()
    killed.wait(timeout=60)
    assert not (folder / "weights.pt").exists()
    _train_in_a_process(tmp_path, "killed", "b").wait(timeout=120)
    whole, resumed = (
        torch.load(_folder(tmp_path, *place) / "weights.pt", weights_only=True)
        for place in (("whole", "a"), ("killed", "b"))
    )
    _assert_same(resumed, whole)


_PROGRAM = """
import sys
from pathlib import Path
from emsearch.records.files import read_json
from emsearch.records.order import Order
from emsearch.training.run import run_trial
from tests.support.trials import FakePost

study, folder = map(Path, sys.argv[1:])
order = Order.from_dict(read_json(study / "order.json"))
run_trial(order.task, FakePost(study=study, folder=folder))
"""


def _train_in_a_process(study: Path, trial: str, attempt: str) -> subprocess.Popen[bytes]:
    folder = _folder(study, trial, attempt)
    command = [sys.executable, "-c", _PROGRAM, str(study), str(folder)]
    return subprocess.Popen(command, cwd=Path(__file__).parents[2])
