"""What about a volume is no fault and still should be looked at: shifts, rare classes, sizes."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import zarr

from emsearch.records.order import ImportOrder
from emsearch.records.score import Split
from emsearch.volumes.labels import IGNORED, LabelReading
from emsearch.volumes.registration import Shift, label_shift
from emsearch.volumes.stack import Box, Stack, Voxel

__all__ = ["Pair", "doubts"]

_FEW_VX = 100  # a class with fewer training voxels is hardly learned
_CROP_VX = 1024
_LOOKS = 5  # sections that are looked at


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """An image with its labels, both opened."""

    image: Stack
    labels: Stack
    reading: LabelReading
    said_nm: Voxel | None = None
    """Voxel size that the study file gives it."""


def doubts(
    order: ImportOrder, pair: Pair, counts_K: Mapping[Split, Sequence[int]]
) -> Iterator[str]:
    """Yield a line for everything doubtful about a volume whose voxels by class are `counts_K`."""
    yield from _sizes(pair.said_nm, pair.image.voxel_nm, order.voxel_nm)
    yield from _unwritten("image", pair.image)
    yield from _unwritten("labels", pair.labels)
    yield from _shifted(pair)
    for name, count in zip(order.classes, counts_K.get(Split.TRAIN, ()), strict=False):
        if 0 < count < _FEW_VX:
            yield (
                f"only {count} training voxels are {name}: too few to learn it from; "
                "annotate more, or leave the class out"
            )


def _sizes(said: Voxel | None, found: Voxel | None, taken: Voxel) -> Iterator[str]:
    if said is None or found is None:
        return
    if any(abs(a - b) > 0.02 * b for a, b in zip(said, found, strict=True)):
        yield (
            f"the image's metadata says {_list(found)} nm, the study file {_list(said)} nm; "
            f"{_list(taken)} is taken; the volume's own voxel_nm overrides both"
        )


def _unwritten(name: str, stack: Stack) -> Iterator[str]:
    """Yield a line where chunks of a Zarr array are not on disk, which Zarr takes for empty."""
    array = stack.array
    if not isinstance(array, zarr.Array):
        return
    stored = array.shards or array.chunks
    count = prod(-(-length // size) for length, size in zip(array.shape, stored, strict=True))
    # Zarr counts the chunks that a shard has room for, also those beyond the volume's edge
    room = prod(size // inner for size, inner in zip(stored, array.chunks, strict=True))
    absent = count - array.nchunks_initialized // room
    if absent:
        yield (
            f"{absent} of {count} {'shards' if array.shards else 'chunks'} of the {name} are not "
            f"on disk and count as {array.fill_value}: right where nothing was ever written, else "
            "copy them again"
        )


def _list(size_nm: Voxel) -> str:
    return f"[{', '.join(f'{size:g}' for size in size_nm)}]"


def _shifted(pair: Pair) -> Iterator[str]:
    depth = pair.image.shape_zyx[0]
    sections = sorted({round(place) for place in np.linspace(0, depth - 1, _LOOKS)})
    shifts = [shift for z in sections if (shift := _shift_in(pair, z)) is not None]
    doubtful = Counter((shift.y_vx, shift.x_vx) for shift in shifts if shift.is_doubtful)
    if sum(doubtful.values()) > len(shifts) / 2:
        (y, x), _ = doubtful.most_common(1)[0]
        yield (
            f"the labels seem to be shifted against the image: they fit better when moved by "
            f"{y} voxels along y and {x} along x; look at both together"
        )


def _shift_in(pair: Pair, z: int) -> Shift | None:
    """Return how the labels of a section lie, None where it is not fully annotated."""
    _, height, width = pair.image.shape_zyx
    top, left = max(height - _CROP_VX, 0) // 2, max(width - _CROP_VX, 0) // 2
    rows = slice(top, min(top + _CROP_VX, height))
    box: Box = (slice(z, z + 1), rows, slice(left, min(left + _CROP_VX, width)))
    labels_YX = pair.reading.read(pair.labels, box)[0]
    if (labels_YX == IGNORED).any():
        return None
    return label_shift(pair.image.read_box(box)[0], labels_YX)
