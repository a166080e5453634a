"""What `volumes info` tells of a volume."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from emsearch.errors import SpecError
from emsearch.volumes.describe import volume_facts
from emsearch.volumes.formats import open_array
from emsearch.volumes.stack import stack_of

Pair = tuple[np.ndarray, np.ndarray]


def test_an_image_s_shape_range_and_mean_are_told(cells: Pair) -> None:
    facts = volume_facts(stack_of(cells[0], (40.0, 8.0, 8.0)))
    assert facts.shape_zyx == cells[0].shape
    assert facts.voxel_nm == (40, 8, 8)
    assert (facts.lowest, facts.highest) == (cells[0].min(), cells[0].max())
    assert facts.mean == pytest.approx(cells[0].mean())
    assert facts.fractions is None  # grey values are no classes
    assert facts.shift_yx is None


def test_labels_tell_how_much_each_class_takes(cells: Pair) -> None:
    facts = volume_facts(stack_of(cells[1], None))
    expected = np.bincount(cells[1].ravel()) / cells[1].size
    assert facts.fractions == pytest.approx({str(k): part for k, part in enumerate(expected)})


@pytest.mark.parametrize("shift", [(0, 0), (5, -3)])
def test_labels_beside_their_image_tell_how_far_they_are_shifted(
    shift: tuple[int, int], cells: Pair
) -> None:
    labels = np.roll(cells[1], shift, axis=(1, 2))
    facts = volume_facts(stack_of(cells[0], None), stack_of(labels, None))
    assert facts.shift_yx == (-shift[0], -shift[1])
    assert facts.fractions is not None


def test_coloured_labels_are_counted_by_colour(tmp_path: Path) -> None:
    picture = np.zeros((1, 4, 10, 3), np.uint8)
    picture[..., :4, :] = (255, 0, 9)
    tifffile.imwrite(tmp_path / "labels.tif", picture[0], photometric="rgb")
    facts = volume_facts(open_array(tmp_path / "labels.tif"))
    assert facts.fractions == pytest.approx({"0,0,0": 0.6, "255,0,9": 0.4})


def test_labels_of_another_shape_are_refused(cells: Pair) -> None:
    with pytest.raises(SpecError, match=r"labels of shape .* are not of an image of"):
        volume_facts(stack_of(cells[0], None), stack_of(cells[1][:3], None))
