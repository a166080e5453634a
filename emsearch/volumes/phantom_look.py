"""How a phantom looks under the microscope: stain, texture, blur, uneven sections, noise.

Axes: Z Y X voxels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

__all__ = ["Body", "Tissue", "picture", "smooth_noise_ZYX"]

Array = NDArray[np.float32]

# Mean grey value of background, cytoplasm, membrane, mitochondrion, granule, dense granule.
_GREY = np.array([196.0, 158.0, 92.0, 122.0, 118.0, 66.0], np.float32)
_MITOCHONDRION, _GRANULE, _DENSE = 3, 4, 5
_CRISTA_NM = 55.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Tissue:
    """What was cut and stained, voxel by voxel."""

    labels_ZYX: NDArray[np.uint8]
    depth_ZYX: Array
    """Distance to the nearest border between cells in nm."""
    tone_ZYX: Array
    """How much lighter or darker than others the voxel's cell is."""

    @classmethod
    def blank(cls, shape_zyx: tuple[int, ...]) -> "Tissue":
        """Return tissue that is to be filled in."""
        labels_ZYX = np.zeros(shape_zyx, np.uint8)
        grey_ZYX = np.zeros(shape_zyx, np.float32)
        return cls(labels_ZYX=labels_ZYX, depth_ZYX=grey_ZYX, tone_ZYX=grey_ZYX.copy())


@dataclass(frozen=True, kw_only=True, slots=True)
class Body:
    """A mitochondrion or granule: a bent ellipsoid in a box of the volume."""

    label: int
    box: tuple[slice, ...]
    reach_ZYX: Array
    """Distance from its middle over its radius: 1 at its surface."""
    along_ZYX: Array
    """Place along its long axis in nm."""

    @property
    def inside_ZYX(self) -> NDArray[np.bool_]:
        """Which voxels of the box it takes."""
        return self.reach_ZYX <= 1.0


