"""Axes: B batch, C channel, K class, Z Y X voxels in array order."""

import pytest
import torch
from torch import Tensor, nn

from emsearch.errors import DivergedError
from emsearch.networks.build import build
from emsearch.networks.crf import CrfRnn
from emsearch.networks.hybrid import Hybrid, StagedLogits
from emsearch.records.candidate import Recipe
from emsearch.training.loss import SegmentationLoss
from emsearch.training.pace import Pace
from emsearch.training.training import Training
from emsearch.training.weights import VoxelWeights
from emsearch.trees.arithmetic import Limits, Target
from emsearch.trees.sample import draw
from emsearch.trees.space import make_space

HORIZON = 12


def _training(*, dropout: float = 0.2, recipe: Recipe | None = None) -> Training:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv3d(1, 6, (1, 3, 3), padding=(0, 1, 1)),
            nn.BatchNorm3d(6),
            nn.ReLU(),
            nn.Dropout3d(dropout),
            nn.Conv3d(6, 2, 1),
        )
    loss = SegmentationLoss(weights=VoxelWeights(weight_K=torch.ones(2)), dice_weight=0.5)
    recipe = recipe or Recipe(learning_rate=1e-2)
    return Training(network, loss, recipe, Pace.of(HORIZON, recipe), seed=7)


def _batch(step: int) -> tuple[Tensor, Tensor]:
    chance = torch.Generator().manual_seed(step)
    image_BCZYX = torch.randn(2, 1, 1, 12, 12, generator=chance)
    return image_BCZYX, (image_BCZYX[:, 0] > 0.3).long()


def _advance(training: Training, until: int) -> None:
    while training.step < until:
        training.advance(*_batch(training.step))


