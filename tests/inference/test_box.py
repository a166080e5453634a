import numpy as np
import pytest

from emsearch.errors import SpecError
from emsearch.inference.box import Box, Shape, mirrored, split_box


@pytest.mark.parametrize("shape_zyx", [(5, 6, 7), (1, 9, 4), (2, 1, 3)])
@pytest.mark.parametrize("before", [0, 1, 3, 11])
@pytest.mark.parametrize("after", [0, 2, 12])
def test_mirroring_agrees_with_numpy(shape_zyx: Shape, before: int, after: int) -> None:
    image_ZYX = np.random.default_rng(0).random(shape_zyx)
    stop_zyx = (shape_zyx[0] + after, shape_zyx[1] + after, shape_zyx[2] + after)
    box = Box(start_zyx=(-before,) * 3, stop_zyx=stop_zyx)
    expected = np.pad(image_ZYX, ((before, after),) * 3, mode="reflect")
    np.testing.assert_array_equal(mirrored(image_ZYX, box), expected)


def test_a_box_far_outside_is_the_mirror_image_of_the_whole_volume() -> None:
    image_ZYX = np.arange(10).reshape(1, 1, 10)
    box = Box(start_zyx=(0, 0, -12), stop_zyx=(1, 1, -4))
    assert mirrored(image_ZYX, box).tolist() == [[[6, 7, 8, 9, 8, 7, 6, 5]]]


def test_only_the_slab_that_is_needed_is_read() -> None:
    asked = []

    class Lazy:
        shape = (100, 100, 100)

        def __getitem__(self, slices: tuple[slice, ...]) -> np.ndarray[tuple[int, ...], np.dtype]:
            asked.append(tuple((part.start, part.stop) for part in slices))
            return np.zeros([part.stop - part.start for part in slices])

    box = Box(start_zyx=(-2, 40, 90), stop_zyx=(3, 50, 104))
    assert mirrored(Lazy(), box).shape == (5, 10, 14)
    assert asked == [((0, 3), (40, 50), (90, 100))]


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
