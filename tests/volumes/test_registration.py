from pathlib import Path

import numpy as np
import pytest
import tifffile

from emsearch.volumes.phantom import phantom
from emsearch.volumes.registration import label_shift


@pytest.mark.parametrize(("y", "x"), [(0, 0), (5, -7), (-3, 0), (0, 20)])
def test_a_shift_of_labels_is_found(y: int, x: int) -> None:
    image, labels = phantom((1, 128, 128), seed=0)
    found = label_shift(image[0], np.roll(labels[0], (y, x), axis=(0, 1)))
    assert (found.y_vx, found.x_vx) == pytest.approx((-y, -x), abs=1)
    assert found.is_doubtful == ((y, x) != (0, 0))


def test_labels_of_one_class_give_no_shift() -> None:
    found = label_shift(np.random.default_rng(0).random((40, 40)), np.ones((40, 40), np.uint8))
    assert not found.is_doubtful


def test_labels_without_relation_to_the_image_give_no_shift() -> None:
    rng = np.random.default_rng(0)
    assert not label_shift(rng.random((64, 64)), rng.integers(0, 3, (64, 64))).is_doubtful


@pytest.mark.parametrize(
    ("image", "labels"),
    [
        ("drosophila_vnc/image.tif", "drosophila_vnc/labels.tif"),
        ("lucchi_pp/train_image.tif", "lucchi_pp/train_labels.tif"),
        ("lucchi_pp/test_image.tif", "lucchi_pp/test_labels.tif"),
    ],
)
def test_real_labels_lie_on_their_image(image: str, labels: str, real_data: Path) -> None:
    grey, classes = tifffile.imread(real_data / image), tifffile.imread(real_data / labels)
    for z in (0, len(grey) // 2):
        assert not label_shift(grey[z], classes[z]).is_doubtful
        moved = label_shift(grey[z], np.roll(classes[z], 9, axis=1))
        assert abs(moved.x_vx + 9) <= 1
        assert moved.is_doubtful
