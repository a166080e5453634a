from collections.abc import Iterable
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from emsearch.inference.box import Box, Shape
from emsearch.inference.tiles import Tiling, gaussian, tiles_of

EXACT = Tiling(
    step_zyx=(2, 24, 24), margin_zyx=(1, 8, 16), border_zyx=(0, 8, 8), divisor_zyx=(1, 8, 8)
)
BLENDED = Tiling(
    step_zyx=(2, 8, 8),
    margin_zyx=(0, 0, 0),
    border_zyx=(0, 0, 0),
    divisor_zyx=(1, 8, 8),
    window_zyx=(4, 16, 16),
)
VOLUME: Shape = (5, 100, 61)
REGIONS = [Box.whole(VOLUME), Box(start_zyx=(1, 9, 3), stop_zyx=(4, 77, 61))]


def _counts(tiling: Tiling, region: Box) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    counts_ZYX = np.zeros(region.shape_zyx, np.int64)
    for tile in tiles_of(tiling, VOLUME, region):
        counts_ZYX[tile.keep.slices(region.start_zyx)] += 1
    return counts_ZYX


@pytest.mark.parametrize("region", REGIONS)
def test_exact_tiles_hold_every_voxel_once(region: Box) -> None:
    counts_ZYX = _counts(EXACT, region)
    assert counts_ZYX.min() == counts_ZYX.max() == 1


@pytest.mark.parametrize("region", REGIONS)
def test_blended_tiles_leave_no_voxel_out(region: Box) -> None:
    assert _counts(BLENDED, region).min() >= 1


@pytest.mark.parametrize("region", REGIONS)
def test_exact_windows_lie_on_the_divisor(region: Box) -> None:
    for tile in tiles_of(EXACT, VOLUME, region):
        for edge in (tile.window.start_zyx, tile.window.stop_zyx):
            assert all(at % step == 0 for at, step in zip(edge, EXACT.divisor_zyx, strict=True))


@pytest.mark.parametrize("region", REGIONS)
def test_exact_tiles_have_their_margin_but_at_the_border(region: Box) -> None:
    domain = Box(start_zyx=(0, -8, -8), stop_zyx=(5, 112, 72))
    for tile in tiles_of(EXACT, VOLUME, region):
        needed = tile.keep.grown(EXACT.margin_zyx).within(domain)
        assert tile.window.within(needed) == needed
        assert tile.window.within(domain) == tile.window


def test_blended_windows_depend_on_the_volume_alone() -> None:
    whole, part = ({t.window for t in tiles_of(BLENDED, VOLUME, r)} for r in REGIONS)
    assert part < whole
    assert all(window.shape_zyx == BLENDED.window_zyx for window in whole)
    assert all(Box.whole(VOLUME).within(window) == window for window in whole)


def test_a_volume_smaller_than_the_window_has_one_window() -> None:
    small: Shape = (2, 10, 10)
    tiles = list(tiles_of(BLENDED, small, Box.whole(small)))
    assert [tile.window for tile in tiles] == [Box.whole((4, 16, 16))]
    assert [tile.keep for tile in tiles] == [Box.whole(small)]


def test_gaussian_weights_peak_in_the_middle_and_are_nowhere_zero() -> None:
    weight_ZYX = gaussian((5, 9, 9))
    assert weight_ZYX.argmax() == weight_ZYX.size // 2
    assert weight_ZYX.max() == 1
    assert weight_ZYX.min() > 0
    np.testing.assert_array_equal(weight_ZYX, weight_ZYX[::-1, ::-1, ::-1])


def _starts_of_all(length: int, window: int, step: int) -> list[int]:
    return [0] if length <= window else [*range(0, length - window, step), length - window]


def test_blended_windows_of_a_part_are_those_of_the_volume_that_meet_it() -> None:
    """In the same order, since sums of floats depend on it."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        volume, window, step, sides = (rng.integers(1, 12, (4, 3))).tolist()
        first = [int(rng.integers(0, length)) for length in volume]
        stop = [
            min(at + side, length) for at, side, length in zip(first, sides, volume, strict=True)
        ]
        region = Box(start_zyx=_zyx(first), stop_zyx=_zyx(stop))
        tiling = replace(BLENDED, window_zyx=_zyx(window), step_zyx=_zyx(step))
        boxes = [
            Box(start_zyx=_zyx(start), stop_zyx=_zyx(map(int.__add__, start, window)))
            for start in product(*map(_starts_of_all, volume, window, step))
        ]
        found = list(tiles_of(tiling, _zyx(volume), region))
        assert [tile.window for tile in found] == [box for box in boxes if box.meets(region)]
        assert [tile.keep for tile in found] == [tile.window.within(region) for tile in found]


def test_what_a_part_takes_does_not_grow_with_the_volume(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Box] = []
    check = Box.__post_init__

    def note(box: Box) -> None:
        made.append(box)
        check(box)

    part = Box(start_zyx=(4, 40, 40), stop_zyx=(8, 72, 72))
    monkeypatch.setattr(Box, "__post_init__", note)
    counts = []
    for side in (100, 10**12):
        made.clear()
        list(tiles_of(BLENDED, (side, side, side), part))
        counts.append(len(made))
    assert counts[0] == counts[1]


def _zyx(values: Iterable[int]) -> Shape:
    z, y, x = values
    return z, y, x
