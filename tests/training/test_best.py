import torch
from torch import nn

from emsearch.training.best import Best


def _see(best: Best, scores: list[float]) -> None:
    for step, score in enumerate(scores):
        network = nn.Linear(1, 1)
        nn.init.constant_(network.weight, step)
        best.see({"step": step, "score": {"mean_iou": score}}, network)


def test_the_last_of_rising_scores_is_left() -> None:
    best = Best()
    _see(best, [0.1, 0.2, 0.3])
    assert best.evaluated["step"] == 2
    assert best.weights["weight"].item() == 2


def test_one_lucky_evaluation_does_not_win_against_steady_ones() -> None:
    best = Best()
    _see(best, [0.40, 0.40, 0.55, 0.50, 0.52])
    assert best.evaluated["step"] == 4
    assert best.weights["weight"].item() == 4


def test_a_training_that_gets_worse_leaves_its_best() -> None:
    best = Best()
    _see(best, [0.4, 0.6, 0.3, 0.2])
    assert best.evaluated["step"] == 1
    assert best.weights["weight"].item() == 1


def test_it_goes_on_from_its_state() -> None:
    whole, first, second = Best(), Best(), Best()
    _see(whole, [0.4, 0.6, 0.3])
    _see(first, [0.4, 0.6])
    second.load_state_dict(first.state_dict())
    second.see({"step": 2, "score": {"mean_iou": 0.3}}, nn.Linear(1, 1))
    assert second.evaluated == whole.evaluated
    assert torch.equal(second.weights["weight"], whole.weights["weight"])
