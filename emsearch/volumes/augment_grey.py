"""Augmentations that change grey values and leave every voxel in its place.

Each takes normalised patches (mean about 0, standard deviation about 1) that it is sure to change,
and returns new ones of the same shape. Axes: B batch, C channel, Z Y X voxels.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from emsearch.volumes.chance import Chance

__all__ = [
    "blur",
    "contrast",
    "cutout",
    "gamma",
    "missing_part",
    "missing_section",
    "noise",
    "poisson",
    "stripes",
]


def contrast(image_BCZYX: Tensor, strength: float, chance: Chance) -> Tensor:
    """Return patches with other contrast and brightness, drawn by patch and again by section."""
    batch, _, depth = image_BCZYX.shape[:3]

    def drawn(by_patch: float, by_section: float) -> Tensor:
        patch = chance.gauss(by_patch * strength, batch, 1, 1, 1, 1, like=image_BCZYX)
        section = chance.gauss(by_section * strength, batch, 1, depth, 1, 1, like=image_BCZYX)
        return patch + section

    return (image_BCZYX * drawn(0.18, 0.12).exp()).add_(drawn(0.2, 0.15))


def gamma(image_BCZYX: Tensor, strength: float, chance: Chance) -> Tensor:
    """Return patches with another brightness curve in each section; lowest and highest stay."""
    batch, _, depth = image_BCZYX.shape[:3]
    low, span = _range(image_BCZYX)
    power = chance.gauss(0.3 * strength, batch, 1, depth, 1, 1, like=image_BCZYX).exp()
    part = (image_BCZYX - low).div_(span).clamp_(0, 1)
    # As exp(power * log(part)), which is many times faster on a CPU than a power; 0 stays 0.
    return part.log_().mul_(power).exp_().mul_(span).add_(low)


def blur(image_BCZYX: Tensor, strength: float, chance: Chance) -> Tensor:
    """Return patches out of focus: Gaussian in the plane, another width for each patch."""
    blurred = [
        _gaussian(image_CZYX, float(chance.uniform(0.4, 1.2)) * strength)
        for image_CZYX in image_BCZYX
    ]
    return torch.stack(blurred)


def noise(image_BCZYX: Tensor, strength: float, chance: Chance) -> Tensor:
    """Return patches with Gaussian noise, another amount in each patch."""
    spread = chance.uniform(0.05, 0.35, len(image_BCZYX), 1, 1, 1, 1) * strength
    drawn = chance.normal_like(image_BCZYX)
    return drawn.mul_(torch.from_numpy(spread).to(image_BCZYX)).add_(image_BCZYX)


def poisson(image_BCZYX: Tensor, strength: float, chance: Chance) -> Tensor:
    """Return patches as counted from few electrons: noise grows with brightness, the mean stays."""
    low, span = _range(image_BCZYX)
    peak = chance.uniform(50, 300, len(image_BCZYX), 1, 1, 1, 1) / max(strength, 1e-3) ** 2
    electrons = torch.from_numpy(peak).to(image_BCZYX)
    expected = (image_BCZYX - low) / span * electrons
    return low + span * torch.poisson(expected, generator=chance.device) / electrons


def stripes(image_BCZYX: Tensor, strength: float, chance: Chance) -> Tensor:
    """Return patches with streaks along y or x, other ones in each section (curtaining)."""
    striped = image_BCZYX.clone()
    batch, _, depth, height, width = image_BCZYX.shape
    for number in range(batch):
        along_y = chance.host.random() < 0.5
        across = width if along_y else height
        profile = chance.host.normal(0, 1, (depth, across))
        kernel = np.exp(-0.5 * (np.arange(-4, 5) / float(chance.uniform(0.6, 2.0))) ** 2)
        smooth = np.stack([np.convolve(row, kernel, "same") for row in profile])
        smooth *= 0.25 * strength / np.linalg.norm(kernel)
        streaks = torch.from_numpy(smooth).to(image_BCZYX)
        striped[number] += streaks[:, None, :] if along_y else streaks[:, :, None]
    return striped


def cutout(image_BCZYX: Tensor, strength: float, chance: Chance) -> Tensor:
    """Return patches in which some boxes show their mean grey value; labels there still count."""
    cut = image_BCZYX.clone()
    sizes = image_BCZYX.shape[2:]
    for image_CZYX in cut:
        mean = image_CZYX.mean()
        for _ in range(max(round(3 * strength), 1)):
            box = [_interval(size, 0.15 * min(strength, 2.0), chance) for size in sizes[1:]]
            image_CZYX[:, _interval(sizes[0], 0.5, chance), box[0], box[1]] = mean
    return cut


def missing_section(image_BCZYX: Tensor, strength: float, chance: Chance) -> Tensor:
    """Return stacks in which inner sections are blank; of fewer than three, as they are.

    At most a third of the sections are lost, and never the first or the last.
    """
    depth = image_BCZYX.shape[2]
    if depth < 3:
        return image_BCZYX
    blank = image_BCZYX.clone()
    for image_CZYX in blank:
        most = max(min(round(strength), depth // 3), 1)
        lost = 1 + chance.host.choice(
            depth - 2, int(chance.host.integers(1, most + 1)), replace=False
        )
        image_CZYX[:, torch.from_numpy(lost)] = _blank_tone(image_CZYX, chance)
    return blank


def missing_part(image_BCZYX: Tensor, strength: float, chance: Chance) -> Tensor:
    """Return stacks with one inner section blank beyond a straight edge; less than half of it.

    Stacks of fewer than three sections stay as they are.
    """
    depth, height, width = image_BCZYX.shape[2:]
    if depth < 3:
        return image_BCZYX
    blank = image_BCZYX.clone()
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    for image_CZYX in blank:
        angle = float(chance.uniform(0, 2 * np.pi))
        edge = float(chance.uniform(0.05, 0.8)) / max(strength, 1.0)
        is_lost = torch.from_numpy(y * np.sin(angle) + x * np.cos(angle) > edge)
        section = 1 + int(chance.host.integers(depth - 2))
        tone = _blank_tone(image_CZYX, chance)
        whole = image_CZYX[:, section]
        image_CZYX[:, section] = torch.where(is_lost.to(whole.device), tone, whole)
    return blank


def _range(image_BCZYX: Tensor) -> tuple[Tensor, Tensor]:
    """Return lowest grey value and range of each section; a flat section has a range of 1e-6."""
    low = image_BCZYX.amin((1, 3, 4), keepdim=True)
    return low, (image_BCZYX.amax((1, 3, 4), keepdim=True) - low).clamp_min(1e-6)


def _gaussian(image_CZYX: Tensor, sigma_vx: float) -> Tensor:
    radius = max(int(3 * sigma_vx + 0.5), 1)
    offset = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (offset / max(sigma_vx, 1e-3)) ** 2)
    weights = (kernel / kernel.sum()).tolist()
    height, width = image_CZYX.shape[-2:]
    padded = functional.pad(image_CZYX, (radius,) * 4, mode="replicate")
    # Sums of shifted images: a convolution of one channel is slower.
    rows = padded[..., :width] * weights[0]
    for shift, weight in enumerate(weights[1:], 1):
        rows.add_(padded[..., shift : shift + width], alpha=weight)
    both: Tensor = rows[..., :height, :] * weights[0]
    for shift, weight in enumerate(weights[1:], 1):
        both.add_(rows[..., shift : shift + height, :], alpha=weight)
    return both


def _interval(size: int, part: float, chance: Chance) -> slice:
    length = max(round(float(chance.uniform(0.3, 1.0)) * part * size), 1)
    first = int(chance.host.integers(max(size - length, 0) + 1))
    return slice(first, first + length)


def _blank_tone(image_CZYX: Tensor, chance: Chance) -> Tensor:
    """Return what a lost section shows: the darkest, the mean or the brightest grey value."""
    return (image_CZYX.amin(), image_CZYX.mean(), image_CZYX.amax())[int(chance.host.integers(3))]
