import numpy as np
import pytest

from emsearch.errors import SpecError
from emsearch.inference.box import Box, Shape, split_box


@pytest.mark.parametrize("size_zyx", [(1, 1, 1), (2, 3, 4), (9, 9, 9)])
def test_a_split_covers_every_voxel_once(size_zyx: Shape) -> None:
    box = Box(start_zyx=(1, 2, 3), stop_zyx=(4, 8, 11))
    counts_ZYX = np.zeros(box.shape_zyx, int)
    for part in split_box(box, size_zyx):
        assert all(length <= size for length, size in zip(part.shape_zyx, size_zyx, strict=True))
        counts_ZYX[part.slices(box.start_zyx)] += 1
    assert counts_ZYX.min() == counts_ZYX.max() == 1


def test_splits_of_neighbours_lie_on_one_lattice() -> None:
    whole = Box.whole((1, 1, 10))
    parts = [
        part
        for half in (
            Box(start_zyx=(0, 0, 0), stop_zyx=(1, 1, 6)),
            Box(start_zyx=(0, 0, 6), stop_zyx=(1, 1, 10)),
        )
        for part in split_box(half, (1, 1, 3))
    ]
    assert parts == list(split_box(whole, (1, 1, 3)))


def test_what_two_boxes_share() -> None:
    first = Box(start_zyx=(0, 0, 0), stop_zyx=(2, 4, 4))
    second = Box(start_zyx=(1, 3, -1), stop_zyx=(9, 5, 2))
    apart = Box(start_zyx=(2, 0, 0), stop_zyx=(3, 4, 4))
    assert first.meets(second)
    assert first.within(second) == Box(start_zyx=(1, 3, 0), stop_zyx=(2, 4, 2))
    assert not first.meets(apart)
    with pytest.raises(SpecError, match="holds no voxel"):
        first.within(apart)
