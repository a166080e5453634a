"""Imported volumes, read a region at a time; beyond their borders they are mirrored.

Axes: Z Y X voxels.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.errors import NodeNotFoundError

from emsearch.errors import NotFoundError
from emsearch.records.dataset import VolumeRecord
from emsearch.records.score import Split
from emsearch.volumes.cache import near
from emsearch.volumes.labels import IGNORED
from emsearch.volumes.ome import IMAGE, LABELS, array_in

__all__ = ["IGNORE", "OpenVolume", "Region", "mirrored", "open_volume", "split_region"]

IGNORE = -1
"""In arrays: a voxel that is neither trained on nor scored."""

Region = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
"""First voxel and the one after the last along z, y, x; it may reach beyond the volume."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenVolume:
    """An imported volume, opened to read."""

    record: VolumeRecord
    image_ZYX: Any
    """Grey values as imported: a Zarr array, or an array in memory."""
    labels_ZYX: Any
    """Class numbers, 255 where nothing is annotated."""

    def read_image(self, region: Region) -> NDArray[np.float32]:
        """Return the normalised grey values of a region, mirrored beyond the volume."""
        grey = mirrored(self.image_ZYX, region).astype(np.float32)
        grey -= np.float32(self.record.mean)
        grey /= np.float32(self.record.std)
        return grey

    def read_labels(self, region: Region) -> NDArray[np.int16]:
        """Return the classes of a region; `IGNORE` beyond the volume and where not annotated."""
        ranges = zip(region, self.record.shape_zyx, strict=True)
        inside = tuple((max(first, 0), min(end, size)) for (first, end), size in ranges)
        if inside == tuple(region):
            return self._classes(inside)
        classes = np.full([end - first for first, end in region], IGNORE, np.int16)
        if all(first < end for first, end in inside):
            place = tuple(
                slice(first - start, end - start)
                for (first, end), (start, _) in zip(inside, region, strict=True)
            )
            classes[place] = self._classes(inside)
        return classes

    def _classes(self, inside: tuple[tuple[int, int], ...]) -> NDArray[np.int16]:
        stored = np.asarray(self.labels_ZYX[tuple(slice(*ends) for ends in inside)])
        classes = stored.astype(np.int16)
        is_ignored = stored == IGNORED
        if is_ignored.any():
            classes[is_ignored] = IGNORE
        return classes

    def in_memory(self) -> "OpenVolume":
        """Return the same volume with its arrays read to memory."""
        return OpenVolume(
            record=self.record,
            image_ZYX=np.asarray(self.image_ZYX[:]),
            labels_ZYX=np.asarray(self.labels_ZYX[:]),
        )

    @property
    def nbytes(self) -> int:
        """Memory that image and labels take."""
        voxel_bytes = int(self.image_ZYX.dtype.itemsize) + 1
        return int(np.prod(self.record.shape_zyx)) * voxel_bytes


def open_volume(record: VolumeRecord, study: Path) -> OpenVolume:
    """Return the volume of `record` in a study's folder. Raises NotFoundError."""
    try:
        group = zarr.open_group(near(study, record.zarr), mode="r")
    except (FileNotFoundError, NodeNotFoundError) as error:
        raise NotFoundError(
            f"no volume at {study / record.zarr}; import {record.name!r} again"
        ) from error
    return OpenVolume(
        record=record, image_ZYX=array_in(group, IMAGE), labels_ZYX=array_in(group, LABELS)
    )


def split_region(record: VolumeRecord, split: Split) -> Region | None:
    """Return the region of a split, None where the volume has no part in it."""
    sections = record.slices(split)
    return (
        None if sections is None else (sections, (0, record.shape_zyx[1]), (0, record.shape_zyx[2]))
    )


def mirrored(array: Any, region: Region) -> NDArray[Any]:
    """Return a region of an array; beyond its borders, what a mirror there would show.

    The border voxel is the mirror: it is not repeated. An axis of one voxel repeats it.
    """
    ranges = list(zip(region, array.shape, strict=True))
    if all(first >= 0 and end <= size for (first, end), size in ranges):
        return np.asarray(array[tuple(slice(first, end) for first, end in region)])
    indices = [_reflect(np.arange(first, end), size) for (first, end), size in ranges]
    lows = [int(index.min()) for index in indices]
    box = tuple(slice(low, int(index.max()) + 1) for low, index in zip(lows, indices, strict=True))
    within = [index - low for low, index in zip(lows, indices, strict=True)]
    values: NDArray[Any] = np.asarray(array[box])[np.ix_(*within)]
    return values


def _reflect(index: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    if size == 1:
        return np.zeros_like(index)
    period = 2 * (size - 1)
    return size - 1 - np.abs(index % period - (size - 1))
