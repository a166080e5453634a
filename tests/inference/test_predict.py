"""Axes: B batch, C channel, K class, Z Y X voxels in array order."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from emsearch.inference import predict
from emsearch.inference.box import Box, Shape
from emsearch.inference.predict import Predictor, most_probable
from emsearch.inference.tiles import Tiling
from emsearch.volumes.dataset import mirrored

CLASSES = 3


class Pooled(nn.Module):
    """Two convolutions around a pooling: a receptive field of 10 along y and x, 5 along z."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.fine = nn.Conv3d(1, 4, 3, padding=1)
            self.coarse = nn.Conv3d(4, CLASSES, 3, padding=1)

    def forward(self, image_BCZYX: Tensor) -> Tensor:
        pooled = functional.max_pool3d(self.fine(image_BCZYX).relu(), (1, 2, 2))
        return functional.interpolate(self.coarse(pooled), scale_factor=(1, 2, 2))


class Local(nn.Module):
    """Voxel by voxel: whatever the window, the same logits."""

    def forward(self, image_BCZYX: Tensor) -> Tensor:
        return torch.cat([image_BCZYX, -image_BCZYX, 0.3 * image_BCZYX**2], dim=1)


def _tiling(step_zyx: Shape, border_zyx: Shape = (0, 4, 4)) -> Tiling:
    return Tiling(
        step_zyx=step_zyx, margin_zyx=(2, 6, 6), border_zyx=border_zyx, divisor_zyx=(1, 2, 2)
    )


BLENDED = Tiling(
    step_zyx=(2, 8, 8),
    margin_zyx=(0, 0, 0),
    border_zyx=(0, 0, 0),
    divisor_zyx=(1, 2, 2),
    window_zyx=(3, 16, 16),
)


def _predictor(tiling: Tiling, network: nn.Module) -> Predictor:
    return Predictor(network=network, tiling=tiling, classes=CLASSES, device=torch.device("cpu"))


def _image(shape_zyx: Shape) -> NDArray[np.float32]:
    return np.random.default_rng(1).standard_normal(shape_zyx).astype(np.float32)


def _probability(
    predictor: Predictor, image_ZYX: NDArray[np.float32], region: Box
) -> NDArray[np.float32]:
    shape_zyx: Shape = (image_ZYX.shape[0], image_ZYX.shape[1], image_ZYX.shape[2])
    return predictor.probability(lambda box: mirrored(image_ZYX, box.ranges), shape_zyx, region)


@pytest.mark.parametrize("step_zyx", [(1, 8, 8), (2, 10, 16), (3, 40, 6), (9, 99, 99)])
def test_tiles_equal_the_prediction_of_the_whole_volume(step_zyx: Shape) -> None:
    image_ZYX = _image((4, 37, 50))
    padded = np.pad(image_ZYX, ((0, 0), (4, 5), (4, 4)), mode="reflect")
    with torch.inference_mode():
        whole_KZYX = torch.softmax(Pooled()(torch.from_numpy(padded)[None, None])[0], 0)
    expected = whole_KZYX[:, :, 4:41, 4:54].numpy()
    found = _probability(_predictor(_tiling(step_zyx), Pooled()), image_ZYX, Box.whole((4, 37, 50)))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_margin_that_is_too_small_leaves_seams() -> None:
    image_ZYX = _image((4, 40, 40))
    small = Tiling(
        step_zyx=(4, 8, 8), margin_zyx=(0, 2, 2), border_zyx=(0, 4, 4), divisor_zyx=(1, 2, 2)
    )
    one, many = (
        _probability(_predictor(tiling, Pooled()), image_ZYX, Box.whole((4, 40, 40)))
        for tiling in (_tiling((4, 99, 99)), small)
    )
    assert np.abs(one - many).max() > 1e-3


@pytest.mark.parametrize("tiling", [_tiling((2, 8, 12)), BLENDED])
def test_a_part_of_a_volume_is_predicted_as_within_the_whole(tiling: Tiling) -> None:
    image_ZYX = _image((6, 37, 50))
    predictor = _predictor(tiling, Pooled())
    part = Box(start_zyx=(1, 7, 20), stop_zyx=(3, 30, 41))
    whole_KZYX = _probability(predictor, image_ZYX, Box.whole((6, 37, 50)))
    np.testing.assert_allclose(
        _probability(predictor, image_ZYX, part), whole_KZYX[:, *part.slices()], atol=1e-6
    )


@pytest.mark.parametrize("tiling", [_tiling((2, 8, 12)), BLENDED])
def test_blending_what_agrees_changes_nothing(tiling: Tiling) -> None:
    image_ZYX = _image((5, 21, 30))
    found = _probability(_predictor(tiling, Local()), image_ZYX, Box.whole((5, 21, 30)))
    logits = Local()(torch.from_numpy(image_ZYX)[None, None])[0]
    np.testing.assert_allclose(found, torch.softmax(logits, 0).numpy(), atol=1e-6)
    np.testing.assert_allclose(found.sum(0), 1, atol=1e-5)


def test_labels_are_the_most_probable_classes() -> None:
    image_ZYX = _image((3, 20, 20))
    predictor = _predictor(_tiling((2, 8, 8)), Pooled())
    region = Box.whole((3, 20, 20))
    labels_ZYX = predictor.labels(lambda box: mirrored(image_ZYX, box.ranges), (3, 20, 20), region)
    assert labels_ZYX.dtype == np.uint8
    expected = _probability(predictor, image_ZYX, region).argmax(0)
    np.testing.assert_array_equal(labels_ZYX, expected)


def test_the_first_of_equally_probable_classes_is_taken() -> None:
    probability_KZYX = torch.tensor([[0.2, 0.4, 0.1], [0.2, 0.4, 0.5], [0.6, 0.2, 0.4]])
    found = most_probable(probability_KZYX[:, None, None])
    assert found.flatten().tolist() == [2, 0, 1]
    many = torch.randint(0, 4, (7, 3, 90, 700)).float()  # with many equals, in several pieces
    np.testing.assert_array_equal(most_probable(many), many.argmax(0))
    channels_last = many.movedim(0, -1).contiguous().movedim(-1, 0)
    np.testing.assert_array_equal(most_probable(channels_last), many.argmax(0))


def test_a_blended_region_is_made_in_blocks_that_fit_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image_ZYX = _image((9, 16, 16))
    predictor = _predictor(BLENDED, Pooled())
    region = Box.whole((9, 16, 16))
    at_once = _probability(predictor, image_ZYX, region)
    monkeypatch.setattr(predict, "_BLOCK_BYTES", 4 * (CLASSES + 1) * 16 * 16 * 4)
    pieces = list(
        predictor.pieces(lambda box: mirrored(image_ZYX, box.ranges), (9, 16, 16), region)
    )
    assert [box.shape_zyx[0] for box, _ in pieces] == [4, 4, 1]
    found = np.concatenate([piece.numpy() for _, piece in pieces], axis=1)
    np.testing.assert_allclose(found, at_once, atol=1e-6)
