"""A completed trial trained again gives the same weights, and says what was made otherwise."""

from pathlib import Path

import pytest
import torch

from emsearch.errors import NotFoundError, StateError
from emsearch.records.files import read_json, write_json
from emsearch.records.order import Order
from emsearch.training.replay import replay
from emsearch.training.run import run_trial
from tests.support.trials import FakePost, make_study, train_order

FOLDER = "trials/000003"


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study whose trial 3 was trained in two rungs."""
    dataset = make_study(tmp_path / "study")
    study = tmp_path / "study"
    for number, until_step in enumerate((4, 8)):
        task = train_order(dataset, until_step=until_step)
        order = Order(number=number, folder=FOLDER, kind="train", task=task, version="1")
        write_json(study / "orders" / f"{number:08d}.json", order.to_dict())
        run_trial(task, FakePost(study=study, folder=study / FOLDER / "attempts" / f"a{number}"))
    return study


def test_the_same_comes_of_it_again(study: Path, tmp_path: Path) -> None:
    before = sorted(path for path in study.rglob("*"))
    found = replay(study, 3, tmp_path / "scratch")
    assert found.is_equal
    assert found.largest_difference == 0
    assert found.score == found.score_again
    assert found.made_otherwise == {}
    assert sorted(path for path in study.rglob("*")) == before


def test_another_outcome_is_told_with_what_was_made_otherwise(study: Path, tmp_path: Path) -> None:
    folder = study / FOLDER / "attempts" / "a1"
    weights = torch.load(folder / "weights.pt", weights_only=True)
    first = next(iter(weights.values()))
    first[(0,) * first.ndim] += 0.5
    torch.save(weights, folder / "weights.pt")
    write_json(folder / "provenance.json", read_json(folder / "provenance.json") | {"torch": "1"})
    found = replay(study, 3, tmp_path / "scratch")
    assert not found.is_equal
    assert found.largest_difference == pytest.approx(0.5)
    assert found.made_otherwise == {"torch": f'"1" then, "{torch.__version__}" now'}


def test_a_trial_that_is_not_there_or_left_nothing_is_named(study: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="trained trial 7; see emsearch leaderboard"):
        replay(study, 7, tmp_path / "scratch")
    (study / FOLDER / "attempts" / "a1" / "result.json").unlink()
    with pytest.raises(StateError, match="trial 3 left no weights to compare with"):
        replay(study, 3, tmp_path / "scratch")
