from pathlib import Path

import numpy as np
from PIL import Image

from emsearch.ensembles.overlay import PALETTE, colour_of, paint, write_overlay


def test_class_zero_and_ignored_voxels_stay_grey() -> None:
    grey = np.array([[10, 100, 200]], np.uint8)
    painted = paint(grey, np.array([[0, -1, 2]]))
    assert painted[0, 0].tolist() == [10, 10, 10]
    assert painted[0, 1].tolist() == [100, 100, 100]
    expected = 0.45 * 200 + 0.55 * PALETTE[2].astype(float)
    np.testing.assert_allclose(painted[0, 2], expected, atol=1)


def test_many_classes_share_colours_but_never_that_of_class_zero() -> None:
    labels = np.arange(1, 30)[None]
    painted = paint(np.zeros(labels.shape, np.uint8), labels)
    assert painted.any(axis=-1).all()
    assert len(np.unique(painted[0], axis=0)) == len(PALETTE) - 1


def test_a_large_section_is_shown_by_its_middle(tmp_path: Path) -> None:
    image = np.random.default_rng(0).random((600, 700))
    write_overlay(tmp_path / "a.png", image, {"truth": np.zeros((600, 700), int)})
    with Image.open(tmp_path / "a.png") as sheet:
        assert sheet.size == (2 * 512 + 6, 512 + 20)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_the_classes_stand_below_in_their_colours(tmp_path: Path) -> None:
    classes = ("outside", "membrane", "mitochondria", "synapse")
    write_overlay(tmp_path / "a.png", np.zeros((40, 60)), {}, classes)
    with Image.open(tmp_path / "a.png") as sheet:
        assert sheet.size == (60, 20 + 40 + 3 * 20)  # so narrow that each needs a line
        below = np.asarray(sheet)[60:].reshape(-1, 3)
    for number in range(1, 4):
        assert (below == colour_of(number)).all(1).any()
    assert (below == (255, 255, 255)).all(1).any()
