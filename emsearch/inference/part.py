"""The part of a volume that belongs to a split.

Axes: Z Y X voxels in array order.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emsearch.errors import SpecError
from emsearch.inference.box import Box, Reader, Shape
from emsearch.records.dataset import Dataset
from emsearch.records.score import Split
from emsearch.volumes.dataset import OpenVolume, open_volume

__all__ = ["Part", "parts_of"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """The part of a volume that belongs to a split."""

    volume: OpenVolume
    region: Box

    @property
    def volume_zyx(self) -> Shape:
        """Shape of the whole volume."""
        return self.volume.record.shape_zyx

    @property
    def reader(self) -> Reader:
        """Reads the normalised image, context beyond the split included."""
        return lambda box: self.volume.read_image(box.ranges)

    def truth(self, box: Box) -> NDArray[np.int16]:
        """Return the labels_ZYX of `box`, -1 where they are ignored."""
        return self.volume.read_labels(box.ranges)


def parts_of(dataset: Dataset, study: Path, split: Split) -> list[Part]:
    """Return the parts of the dataset's volumes that belong to `split`.

    Raises SpecError where there is none.
    """
    found = []
    for record in dataset.volumes:
        if (slices := record.slices(split)) is not None:
            _, y, x = record.shape_zyx
            region = Box(start_zyx=(slices[0], 0, 0), stop_zyx=(slices[1], y, x))
            found.append(Part(volume=open_volume(record, study), region=region))
    if not found:
        raise SpecError(f"no volume has slices for {split}; give one of them some")
    return found
