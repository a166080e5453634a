"""How a volume is cut into windows that a network can take.

Two manners. *Exact*: a network with a known receptive field and nothing that depends on the whole
window predicts a tile from a window with true context all around; the tiles then equal the
prediction of the whole volume. *Blended*: a network that sees its whole window (instance or group
normalisation, attention) is given windows of the shape it was trained on, which overlap and are
averaged with weights that fall towards a window's border.

Axes: Z Y X voxels in array order.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from emsearch.errors import SpecError
from emsearch.inference.box import Box, Shape
from emsearch.trees.arithmetic import Facts

__all__ = ["BLENDS", "Tile", "Tiling", "distance", "gaussian", "plan_tiling", "tiles_of"]

_BORDER_VX = 32  # mirrored context beyond the volume's border
_OVERLAP = 0.5  # of blended windows with their neighbours, along each axis
_WORTHWHILE_VX = 1 << 18  # windows of fewer voxels leave a device waiting between them
_LIVE_PART = 0.7  # of the activations that training keeps, alive at once in prediction


@dataclass(frozen=True, kw_only=True, slots=True)
class Tiling:
    """What windows a network is given, whatever the volume."""

    step_zyx: Shape
    """Exact: voxels of a tile; blended: from one window to the next."""
    margin_zyx: Shape
    """Exact: true context on each side of a tile; blended: 0."""
    border_zyx: Shape
    """Exact: mirrored context beyond the volume's border; blended: 0."""
    divisor_zyx: Shape
    """Windows begin and end at multiples of it."""
    window_zyx: Shape | None = None
    """Blended: the shape of every window. None: exact."""
    blend: str = "gaussian"
    """Blended: weights of a window's voxels, one of `BLENDS`."""

    @property
    def is_exact(self) -> bool:
        """Whether tiles equal the prediction of the whole volume."""
        return self.window_zyx is None

    @property
    def is_flat(self) -> bool:
        """Whether a network with it sees sections one by one."""
        deep = self.margin_zyx[0] if self.window_zyx is None else self.window_zyx[0] - 1
        return deep == 0 and self.divisor_zyx[0] == 1

    def blended(self, blend: str) -> "Tiling":
        """Return the tiling with another way to weigh overlapping windows.

        Raises SpecError for one that there is not.
        """
        if blend not in BLENDS:
            raise SpecError(f"no blending {blend!r}; known are {', '.join(BLENDS)}")
        return replace(self, blend=blend)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tile:
    """A window to predict and the part of it that counts."""

    window: Box
    keep: Box


def plan_tiling(facts: Facts, patch_zyx: Shape, budget_bytes: int) -> Tiling:
    """Return the tiling for a network of those `facts`, described for a patch of `patch_zyx`.

    Windows grow, and with them the part that is not margin, while the activations of one stay
    within `budget_bytes`; they are never smaller than the patch with its margins.
    """
    divisor_zyx = facts.divisor_zyx
    patch_zyx = _up(patch_zyx, divisor_zyx)
    if facts.sees_whole_tile:
        return _blended(patch_zyx, divisor_zyx)
    margin_zyx = _up(facts.halo_zyx, divisor_zyx)
    border_zyx = _up(_map(min, facts.halo_zyx, (_BORDER_VX,) * 3), divisor_zyx)
    bytes_vx = _LIVE_PART * facts.activation_bytes / max(_volume(patch_zyx), 1)
    return Tiling(
        step_zyx=_grown(patch_zyx, margin_zyx, budget_bytes / max(bytes_vx, 1.0)),
        margin_zyx=margin_zyx,
        border_zyx=border_zyx,
        divisor_zyx=divisor_zyx,
    )


def tiles_of(tiling: Tiling, volume_zyx: Shape, region: Box) -> Iterator[Tile]:
    """Yield the tiles from which `region` of a volume is predicted, in array order.

    Exact tiles hold each voxel of the region once; blended ones overlap, and which windows there
    are depends on the volume alone, so that two regions agree where they meet.
    """
    if tiling.is_exact:
        return _exact_tiles(tiling, volume_zyx, region)
    return _blended_tiles(tiling, volume_zyx, region)


def gaussian(shape_zyx: Shape) -> NDArray[np.float32]:
    """Return the weights of a blended window: 1 in the middle, sigma an eighth of its sides."""
    axes = [
        np.exp(-0.5 * ((np.arange(size) - (size - 1) / 2) / (size / 8)) ** 2) for size in shape_zyx
    ]
    weight_ZYX = axes[0][:, None, None] * axes[1][:, None] * axes[2]
    floored_ZYX: NDArray[np.float32] = np.maximum(weight_ZYX, 1e-4).astype(np.float32)
    return floored_ZYX


