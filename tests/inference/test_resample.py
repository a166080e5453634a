"""Axes: Z Y X voxels in array order."""

from math import prod
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emsearch.inference import resample
from emsearch.inference.box import Box, Shape
from emsearch.inference.resample import Regrid, Resampled, step_between

SHAPE: Shape = (6, 40, 30)


def _ramp() -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
    """Return an image that says where the middle of each voxel is along y, in voxels."""
    return np.broadcast_to((np.arange(40.0) + 0.5)[:, None], SHAPE).astype(np.float32)


@pytest.mark.parametrize("step", [0.5, 0.4, 1.5, 2.0, 3.7])
def test_both_grids_cover_the_same_space(step: float) -> None:
    regrid = Regrid(shape=SHAPE, step=(1, step, 1))
    found = Resampled(_ramp(), regrid)[tuple(slice(0, n) for n in regrid.wanted_shape)]  # type: ignore[index]
    middles = (np.arange(regrid.wanted_shape[1]) + 0.5) * step
    inside = slice(4, -4)
    np.testing.assert_allclose(found[0, inside, 0], middles[inside], atol=0.04)


def test_averages_keep_thin_lines_that_single_voxels_would_miss() -> None:
    image = np.zeros((1, 1, 100), np.float32)
    image[..., ::10] = 10
    coarse = Resampled(image, Regrid(shape=(1, 1, 100), step=(1, 1, 10.0)))
    np.testing.assert_allclose(coarse[slice(0, 1), slice(0, 1), slice(1, 9)], 1.0, atol=0.05)


@given(st.floats(0.2, 4), st.integers(0, 5), st.integers(1, 4))
def test_a_box_is_what_the_whole_holds_there(step: float, first: int, size: int) -> None:
    image = np.random.default_rng(0).random((1, 60, 40)).astype(np.float32)
    regrid = Regrid(shape=(1, 60, 40), step=(1, step, step))
    resampled = Resampled(image, regrid)
    _, y, x = regrid.wanted_shape
    whole = resampled[slice(0, 1), slice(0, y), slice(0, x)]
    part = (slice(0, 1), slice(first, first + size), slice(2, 7))
    np.testing.assert_allclose(resampled[part], whole[part], atol=1e-6)


def test_nothing_is_read_but_what_a_box_needs() -> None:
    regrid = Regrid(shape=(10, 1000, 1000), step=(1, 0.5, 2))
    box = Box(start_zyx=(2, 100, 100), stop_zyx=(4, 140, 120))
    assert regrid.needs(box) == Box(start_zyx=(2, 49, 199), stop_zyx=(4, 71, 241))


@pytest.mark.parametrize(
    ("found", "step"),
    [((40, 4, 4), (1, 1, 1)), ((40, 4.02, 4), (1, 1, 1)), ((20, 4, 8), (2, 1, 0.5))],
)
def test_sizes_alike_within_a_percent_are_not_resampled(
    found: tuple[float, ...], step: tuple[float, ...]
) -> None:
    assert step_between(found, (40, 4, 4)) == step


class Counted:
    """An array that knows the largest read of it."""

    def __init__(self, values: "np.ndarray[tuple[int, ...], np.dtype[np.float32]]") -> None:
        self._values = values
        self.largest = 0

    def __getitem__(self, slices: Any) -> Any:
        found = self._values[slices]
        self.largest = max(self.largest, found.size)
        return found


@pytest.mark.parametrize("step", [(1, 9.5, 9.5), (3, 12, 0.2), (1, 0.1, 0.1)])
def test_reads_are_bounded_whatever_the_ratio(
    step: tuple[float, float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    image = np.random.default_rng(0).random((20, 300, 200)).astype(np.float32)
    regrid = Regrid(shape=(20, 300, 200), step=step)
    z, y, x = (min(n, 60) for n in regrid.wanted_shape)
    part = (slice(0, z), slice(0, y), slice(0, x))
    whole = Resampled(image, regrid)[part]
    monkeypatch.setattr(resample, "_READ_VX", 9000)
    counted = Counted(image)
    np.testing.assert_array_equal(Resampled(counted, regrid)[part], whole)
    assert 0 < counted.largest <= 9000


@given(
    st.tuples(*[st.sampled_from([0.1, 0.4, 1, 2.5, 12])] * 3), st.tuples(*[st.integers(1, 90)] * 3)
)
def test_a_bounded_shape_is_bounded_in_both_grids(
    step: tuple[float, float, float], shape: Shape
) -> None:
    regrid = Regrid(shape=(900, 900, 900), step=step)
    found = regrid.bounded(shape, 30_000)
    z, y, x = found
    needs = regrid.needs(Box(start_zyx=(5, 6, 7), stop_zyx=(5 + z, 6 + y, 7 + x)))
    assert all(0 < n <= most for n, most in zip(found, shape, strict=True))
    assert max(prod(found), prod(needs.shape_zyx)) <= 30_000