def picture(tissue: Tissue, bodies: Sequence[Body], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return the image of tissue with bodies in it, uint8 of the same shape."""
    labels_ZYX = tissue.labels_ZYX
    grey_ZYX = _GREY[np.minimum(labels_ZYX, 2)]
    texture_ZYX = tissue.tone_ZYX + _cytoplasm_texture(labels_ZYX.shape, rng)
    grey_ZYX += texture_ZYX * (labels_ZYX == 1)
    pale_ZYX = 13.0 * smooth_noise_ZYX(labels_ZYX.shape, (1.5, 14.0, 14.0), rng)
    grey_ZYX += pale_ZYX * (labels_ZYX == 2)  # membranes take the stain unevenly
    grey_ZYX[(labels_ZYX == 0) & (tissue.depth_ZYX < 60)] -= 12.0  # a coat on the cells
    _add_vesicles(grey_ZYX, labels_ZYX, rng)
    for body in bodies:
        _stain(grey_ZYX[body.box], body, rng)
    # A section is thick, and the beam is wide.
    gaussian_filter(grey_ZYX, (0.45, 0.8, 0.8), output=grey_ZYX)
    return _scan(grey_ZYX, rng)


def smooth_noise_ZYX(
    shape_zyx: Sequence[int], scale_vx: Sequence[float], rng: np.random.Generator
) -> Array:
    """Return noise of mean 0 and standard deviation 1 that varies over `scale_vx` voxels."""
    weights = [_bumps(n, scale) for n, scale in zip(shape_zyx, scale_vx, strict=True)]
    knots = rng.normal(size=[weight.shape[1] for weight in weights]).astype(np.float32)
    noise_ZYX: Array = np.einsum("abc,za,yb,xc->zyx", knots, *weights, optimize=True)
    return noise_ZYX


def _bumps(length: int, scale: float) -> Array:
    """Return how much each of the knots, `scale` voxels apart, weighs in each voxel."""
    at = np.arange(length)[:, None] / scale
    knot = np.arange(-2, int(np.ceil(length / scale)) + 3)[None]
    weight = np.exp(-0.5 * ((at - knot) / 0.6) ** 2)
    bumps: Array = (weight / np.linalg.norm(weight, axis=1, keepdims=True)).astype(np.float32)
    return bumps


def _cytoplasm_texture(shape_zyx: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Return ribosomes, filaments and patches of denser stain around 0."""
    fine = rng.normal(size=shape_zyx).astype(np.float32)
    gaussian_filter(fine, (0, 1.1, 1.1), output=fine)
    filaments = np.abs(smooth_noise_ZYX(shape_zyx, (1.5, 9.0, 9.0), rng))
    patches = smooth_noise_ZYX(shape_zyx, (4.0, 40.0, 40.0), rng)
    texture: Array = 34.0 * fine - 30.0 * np.exp(-((filaments / 0.12) ** 2)) + 9.0 * patches
    return texture


def _add_vesicles(grey_ZYX: Array, labels_ZYX: NDArray[np.uint8], rng: np.random.Generator) -> None:
    """Draw small vesicles and dark grains into the cytoplasm: they are no class of their own."""
    y, x = np.mgrid[-6:7, -6:7].astype(np.float32)
    for z, section in enumerate(labels_ZYX):
        for _ in range(section.size // 1400):
            top, left = (int(rng.integers(max(n - 13, 1))) for n in section.shape)
            window = (z, slice(top, top + 13), slice(left, left + 13))
            radius, is_grain = rng.uniform(2.0, 4.2), rng.random() < 0.4
            if labels_ZYX[window].shape != y.shape or (labels_ZYX[window] != 1).any():
                continue
            reach = np.hypot(y, x) - radius
            rim = -48.0 * np.exp(-((reach / 0.9) ** 2))
            grain = -62.0 * np.clip(0.5 - reach - radius / 3, 0, 1)
            grey_ZYX[window] += grain if is_grain else rim + 14.0 * (reach < -0.5)


def _stain(grey: Array, body: Body, rng: np.random.Generator) -> None:
    """Draw a body into the part of the image that its box covers."""
    inside, reach = body.inside_ZYX, body.reach_ZYX
    tone = _GREY[body.label] + rng.normal(0, 13.0)
    if body.label == _MITOCHONDRION:
        bend = rng.uniform(0, 2 * np.pi) + 2.5 * reach
        cristae = np.cos(2 * np.pi * body.along_ZYX / _CRISTA_NM + bend)
        tone_ZYX = tone - 22.0 * np.clip(3 * cristae - 1, 0, 1) - 46.0 * (reach > 0.86)
    elif body.label == _GRANULE:
        tone_ZYX = tone - 26.0 * (reach > 0.9) - 18.0 * np.exp(-((reach / 0.4) ** 2))
    else:
        tone_ZYX = np.full(reach.shape, tone, np.float32)
        grey[(reach > 1.0) & (reach < 1.3)] += 14.0  # a clear halo
    grey[inside] = tone_ZYX[inside] + rng.normal(0, 6.0, int(inside.sum()))


def _scan(grey_ZYX: Array, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return what the detector gives: each section lit unevenly, with shot and read-out noise."""
    depth = len(grey_ZYX)
    contrast_Z11 = rng.uniform(0.72, 1.12, (depth, 1, 1)).astype(np.float32)
    brightness_Z11 = rng.normal(0, 9.0, (depth, 1, 1)).astype(np.float32)
    light_ZYX = 11.0 * smooth_noise_ZYX(grey_ZYX.shape, (2.5, 110.0, 110.0), rng)
    seen_ZYX = 140.0 + contrast_Z11 * (grey_ZYX - 140.0) + brightness_Z11 + light_ZYX
    shot = rng.normal(size=grey_ZYX.shape).astype(np.float32)
    seen_ZYX += shot * np.sqrt(np.clip(seen_ZYX, 1, None)) * 1.35
    gaussian_filter(seen_ZYX, (0, 0.4, 0.4), output=seen_ZYX)
    bytes_ZYX: NDArray[np.uint8] = np.clip(np.rint(seen_ZYX), 0, 255).astype(np.uint8)
    return bytes_ZYX