def _same(first: object, second: object) -> bool:
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(_same(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        return len(first) == len(second) and all(map(_same, first, second))
    return first == second


@pytest.mark.parametrize("broken_at", range(HORIZON))
def test_a_training_goes_on_from_its_state_bit_for_bit(broken_at: int) -> None:
    unbroken, first, second = _training(), _training(), _training()
    _advance(unbroken, HORIZON)
    _advance(first, broken_at)
    second.load_state_dict(first.state_dict())
    _advance(second, HORIZON)
    assert _same(second.state_dict(), unbroken.state_dict())


def test_the_worlds_chance_neither_matters_nor_is_touched() -> None:
    first, second = _training(), _training()
    _advance(first, 3)
    torch.manual_seed(99)
    before = torch.get_rng_state()
    _advance(second, 3)
    assert torch.equal(torch.get_rng_state(), before)
    assert _same(first.state_dict(), second.state_dict())


def test_dropout_differs_from_step_to_step_and_from_seed_to_seed() -> None:
    first, second = _training(), _training()
    second.seed = 8
    assert not _same(first._output(_batch(0)[0]), second._output(_batch(0)[0]))
    before = first._output(_batch(0)[0])
    assert _same(first._output(_batch(0)[0]), before)
    first.pace.steps += 1
    assert not _same(first._output(_batch(0)[0]), before)


def test_it_learns() -> None:
    training = _training(dropout=0.0, recipe=Recipe(learning_rate=3e-2))
    _advance(training, 2)
    before = training.mean_loss()
    training.forget_loss()
    _advance(training, HORIZON)
    assert training.mean_loss() < 0.8 * before


def test_the_mean_loss_is_of_the_steps_since_it_was_forgotten() -> None:
    training = _training(dropout=0.0)
    _advance(training, 4)
    training.forget_loss()
    image_BCZYX, labels_BZYX = _batch(4)
    expected = training._loss(training._output(image_BCZYX), labels_BZYX).item()
    _advance(training, 5)
    assert training.mean_loss() == pytest.approx(expected)


def test_a_loss_that_is_not_finite_is_told_with_step_and_rate() -> None:
    training = _training()
    image_BCZYX, labels_BZYX = _batch(0)
    training.advance(image_BCZYX * float("nan"), labels_BZYX)
    with pytest.raises(DivergedError, match=r"the loss is nan by step 1; .* than 0.01 may help"):
        training.mean_loss()


def test_biases_and_scales_do_not_decay() -> None:
    groups = _training().optimizer.param_groups
    assert [group["weight_decay"] for group in groups] == [Recipe().weight_decay, 0]
    assert all(weight.ndim == 1 for weight in groups[1]["params"])
    assert sum(len(group["params"]) for group in groups) == 6


def test_the_learning_rate_follows_the_schedule() -> None:
    training = _training(recipe=Recipe(learning_rate=1.0, warmup=0.5, decay=0.5))
    rates = []
    while training.step < HORIZON:
        training.advance(*_batch(training.step))
        rates.append(training.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([n / 6 for n in [1, 2, 3, 4, 5, 6, 6, 5, 4, 3, 2, 1]])


def test_a_gradient_is_clipped() -> None:
    training = _training(recipe=Recipe(gradient_clip=1e-3))
    training.advance(*_batch(0))
    gradients = [weight.grad for weight in training.network.parameters()]
    norm = torch.cat([gradient.flatten() for gradient in gradients if gradient is not None]).norm()
    assert norm == pytest.approx(1e-3, rel=1e-3)


class Staged(nn.Module):
    """Two stages, each with logits of its own, as hybrids have."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv3d(1, 2, 1)
        self.second = nn.Conv3d(2, 2, 1)

    def forward(self, image_BCZYX: Tensor) -> StagedLogits:
        auxiliary_BKZYX = self.first(image_BCZYX)
        return StagedLogits(self.second(auxiliary_BKZYX), auxiliary_BKZYX, 0.25)


def _two_stages() -> Training:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Staged()
    loss = SegmentationLoss(
        weights=VoxelWeights(weight_K=torch.tensor([1.0, 3.0])), dice_weight=0.5
    )
    recipe = Recipe(learning_rate=1e-2)
    return Training(network, loss, recipe, Pace.of(HORIZON, recipe), seed=7)


def test_the_first_of_two_stages_has_a_loss_of_its_own() -> None:
    training = _two_stages()
    image_BCZYX, labels_BZYX = _batch(0)
    logits_BKZYX, auxiliary_BKZYX, _ = training.network(image_BCZYX)
    expected = training.loss(logits_BKZYX, labels_BZYX)
    expected = expected + 0.25 * training.loss(auxiliary_BKZYX, labels_BZYX)
    training.advance(image_BCZYX, labels_BZYX)
    assert training.mean_loss() == pytest.approx(expected.item())


@pytest.mark.parametrize("micro_batch", [1, 2, 3, 4])
@pytest.mark.parametrize("is_staged", [False, True])
def test_a_smaller_micro_batch_gives_the_same_step(micro_batch: int, is_staged: bool) -> None:
    def training() -> Training:
        if is_staged:
            return _two_stages()
        made = _training(dropout=0.0)
        made.network[1].eval()  # type: ignore[index]
        return made

    chance = torch.Generator().manual_seed(1)
    image_BCZYX = torch.randn(4, 1, 1, 12, 12, generator=chance)
    labels_BZYX = torch.randint(-1, 2, (4, 1, 12, 12), generator=chance)
    whole, parts = training(), training()
    parts.micro_batch = micro_batch
    for one in (whole, parts):
        one.advance(image_BCZYX, labels_BZYX)
    assert parts.mean_loss() == pytest.approx(whole.mean_loss(), abs=1e-6)
    gradients = zip(whole.network.parameters(), parts.network.parameters(), strict=True)
    for first, second in gradients:
        torch.testing.assert_close(first.grad, second.grad, atol=1e-5, rtol=1e-5)


def _of_family(family: str) -> Training:
    target = Target(classes=2, patch_zyx=(4, 16, 16), voxel_nm=(40.0, 10.0, 10.0))
    space = make_space([family], {})
    tree = draw(space, 0, 0, target, Limits(max_parameters=60_000)).tree
    loss = SegmentationLoss(weights=VoxelWeights(weight_K=torch.ones(2)), dice_weight=0.5)
    recipe = Recipe()
    return Training(build(tree, 1, 2, seed=0), loss, recipe, Pace.of(HORIZON, recipe), seed=7)


def _hybrid_batch(step: int) -> tuple[Tensor, Tensor]:
    image_BCZYX = torch.randn(1, 1, 4, 16, 16, generator=torch.Generator().manual_seed(step))
    return image_BCZYX, (image_BCZYX[:, 0] > 0.3).long()


def test_a_crf_joins_when_the_network_before_it_has_trained() -> None:
    training = _of_family("hybrid_2d3d_crf")
    (crf,) = [part for part in training.network.modules() if isinstance(part, CrfRnn)]
    before = [weight.detach().clone() for weight in crf.parameters()]
    while training.step < HORIZON:
        joined = training.step >= HORIZON / 2
        training.advance(*_hybrid_batch(training.step))
        assert bool(crf.joined) == joined
        moved = any(not torch.equal(a, b) for a, b in zip(before, crf.parameters(), strict=True))
        assert moved == joined
    (averaged,) = [part for part in training.average.network.modules() if isinstance(part, CrfRnn)]
    assert bool(averaged.joined)


def test_a_cascade_learns_its_stages_one_after_the_other() -> None:
    training = _of_family("hybrid_2d3d_cascade")
    (cascade,) = [part for part in training.network.modules() if isinstance(part, Hybrid)]
    seen = []
    while training.step < HORIZON:
        before = [_weights(stage) for stage in (cascade.planar, cascade.volumetric)]
        training.advance(*_hybrid_batch(training.step))
        after = [_weights(stage) for stage in (cascade.planar, cascade.volumetric)]
        seen.append(tuple(not torch.equal(a, b) for a, b in zip(before, after, strict=True)))
    half = HORIZON // 2
    assert seen == [(True, False)] * half + [(False, True)] * (HORIZON - half)


def _weights(stage: nn.Module) -> Tensor:
    return torch.cat([weight.detach().flatten() for weight in stage.parameters()])
