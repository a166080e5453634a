"""Axes: B batch, K class, Z Y X voxels in array order."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from emsearch.records.candidate import Recipe, Weighting
from emsearch.training.loss import SegmentationLoss
from emsearch.training.weights import EDGE_ALPHA, VoxelWeights, class_weights, edge_weights

CPU = torch.device("cpu")
EDGES = Recipe(weighting=Weighting.EDGES)


def _half() -> torch.Tensor:
    """Background on the left, cell on the right, one section."""
    labels_BZYX = torch.zeros(1, 1, 60, 80, dtype=torch.int64)
    labels_BZYX[..., 40:] = 1
    return labels_BZYX


def test_class_weights_are_looked_up_and_ignored_voxels_weigh_nothing() -> None:
    weights = VoxelWeights(weight_K=torch.tensor([1.0, 5.0, 7.0]))
    labels_BZYX = torch.tensor([2, -1, 0, 1]).view(1, 1, 1, 4)
    assert weights(labels_BZYX).flatten().tolist() == [7, 0, 1, 5]


def test_the_group_s_classes_weigh_a_floor_and_a_balance_of_at_most_1() -> None:
    weights = VoxelWeights.of(EDGES, [0.9, 0.09, 0.01], CPU)
    assert weights.weight_K.tolist() == pytest.approx([0.01 + 1 / 90, 0.01 + 1 / 9, 1.01])


def test_a_recipe_without_borders_weighs_by_class_alone() -> None:
    weights = VoxelWeights.of(Recipe(class_balance=0.5), [0.9, 0.1], CPU)
    assert weights.edge_height == 0
    assert torch.equal(weights.weight_K, class_weights([0.9, 0.1], 0.5))


def test_borders_weigh_as_the_paper_s_formula_says() -> None:
    labels_BZYX = torch.zeros(1, 2, 50, 60, dtype=torch.int64)
    labels_BZYX[..., 20:] = 1
    labels_BZYX[:, :, 10:30, 35:50] = 3
    labels_BZYX[:, 1] = labels_BZYX[:, 1].flip(-1)
    labels = labels_BZYX[0].numpy()

    def near(mask: np.ndarray) -> torch.Tensor:
        planes = [
            ndimage.gaussian_filter(plane.astype(float), 6, truncate=3, mode="constant")
            for plane in mask
        ]
        return torch.from_numpy(np.stack(planes))

    outside, cell, organelle = labels == 0, labels == 1, labels >= 2
    expected = 0.882 * (
        near(outside) * torch.tensor(cell)
        + near(organelle) * torch.tensor(cell)
        + near(cell) * torch.tensor(outside | organelle)
    )
    top = expected.max()
    expected = (expected - EDGE_ALPHA).clamp_min(0) * top / (top - EDGE_ALPHA)
    found = edge_weights(labels_BZYX, 0.882, 6.0)[0]
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-4)


def test_weight_is_highest_at_the_border_and_none_far_from_it() -> None:
    weight_X = edge_weights(_half(), 0.882, 6.0)[0, 0, 30]
    assert int(weight_X.argmax()) in {39, 40}
    assert weight_X[:30].max() == weight_X[50:].max() == 0
    assert 0.4 < float(weight_X.max()) < 0.45  # half a Gaussian times 0.882


def test_a_patch_without_a_border_has_no_border_weight() -> None:
    assert edge_weights(torch.ones(2, 1, 20, 20, dtype=torch.int64), 0.882, 6.0).max() == 0


def test_ignored_voxels_weigh_nothing_even_at_a_border() -> None:
    labels_BZYX = _half()
    labels_BZYX[..., 38:42] = -1
    weights = VoxelWeights.of(EDGES, [0.5, 0.5], CPU)
    assert (weights(labels_BZYX)[..., 38:42] == 0).all()
    loss = SegmentationLoss.of(EDGES, weights)
    logits_BKZYX = torch.randn(
        1, 2, 1, 60, 80, generator=torch.Generator().manual_seed(0), requires_grad=True
    )
    (slope_BKZYX,) = torch.autograd.grad(loss(logits_BKZYX, labels_BZYX), logits_BKZYX)
    assert (slope_BKZYX[..., 38:42] == 0).all()
    assert (slope_BKZYX[..., :38] != 0).all()
