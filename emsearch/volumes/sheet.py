"""A picture of what each augmentation does to a patch, to be judged by eye."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from emsearch.records.files import replacing
from emsearch.records.policy import Policy
from emsearch.volumes.augment import GREY, augment
from emsearch.volumes.augment_geometry import warp
from emsearch.volumes.chance import Chance

__all__ = ["augmented_alone", "save_sheet"]

_COLUMNS, _CAPTION_PX = 5, 14


def augmented_alone(
    image_BCZYX: Tensor, labels_BZYX: Tensor, name: str, strength: float, seed: int
) -> tuple[Tensor, Tensor]:
    """Return patches that all met one augmentation, a field of `Policy`, and no other."""
    chance = Chance(seed, image_BCZYX.device)
    if name in GREY:
        return GREY[name](image_BCZYX, strength, chance), labels_BZYX
    if name == "mirror":
        only = Policy(**{field.name: float(field.name == name) for field in fields(Policy)})
        return augment(image_BCZYX, labels_BZYX, strength, seed, only)
    count = len(image_BCZYX)
    moves = {move: [0.0] * count for move in ("affine", "elastic", "misalign")}
    return warp(image_BCZYX, labels_BZYX, {**moves, name: [strength] * count}, chance)


def save_sheet(image_ZYX: NDArray[np.float32], path: Path, seed: int = 0) -> None:
    """Write a PNG of the middle section of a normalised patch under each augmentation.

    The first picture is the patch itself, the last all augmentations as training meets them.
    """
    middle = len(image_ZYX) // 2
    three_ZYX = image_ZYX[max(middle - 1, 0) : middle + 2]  # the middle one is the one that is lost
    image_BCZYX = torch.from_numpy(three_ZYX)[None, None]
    labels_BZYX = torch.zeros_like(image_BCZYX[:, 0], dtype=torch.int64)
    pictures = {"as it is": image_BCZYX}
    for field in fields(Policy):
        pictures[field.name] = _changed(image_BCZYX, labels_BZYX, field.name, seed)
    pictures["together"], _ = augment(image_BCZYX, labels_BZYX, strength=1.0, seed=seed)
    sheet = _tiled({name: _section(patch) for name, patch in pictures.items()})
    with replacing(path) as scratch:
        sheet.save(scratch, format="PNG")


def _changed(image_BCZYX: Tensor, labels_BZYX: Tensor, name: str, seed: int) -> Tensor:
    """Return the patch under the first seed that changes what is shown, if one of a few does."""
    for attempt in range(seed, seed + 8):
        changed, _ = augmented_alone(image_BCZYX, labels_BZYX, name, strength=1.0, seed=attempt)
        if (_section(changed) != _section(image_BCZYX)).any():
            break
    return changed


def _section(image_BCZYX: Tensor) -> NDArray[np.uint8]:
    section_YX = image_BCZYX[0, 0, image_BCZYX.shape[2] // 2].numpy()
    grey: NDArray[np.uint8] = np.clip(128 + 48 * section_YX, 0, 255).astype(np.uint8)
    return grey


def _tiled(pictures: dict[str, NDArray[np.uint8]]) -> Image.Image:
    height, width = next(iter(pictures.values())).shape
    rows = -(-len(pictures) // _COLUMNS)
    sheet = Image.new("L", (_COLUMNS * width, rows * (height + _CAPTION_PX)), 255)
    draw = ImageDraw.Draw(sheet)
    for number, (name, picture) in enumerate(pictures.items()):
        left = number % _COLUMNS * width
        top = number // _COLUMNS * (height + _CAPTION_PX)
        draw.text((left + 2, top), name, fill=0)
        sheet.paste(Image.fromarray(picture), (left, top + _CAPTION_PX))
    return sheet
