"""What one volume holds, with or without its labels: what `emsearch volumes info` prints."""

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emsearch.errors import SpecError
from emsearch.volumes.registration import Shift, label_shift
from emsearch.volumes.stack import Stack, Voxel, boxes_of

__all__ = ["MANY", "VolumeFacts", "volume_facts"]

MANY = 64
"""More values than this are no classes but instances, or grey values."""
_CROP_VX = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class VolumeFacts:
    """What a volume holds."""

    shape_zyx: tuple[int, int, int]
    dtype: str
    voxel_nm: Voxel | None
    """From the file's own metadata; None where it does not say it."""
    megavoxels: float
    lowest: float
    highest: float
    mean: float
    fractions: dict[str, float] | None
    """Part of the voxels that each label value or colour takes; None where they are no classes."""
    shift_yx: tuple[int, int] | None
    """How far labels would have to move to fit the image's middle section best."""


def volume_facts(image: Stack, labels: Stack | None = None) -> VolumeFacts:
    """Return what an image with its labels holds, or an image or labels alone; reads all of it.

    Raises SpecError where image and labels differ in shape, and where voxels cannot be read.
    """
    if labels is not None and labels.shape_zyx != image.shape_zyx:
        raise SpecError(
            f"labels of shape {labels.shape_zyx} are not of an image of {image.shape_zyx}"
        )
    count = _Count()
    for box in boxes_of(image, 0, image.shape_zyx[0]):
        count.add(image.read_box(box))
    counted = image if labels is None else labels
    return VolumeFacts(
        shape_zyx=image.shape_zyx,
        dtype=str(image.dtype),
        voxel_nm=image.voxel_nm,
        megavoxels=round(prod(image.shape_zyx) / 1e6, 3),
        lowest=count.lowest,
        highest=count.highest,
        mean=count.total / count.values,
        fractions=_fractions(counted),
        shift_yx=None if labels is None else _shift(image, labels),
    )


class _Count:
    """Range and sum of what was seen."""

    def __init__(self) -> None:
        self.lowest, self.highest = float("inf"), float("-inf")
        self.total, self.values = 0.0, 0

    def add(self, values: NDArray[Any]) -> None:
        self.lowest = min(self.lowest, float(values.min()))
        self.highest = max(self.highest, float(values.max()))
        self.total += float(values.sum(dtype=np.float64))
        self.values += values.size


def _fractions(labels: Stack) -> dict[str, float] | None:
    """Return how much each value takes, None where there are too many or they are no integers."""
    if labels.dtype.kind not in "uib":
        return None
    counts: dict[str, int] = {}
    for box in boxes_of(labels, 0, labels.shape_zyx[0]):
        values = labels.read_box(box)
        if labels.colours:
            rows, numbers = np.unique(
                values.reshape(-1, values.shape[-1])[:, :3], axis=0, return_counts=True
            )
            names = [",".join(str(part) for part in row) for row in rows.tolist()]
        else:
            plain, numbers = np.unique(values, return_counts=True)
            names = [str(int(value)) for value in plain.tolist()]
        for name, number in zip(names, numbers.tolist(), strict=True):
            counts[name] = counts.get(name, 0) + number
        if len(counts) > MANY:
            return None
    total = sum(counts.values())
    return {name: number / total for name, number in counts.items()}


def _shift(image: Stack, labels: Stack) -> tuple[int, int] | None:
    """Return the shift of the middle section, None where classes have no contrast in it."""
    depth, height, width = image.shape_zyx
    top, left = max(height - _CROP_VX, 0) // 2, max(width - _CROP_VX, 0) // 2
    rows, columns = slice(top, top + _CROP_VX), slice(left, left + _CROP_VX)
    box = (slice(depth // 2, depth // 2 + 1), rows, columns)
    values_YX = labels.read_box(box)[0]
    if labels.colours:
        values_YX = values_YX[..., :3].astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
    found: Shift = label_shift(image.read_box(box)[0], values_YX)
    return (found.y_vx, found.x_vx) if found.fit_there > 0 else None
