"""Training on a GPU: resumed equals unbroken, in bfloat16; skipped without one."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from emsearch.records.candidate import Optimizer, Weighting
from emsearch.records.dataset import Dataset
from emsearch.records.order import TrainOrder
from emsearch.training.batches import open_batches
from emsearch.training.run import begin_training, run_trial
from emsearch.volumes.augment import augment
from tests.support.trials import FakePost, make_study, train_order

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


@pytest.fixture
def order(tmp_path: Path) -> TrainOrder:
    """An order on the GPU, over a dataset below `tmp_path`."""
    dataset: Dataset = make_study(tmp_path)
    return train_order(dataset, device="cuda")


def _train(order: TrainOrder, study: Path, trial: str, stops: tuple[int | None, ...]) -> Any:
    for number, stop_after in enumerate(stops):
        folder = study / "trials" / trial / "attempts" / str(number)
        outcome = run_trial(order, FakePost(study=study, folder=folder, stop_after=stop_after))
    weights = torch.load(study / outcome.facts["weights"], weights_only=True)
    return outcome.facts, weights


@pytest.mark.parametrize("stop_after", range(1, 8))
def test_resumed_training_equals_unbroken_training_bit_for_bit(
    stop_after: int, order: TrainOrder, tmp_path: Path
) -> None:
    recipe = replace(
        order.recipe, deep_supervision=0.5, focal=1.0, weighting=Weighting.EDGES, edge_sigma_vx=2.0
    )
    order = replace(order, recipe=recipe)
    whole, weights = _train(order, tmp_path, "whole", (None,))
    resumed, again = _train(order, tmp_path, "broken", (stop_after, None))
    assert resumed["score"] == whole["score"]
    assert all(torch.equal(weights[name], again[name]) for name in weights)


def test_a_trial_learns_in_mixed_precision(order: TrainOrder, tmp_path: Path) -> None:
    order = replace(order, horizon=60, until_step=60, evaluate_at=(60,))
    facts, weights = _train(order, tmp_path, "a", (None,))
    assert facts["score"]["mean_iou"] > 0.75
    assert all(value.dtype != torch.bfloat16 for value in weights.values())


def test_networks_compute_in_bfloat16_and_keep_float32_weights(
    order: TrainOrder, tmp_path: Path
) -> None:
    cuda = torch.device("cuda")
    with open_batches(order, tmp_path, cuda) as batches:
        training = begin_training(order, batches, cuda)
        output = training._output(batches(0)[0])
    assert training.is_mixed == torch.cuda.is_bf16_supported()
    assert not training.is_mixed or output.logits[0].dtype == torch.bfloat16
    assert all(weight.dtype == torch.float32 for weight in training.network.parameters())


def test_sgd_and_a_smaller_micro_batch_train_too(order: TrainOrder, tmp_path: Path) -> None:
    recipe = replace(order.recipe, optimizer=Optimizer.SGD, learning_rate=0.05)
    order = replace(order, recipe=recipe, micro_batch=1, horizon=30, until_step=30)
    facts, _ = _train(replace(order, evaluate_at=(1, 30)), tmp_path, "a", (None,))
    assert facts["micro_batch"]["patches"] == 1
    assert facts["score"]["mean_iou"] > 0.3


def test_a_compiled_training_comes_to_the_same_score(order: TrainOrder, tmp_path: Path) -> None:
    order = replace(order, horizon=60, until_step=60, evaluate_at=(60,))
    plain, _ = _train(order, tmp_path, "plain", (None,))
    compiled, _ = _train(replace(order, compile=True), tmp_path, "compiled", (None,))
    score, again = (one["score"]["mean_iou"] for one in (plain, compiled))
    assert again == pytest.approx(score, abs=0.1)


def test_memory_that_runs_out_is_told_as_the_gpu_s(order: TrainOrder, tmp_path: Path) -> None:
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1e-6)
    try:
        with pytest.raises(torch.OutOfMemoryError):
            _train(order, tmp_path, "a", (None,))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_augmentation_runs_where_the_batch_lies() -> None:
    image_BCZYX = torch.randn(4, 1, 5, 64, 64, device="cuda")
    labels_BZYX = torch.ones(4, 5, 64, 64, dtype=torch.int16, device="cuda")
    for seed in range(20):
        first = augment(image_BCZYX, labels_BZYX, 1.5, seed)
        again = augment(image_BCZYX, labels_BZYX, 1.5, seed)
        assert first[0].device == image_BCZYX.device
        assert torch.equal(first[0], again[0])
        assert torch.equal(first[1], again[1])
