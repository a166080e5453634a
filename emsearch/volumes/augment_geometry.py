"""Augmentations that move voxels: image and labels together, in one resampling.

Axes: B batch, C channel, Z Y X voxels; V the two coordinates x, y in voxels.
"""

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from emsearch.volumes.chance import Chance

__all__ = ["mirror_and_turn", "warp", "warp_in_place"]

Strengths = Mapping[str, Sequence[float]]
"""Of each patch by the name of the augmentation; 0 where it does not meet the patch."""

_TURN_RAD = 0.35  # largest rotation, and so on, at strength 1
_SCALE = 0.2
_SHEAR = 0.1
_ELASTIC_VX = 3.0
_ELASTIC_KNOT_VX = 32
_COARSER = 4
_SHIFT_VX = 8.0


def mirror_and_turn(
    image_BCZYX: Tensor, labels_BZYX: Tensor, strength: float, chance: Chance
) -> tuple[Tensor, Tensor]:
    """Return patches reflected along each axis with probability 1/2, and turned by right angles.

    Patches that are not square are turned by 180 degrees only, which two reflections do.
    """
    probability = 0.5 * min(strength, 1.0)
    is_square = image_BCZYX.shape[-1] == image_BCZYX.shape[-2]
    views: list[list[Tensor]] = [[], []]
    for patches in zip(image_BCZYX, labels_BZYX, strict=True):
        axes = [axis for axis in (-3, -2, -1) if chance.host.random() < probability]
        is_turned = chance.host.random() < probability and is_square
        for patch, found in zip(patches, views, strict=True):
            flipped = patch.flip(axes) if axes else patch
            found.append(flipped.transpose(-2, -1) if is_turned else flipped)
    return torch.stack(views[0]), torch.stack(views[1])


def warp(
    image_BCZYX: Tensor, labels_BZYX: Tensor, strengths: Strengths, chance: Chance
) -> tuple[Tensor, Tensor]:
    """Return patches under affine, elastic and misaligning moves, resampled once.

    Grey values are interpolated linearly and mirrored beyond the patch; labels are those of the
    nearest voxel, -1 beyond the patch.
    """
    image_BCZYX, labels_BZYX = image_BCZYX.clone(), labels_BZYX.clone()
    warp_in_place(image_BCZYX, labels_BZYX, strengths, chance)
    return image_BCZYX, labels_BZYX


def warp_in_place(
    image_BCZYX: Tensor, labels_BZYX: Tensor, strengths: Strengths, chance: Chance
) -> None:
    """Do to the patches themselves what `warp` does to a copy."""
    moved = [number for number in range(len(image_BCZYX)) if _is_met(strengths, number)]
    if not moved:
        return
    chosen = {name: [values[number] for number in moved] for name, values in strengths.items()}
    grid_BZYXV = _grid_BZYXV(image_BCZYX, chosen, chance)
    image_BCZYX[moved] = _resample(image_BCZYX[moved], grid_BZYXV, "bilinear", "reflection")
    # One is added to labels so that what comes from beyond the patch, 0, becomes -1.
    raised_BCZYX = (labels_BZYX[moved] + 1).to(image_BCZYX.dtype)[:, None]
    found_BCZYX = _resample(raised_BCZYX, grid_BZYXV, "nearest", "zeros")
    labels_BZYX[moved] = found_BCZYX[:, 0].to(labels_BZYX.dtype) - 1


def _is_met(strengths: Strengths, number: int) -> bool:
    return any(values[number] for values in strengths.values())


def _grid_BZYXV(image_BCZYX: Tensor, strengths: Strengths, chance: Chance) -> Tensor:
    """Return which place each voxel shows, from -1 to 1 across the patch.

    Z is 1 where all sections move alike. Few numbers are drawn on the host; the grid grows from
    them on the image's device.
    """
    depth, height, width = image_BCZYX.shape[-3:]
    matrix_BVV = _on(image_BCZYX, np.stack([_affine(one, chance) for one in strengths["affine"]]))
    shift_BZV = _on(image_BCZYX, _shifts_BZV(depth, strengths["misalign"], chance))
    x, y = (
        torch.arange(size, device=image_BCZYX.device, dtype=image_BCZYX.dtype) - (size - 1) / 2
        for size in (width, height)
    )
    half_V = torch.tensor([width / 2, height / 2]).to(image_BCZYX)
    matrix_BVV = matrix_BVV / half_V[:, None]
    along_x_BVX = matrix_BVV[:, :, 0, None] * x
    along_y_BVY = matrix_BVV[:, :, 1, None] * y
    shifted_BZVX = along_x_BVX[:, None] + (shift_BZV / half_V)[..., None]
    # A plane for each coordinate: every step below runs over numbers that lie side by side.
    place_BZVYX = along_y_BVY[:, None, :, :, None] + shifted_BZVX[:, :, :, None]
    if any(strengths["elastic"]):
        place_BZVYX += _bend_BVYX(image_BCZYX, strengths["elastic"], chance, half_V)[:, None]
    return place_BZVYX.permute(0, 1, 3, 4, 2)


