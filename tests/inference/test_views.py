"""Axes: K class, Z Y X voxels in array order."""

from itertools import product

import numpy as np
import pytest
import torch

from emsearch.inference.box import Box, Shape
from emsearch.inference.views import Manner, View, views_of

SHAPE: Shape = (4, 5, 7)
REGION = Box(start_zyx=(1, 0, 2), stop_zyx=(3, 4, 7))
ALL = [
    View(order=order, flips=flips)
    for order in ((0, 1, 2), (1, 0, 2), (2, 0, 1))
    for flips in product((False, True), (False, True), (False, True))
]


@pytest.mark.parametrize("view", ALL)
def test_a_view_shows_a_box_where_it_says(view: View) -> None:
    image_ZYX = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)
    read = view.reader(lambda box: image_ZYX[box.slices()], SHAPE)
    whole = read(Box.whole(view.shape(SHAPE)))
    part = view.box(REGION, SHAPE)
    np.testing.assert_array_equal(whole[part.slices()], read(part))
    assert sorted(whole[part.slices()].ravel()) == sorted(image_ZYX[REGION.slices()].ravel())


@pytest.mark.parametrize("view", ALL)
def test_the_way_back_ends_where_it_began(view: View) -> None:
    assert view.back(view.box(REGION, SHAPE), SHAPE) == REGION
    image_ZYX = np.random.default_rng(0).random(SHAPE).astype(np.float32)
    read = view.reader(lambda box: image_ZYX[box.slices()], SHAPE)
    seen_KZYX = torch.from_numpy(read(view.box(REGION, SHAPE)))[None]
    np.testing.assert_array_equal(view.restore(seen_KZYX)[0], image_ZYX[REGION.slices()])


@pytest.mark.parametrize(
    ("manner", "is_flat", "count"),
    [
        (Manner(), True, 1),
        (Manner(flips=True), True, 4),
        (Manner(flips=True), False, 8),
        (Manner(axes="zyx"), True, 3),
        (Manner(axes="zyx"), False, 1),
        (Manner(axes="zyx", flips=True), True, 12),
    ],
)
def test_there_are_as_many_views_as_asked_for(manner: Manner, is_flat: bool, count: int) -> None:
    views = list(views_of(manner, is_flat=is_flat))
    assert len(set(views)) == len(views) == count
    assert views[0].is_plain
