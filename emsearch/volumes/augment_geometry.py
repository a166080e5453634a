"""Augmentations that move voxels: image and labels together, in one resampling.

Axes: B batch, C channel, Z Y X voxels; V the two coordinates x, y in voxels.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from emsearch.volumes.chance import Chance

__all__ = ["mirror_and_turn", "warp"]

Strengths = Mapping[str, Sequence[float]]
"""Of each patch by the name of the augmentation; 0 where it does not meet the patch."""

_TURN_RAD = 0.35  # largest rotation, and so on, at strength 1
_SCALE = 0.2
_SHEAR = 0.1
_ELASTIC_VX = 5.0
_ELASTIC_KNOT_VX = 32
_SHIFT_VX = 8.0


def mirror_and_turn(
    image_BCZYX: Tensor, labels_BZYX: Tensor, strength: float, chance: Chance
) -> tuple[Tensor, Tensor]:
    """Return patches reflected along each axis with probability 1/2, and turned by right angles.

    Patches that are not square are turned by 180 degrees only, which two reflections do.
    """
    images, labels = [], []
    for image_CZYX, labels_ZYX in zip(image_BCZYX, labels_BZYX, strict=True):
        flips = [axis for axis in (-3, -2, -1) if chance.host.random() < 0.5 * min(strength, 1.0)]
        is_square = image_CZYX.shape[-1] == image_CZYX.shape[-2]
        turns = is_square and chance.host.random() < 0.5 * min(strength, 1.0)
        images.append(torch.rot90(image_CZYX.flip(flips), int(turns), (-2, -1)))
        labels.append(torch.rot90(labels_ZYX.flip(flips), int(turns), (-2, -1)))
    return torch.stack(images), torch.stack(labels)


def warp(
    image_BCZYX: Tensor, labels_BZYX: Tensor, strengths: Strengths, chance: Chance
) -> tuple[Tensor, Tensor]:
    """Return patches under affine, elastic and misaligning moves, resampled once.

    Grey values are interpolated linearly and mirrored beyond the patch; labels are those of the
    nearest voxel, -1 beyond the patch.
    """
    moved = [number for number in range(len(image_BCZYX)) if _is_met(strengths, number)]
    if not moved:
        return image_BCZYX, labels_BZYX
    depth, height, width = image_BCZYX.shape[-3:]
    is_shifted = depth > 1 and any(strengths["misalign"][number] for number in moved)
    places = [
        _places_ZYXV(
            (depth if is_shifted else 1, height, width),
            {name: values[number] for name, values in strengths.items()},
            chance,
        )
        for number in moved
    ]
    places_BZYXV = torch.from_numpy(np.stack(places)).to(image_BCZYX)
    image_BCZYX, labels_BZYX = image_BCZYX.clone(), labels_BZYX.clone()
    image_BCZYX[moved] = _resample(image_BCZYX[moved], places_BZYXV, "bilinear", "reflection")
    # One is added to labels so that what comes from beyond the patch, 0, becomes -1.
    raised_BCZYX = (labels_BZYX[moved] + 1).to(image_BCZYX.dtype)[:, None]
    found_BCZYX = _resample(raised_BCZYX, places_BZYXV, "nearest", "zeros")
    labels_BZYX[moved] = found_BCZYX[:, 0].round().to(labels_BZYX.dtype) - 1
    return image_BCZYX, labels_BZYX


def _is_met(strengths: Strengths, number: int) -> bool:
    return any(values[number] for values in strengths.values())


def _places_ZYXV(
    shape_zyx: tuple[int, int, int], strength: Mapping[str, float], chance: Chance
) -> np.ndarray:
    """Return for each voxel the place in the patch that it shows: x, y in voxels, float32."""
    depth, height, width = shape_zyx
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    y, x = np.mgrid[:height, :width]
    places_YXV = np.stack([x, y], axis=-1) - middle
    if strength["affine"]:
        places_YXV = places_YXV @ _affine(strength["affine"], chance).T
    places_YXV += middle
    if strength["elastic"]:
        places_YXV += _bend_YXV((height, width), strength["elastic"], chance)
    places_ZYXV = np.repeat(places_YXV[None], depth, axis=0)
    if strength["misalign"] and depth > 1:
        first = int(chance.host.integers(1, depth))
        end = first + 1 if chance.host.random() < 0.5 else depth  # one section, or all the rest
        shift = _SHIFT_VX * strength["misalign"]
        places_ZYXV[first:end] += chance.uniform(-shift, shift, 2)
    return places_ZYXV.astype(np.float32)


def _affine(strength: float, chance: Chance) -> np.ndarray:
    turn = float(chance.uniform(-1, 1)) * _TURN_RAD * strength
    scale = np.exp(chance.uniform(-1, 1) * _SCALE * strength)
    shear = float(chance.uniform(-1, 1)) * _SHEAR * strength
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    moved: np.ndarray = scale * rotation @ np.array([[1.0, shear], [0.0, 1.0]])
    return moved


def _bend_YXV(shape_yx: tuple[int, int], strength: float, chance: Chance) -> np.ndarray:
    """Return a smooth field of moves along x and y in voxels."""
    knots = [max(size // _ELASTIC_KNOT_VX, 1) + 3 for size in shape_yx]
    coarse = torch.from_numpy(chance.host.normal(0, 0.5, (1, 2, *knots)))
    field = functional.interpolate(coarse, shape_yx, mode="bicubic", align_corners=True)
    bend: np.ndarray = field[0].permute(1, 2, 0).numpy() * _ELASTIC_VX * strength
    return bend


def _resample(image_BCZYX: Tensor, places_BZYXV: Tensor, mode: str, beyond: str) -> Tensor:
    batch, channels, depth, height, width = image_BCZYX.shape
    size_V = torch.tensor([width, height], device=image_BCZYX.device, dtype=image_BCZYX.dtype)
    grid_BZYXV = (2 * places_BZYXV + 1) / size_V - 1
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
