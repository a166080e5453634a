"""From labels as users keep them to class numbers, and what of them is annotated.

Axes: Z Y X voxels, C colours.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emsearch.errors import SpecError
from emsearch.volumes.stack import Box, Stack

__all__ = ["IGNORED", "LabelReading"]

IGNORED = 255
"""On disk: a voxel that is neither trained on nor scored."""

Classes = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelReading:
    """How the values of a label volume become class numbers."""

    classes: int
    """Number of classes, 2 to 255."""
    ignore_label: int | None = None
    """Value of voxels that are not annotated; in a colour-coded volume the class number."""

    def __post_init__(self) -> None:
        if not 2 <= self.classes <= IGNORED:
            raise SpecError(f"{self.classes} classes; there may be 2 to {IGNORED}")

    def check_kind(self, stack: Stack) -> None:
        """Raise SpecError where the values of `stack` can be no labels, whatever they are."""
        if stack.colours:
            raise SpecError(
                f"labels have {stack.colours} colours; save class numbers, one for each voxel"
            )
        if stack.dtype.kind not in "uib":
            raise SpecError(f"labels are {stack.dtype}; save them as integers, such as uint8")

    def read(self, stack: Stack, box: Box) -> Classes:
        """Return the classes in a box, uint8 ZYX, `IGNORED` where nothing is annotated.

        Raises SpecError that names a value which is no class.
        """
        return self._numbered(stack.read_box(box))

    def _numbered(self, values: NDArray[Any]) -> Classes:
        ignored = None if self.ignore_label is None else values == self.ignore_label
        counted = values if ignored is None else values[~ignored]
        if counted.size:
            low, high = int(counted.min()), int(counted.max())
            if low < 0 or high >= self.classes:
                raise SpecError(
                    f"holds the value {low if low < 0 else high}, but there are "
                    f"{self.classes} classes (0 to {self.classes - 1}); name the missing ones in "
                    "dataset.classes, or give dataset.ignore_label"
                )
        numbers = values.astype(np.uint8)
        if ignored is not None:
            numbers[ignored] = IGNORED
        return numbers