def _on(image: Tensor, values: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32)).to(image)


def _affine(strength: float, chance: Chance) -> NDArray[np.float64]:
    turn = float(chance.uniform(-1, 1)) * _TURN_RAD * strength
    scale = float(np.exp(chance.uniform(-1, 1) * _SCALE * strength))
    shear = float(chance.uniform(-1, 1)) * _SHEAR * strength
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    moved: NDArray[np.float64] = scale * rotation @ np.array([[1.0, shear], [0.0, 1.0]])
    return moved


def _shifts_BZV(depth: int, strengths: Sequence[float], chance: Chance) -> NDArray[np.float64]:
    """Return how far each section is shifted; one section of length 1 if none is."""
    if depth == 1 or not any(strengths):
        return np.zeros((len(strengths), 1, 2))
    shift_BZV = np.zeros((len(strengths), depth, 2))
    for shift_ZV, strength in zip(shift_BZV, strengths, strict=True):
        first = int(chance.host.integers(1, depth))
        end = first + 1 if chance.host.random() < 0.5 else depth  # one section, or all the rest
        shift_ZV[first:end] = chance.uniform(-1, 1, 2) * _SHIFT_VX * strength
    return shift_BZV


def _bend_BVYX(
    image_BCZYX: Tensor, strengths: Sequence[float], chance: Chance, half_V: Tensor
) -> Tensor:
    """Return a smooth field of moves along x and y in half patches.

    It is found at every fourth voxel along each axis and interpolated, which differs by 0.015
    voxels in the mean.
    """
    shape = image_BCZYX.shape[-2:]
    bumps = [_on(image_BCZYX, _bumps(size)) for size in shape]
    knots = chance.host.normal(size=(len(strengths), 2, bumps[0].shape[1], bumps[1].shape[1]))
    knots *= _ELASTIC_VX * np.reshape(strengths, (-1, 1, 1, 1))
    coarse_BVYX = bumps[0] @ (_on(image_BCZYX, knots) / half_V[:, None, None]) @ bumps[1].T
    return functional.interpolate(coarse_BVYX, tuple(shape), mode="bilinear")


@cache
def _bumps(size: int) -> NDArray[np.float64]:
    """Return how much each knot weighs in each fourth voxel: the moves' deviation stays 1."""
    count = -(-size // _COARSER)
    at = ((np.arange(count)[:, None] + 0.5) * size / count - 0.5) / _ELASTIC_KNOT_VX
    knot = np.arange(-2, size // _ELASTIC_KNOT_VX + 4)[None]
    weight = np.exp(-0.5 * ((at - knot) / 0.6) ** 2)
    bumps: NDArray[np.float64] = weight / np.linalg.norm(weight, axis=1, keepdims=True)
    return bumps


def _resample(image_BCZYX: Tensor, grid_BZYXV: Tensor, mode: str, beyond: str) -> Tensor:
    batch, channels, depth, height, width = image_BCZYX.shape
    if grid_BZYXV.shape[1] == 1:  # the same move in all sections: they are channels
        planes = image_BCZYX.reshape(batch, channels * depth, height, width)
        grid = grid_BZYXV[:, 0]
    else:
        planes = image_BCZYX.transpose(1, 2).reshape(batch * depth, channels, height, width)
        grid = grid_BZYXV.reshape(batch * depth, height, width, 2)
    found = functional.grid_sample(
        planes, grid, mode=mode, padding_mode=beyond, align_corners=False
    )
    if grid_BZYXV.shape[1] == 1:
        return found.reshape(image_BCZYX.shape)
    return found.reshape(batch, depth, channels, height, width).transpose(1, 2)