def distance(shape_zyx: Shape) -> NDArray[np.float32]:
    """Return the weights of a blended window: the distance to its nearest border, 1 in the middle.

    Distances are parts of a window's half, so that a flat window's depth does not decide alone.
    """
    axes = [1 - np.abs(np.arange(size) - (size - 1) / 2) / (size / 2) for size in shape_zyx]
    weight_ZYX = np.minimum(np.minimum(axes[0][:, None, None], axes[1][:, None]), axes[2])
    nearest_ZYX: NDArray[np.float32] = weight_ZYX.astype(np.float32)
    return nearest_ZYX


BLENDS = {"gaussian": gaussian, "distance": distance}
"""How the voxels of overlapping windows are weighed."""


def _exact_tiles(tiling: Tiling, volume_zyx: Shape, region: Box) -> Iterator[Tile]:
    domain = _padded(tiling, volume_zyx)
    cuts = [
        _cuts(start - start % divisor, stop, step, divisor)
        for start, stop, step, divisor in zip(
            region.start_zyx, region.stop_zyx, tiling.step_zyx, tiling.divisor_zyx, strict=True
        )
    ]
    for (z, end_z), (y, end_y), (x, end_x) in product(*cuts):
        cell = Box(start_zyx=(z, y, x), stop_zyx=(end_z, end_y, end_x))
        yield Tile(window=cell.grown(tiling.margin_zyx).within(domain), keep=cell.within(region))


def _padded(tiling: Tiling, volume_zyx: Shape) -> Box:
    """Return the volume with its mirrored border, ending at multiples of the divisor."""
    z, y, x = (-border for border in tiling.border_zyx)
    end = _map(int.__add__, volume_zyx, tiling.border_zyx)
    return Box(start_zyx=(z, y, x), stop_zyx=_up(end, tiling.divisor_zyx))


def _cuts(start: int, stop: int, step: int, divisor: int) -> list[tuple[int, int]]:
    """Return parts of about equal length, none longer than `step`, all multiples of `divisor`."""
    count = -(-(stop - start) // step)
    length = _round_up(-(-(stop - start) // count), divisor)
    return [(first, first + length) for first in range(start, stop, length)]


def _blended_tiles(tiling: Tiling, volume_zyx: Shape, region: Box) -> Iterator[Tile]:
    window_zyx = tiling.window_zyx or tiling.step_zyx
    starts = [
        _starts(volume_zyx[axis], window_zyx[axis], tiling.step_zyx[axis], region.ranges[axis])
        for axis in range(3)
    ]
    for z, y, x in product(*starts):
        stop_zyx = (z + window_zyx[0], y + window_zyx[1], x + window_zyx[2])
        window = Box(start_zyx=(z, y, x), stop_zyx=stop_zyx)
        yield Tile(window=window, keep=window.within(region))


def _starts(length: int, window: int, step: int, wanted: tuple[int, int]) -> list[int]:
    """Return where the windows of an axis begin that hold any of the wanted voxels.

    Windows begin at each step, and one ends where the axis does. Those that do not count are not
    gone through: a volume has as many parts as it has windows.
    """
    first, stop = wanted
    last = max(length - window, 0)
    after = first - window  # a window that begins here ends where what is wanted begins
    lowest = max(after // step + 1, 0) * step
    ending = [last] if after < last < stop else []
    return [*range(lowest, min(last, stop), step), *ending]


def _blended(patch_zyx: Shape, divisor_zyx: Shape) -> Tiling:
    return Tiling(
        step_zyx=_map(lambda size: max(round(size * (1 - _OVERLAP)), 1), patch_zyx),
        margin_zyx=(0, 0, 0),
        border_zyx=(0, 0, 0),
        divisor_zyx=divisor_zyx,
        window_zyx=patch_zyx,
    )


def _grown(patch_zyx: Shape, margin_zyx: Shape, budget_vx: float) -> Shape:
    """Return the patch, doubled along the axis where margins weigh most while it fits."""
    step = list(patch_zyx)
    while True:
        axis = max(range(3), key=lambda n: (margin_zyx[n] / step[n], n > 0, -step[n]))
        wider = [size * (1 + (axis == n)) for n, size in enumerate(step)]
        window_vx = np.prod([size + 2 * more for size, more in zip(wider, margin_zyx, strict=True)])
        is_wide = margin_zyx[axis] / step[axis] < 0.05 and window_vx > _WORTHWHILE_VX
        if is_wide or window_vx > budget_vx:
            return step[0], step[1], step[2]
        step = wider


def _map(function: Callable[..., int], *shapes: Shape) -> Shape:
    z, y, x = map(function, *shapes)
    return z, y, x


def _round_up(size: int, divisor: int) -> int:
    return -(-size // divisor) * divisor


def _up(shape_zyx: Shape, divisor_zyx: Shape) -> Shape:
    return _map(_round_up, shape_zyx, divisor_zyx)


def _volume(shape_zyx: Shape) -> int:
    return shape_zyx[0] * shape_zyx[1] * shape_zyx[2]
