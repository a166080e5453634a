"""Counts and sums of a volume by section, gathered box by box.

Mean, spread and class fractions of any range of sections follow from them.
Axes: K class, Z section.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emsearch.errors import SpecError
from emsearch.volumes.labels import IGNORED
from emsearch.volumes.stack import Box

__all__ = ["Tally"]


class Tally:
    """What is known of a volume's sections after some boxes of it were seen."""

    def __init__(self, depth: int, classes: int) -> None:
        self.sum_Z = np.zeros(depth)
        self.squares_Z = np.zeros(depth)
        self.voxels_Z = np.zeros(depth, np.int64)
        self.low_Z = np.full(depth, np.inf)
        self.high_Z = np.full(depth, -np.inf)
        self.counts_ZK = np.zeros((depth, classes), np.int64)

    def add(self, box: Box, image: NDArray[Any], labels: NDArray[np.uint8]) -> None:
        """Count a box in. Raises SpecError where the image holds a value that is not finite."""
        for z, grey, classes in zip(range(box[0].start, box[0].stop), image, labels, strict=True):
            wide = grey.astype(np.float64)
            self.sum_Z[z] += wide.sum()
            self.squares_Z[z] += np.square(wide).sum()
            if not np.isfinite(self.sum_Z[z]):
                raise SpecError(
                    f"section {z} holds a value that is not finite (NaN or infinity); "
                    "replace such values, for example by the mean of their neighbours"
                )
            self.voxels_Z[z] += grey.size
            self.low_Z[z] = min(self.low_Z[z], wide.min())
            self.high_Z[z] = max(self.high_Z[z], wide.max())
            counts = np.bincount(classes.reshape(-1), minlength=IGNORED + 1)
            self.counts_ZK[z] += counts[: self.counts_ZK.shape[1]]

    def moments(self, first: int, end: int) -> tuple[float, float]:
        """Return mean and standard deviation of the grey values of some sections."""
        where = slice(first, end)
        voxels = max(int(self.voxels_Z[where].sum()), 1)
        mean = float(self.sum_Z[where].sum()) / voxels
        variance = float(self.squares_Z[where].sum()) / voxels - mean**2
        return mean, float(np.sqrt(max(variance, 0.0)))

    def counts_K(self, first: int, end: int) -> tuple[int, ...]:
        """Return the annotated voxels of each class in some sections."""
        return tuple(int(count) for count in self.counts_ZK[first:end].sum(axis=0))

    def to_dict(self, first: int, end: int) -> dict[str, Any]:
        """Return JSON values of some sections, for `take`."""
        return {name: values[first:end].tolist() for name, values in vars(self).items()}

    def take(self, first: int, values: Mapping[str, Sequence[Any]]) -> None:
        """Put back what `to_dict` gave of sections from `first` on."""
        for name, rows in values.items():
            getattr(self, name)[first : first + len(rows)] = rows
