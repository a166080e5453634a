"""From labels as users keep them to class numbers, and what of them is annotated.

Axes: Z Y X voxels, C colours.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emsearch.errors import SpecError
from emsearch.records.order import ImportOrder
from emsearch.records.sections import BoxRange
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
    """Value of voxels that are not annotated; with a palette their place in it."""
    annotated: tuple[BoxRange, ...] = ()
    """Boxes outside of which nothing is annotated; none: everything is."""
    palette: tuple[tuple[int, ...], ...] = ()
    """Colour (3 numbers) or grey value (1 number) of each class; none: values are class numbers."""

    def __post_init__(self) -> None:
        if not 2 <= self.classes <= IGNORED:
            raise SpecError(f"{self.classes} classes; there may be 2 to {IGNORED}")
        if self.palette and len(self.palette) < self.classes:
            raise SpecError(
                f"dataset.palette has {len(self.palette)} entries for {self.classes} classes; "
                "give one for each class"
            )
        if len({len(colour) for colour in self.palette}) > 1:
            raise SpecError("dataset.palette mixes colours and grey values; give one kind")

    @classmethod
    def of(cls, order: ImportOrder) -> "LabelReading":
        """Return how the labels of an import order are read. Raises SpecError."""
        return cls(
            classes=len(order.classes),
            ignore_label=order.ignore_label,
            annotated=order.annotated,
            palette=order.palette,
        )

    def check_kind(self, stack: Stack) -> None:
        """Raise SpecError where the values of `stack` can be no labels, whatever they are."""
        if stack.dtype.kind not in "uib":
            raise SpecError(f"labels are {stack.dtype}; save them as integers, such as uint8")
        if bool(stack.colours) != self._is_coloured:
            raise SpecError(
                f"labels have {stack.colours} colours; give the colour of each class in "
                "dataset.palette, or save class numbers"
                if stack.colours
                else "labels have no colours, but dataset.palette does; leave it out"
            )
        for box in self.annotated:
            if any(end > size for (_, end), size in zip(box, stack.shape_zyx, strict=True)):
                raise SpecError(
                    f"the annotated box {box} reaches beyond the volume of {stack.shape_zyx}; "
                    "give a box inside it"
                )

    def read(self, stack: Stack, box: Box) -> Classes:
        """Return the classes in a box, uint8 ZYX, `IGNORED` where nothing is annotated.

        Raises SpecError that names a value which is no class.
        """
        values = stack.read_box(box)
        if self.palette:
            values = self._numbers_of_colours(values)
        return self._classes(values, self._annotated_part(box))

    @property
    def _is_coloured(self) -> bool:
        return any(len(colour) > 1 for colour in self.palette)

    def _classes(self, values: NDArray[Any], annotated: NDArray[np.bool_] | None) -> Classes:
        counts = np.ones(values.shape, np.bool_) if annotated is None else annotated
        if self.ignore_label is not None:
            counts &= values != self.ignore_label
        counted = values[counts]
        if counted.size:
            low, high = int(counted.min()), int(counted.max())
            if low < 0 or high >= self.classes:
                raise SpecError(
                    f"holds the value {low if low < 0 else high}, but there are "
                    f"{self.classes} classes (0 to {self.classes - 1}); name the missing ones in "
                    "dataset.classes, or give dataset.ignore_label"
                )
        numbers: Classes = np.where(counts, values, IGNORED).astype(np.uint8)
        return numbers

    def _annotated_part(self, box: Box) -> NDArray[np.bool_] | None:
        """Return which voxels of a box lie in an annotated one, None where all do."""
        if not self.annotated:
            return None
        part = np.zeros([side.stop - side.start for side in box], np.bool_)
        for ranges in self.annotated:
            overlap = tuple(
                slice(max(first - side.start, 0), max(end - side.start, 0))
                for (first, end), side in zip(ranges, box, strict=True)
            )
            part[overlap] = True
        return part

    def _numbers_of_colours(self, values: NDArray[Any]) -> NDArray[np.int64]:
        """Return the place in the palette of each voxel's colour. Raises SpecError."""
        channels = values[..., :3] if self._is_coloured else values[..., None]
        codes = _packed(channels)
        palette = _packed(np.array(self.palette))
        order = np.argsort(palette)
        place = np.searchsorted(palette[order], codes).clip(max=len(palette) - 1)
        numbers: NDArray[np.int64] = order[place]
        wrong = palette[numbers] != codes
        if wrong.any():
            colour = channels[wrong][0].tolist()
            raise SpecError(
                f"holds the {'colour' if self._is_coloured else 'value'} "
                f"{colour if self._is_coloured else colour[0]}, which dataset.palette lacks; "
                "add it, or clean the labels"
            )
        return numbers


def _packed(channels: NDArray[Any]) -> NDArray[np.int64]:
    """Return one number for each colour along the last axis."""
    packed = np.zeros(channels.shape[:-1], np.int64)
    for channel in range(channels.shape[-1]):
        packed = (packed << 16) + channels[..., channel]
    return packed
