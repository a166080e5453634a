"""Objects of a class in a segmentation of any size, block by block.

*Components*: voxels that touch by a face. Blocks are labelled one by one, and labels that meet at a
face of two blocks are joined. *Watershed*: objects that touch are cut at their necks. A seed is a
voxel farther from the background than any near it; it is numbered by its place in the volume, so
that two blocks that see it in their halo agree. Of an object wider than the halo a block may see no
seed but where its window ends; such pieces are joined to what they touch.

Memory is bounded by a block and by the number of objects. Axes: Z Y X voxels in array order.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import zarr
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import watershed

from emsearch.errors import SpecError
from emsearch.inference.box import Box, Shape, split_box
from emsearch.inference.labelled import Labelled, open_labels
from emsearch.inference.pyramid import create_pyramid, shrink

__all__ = ["Wish", "find_instances"]

_BLOCK: Shape = (64, 512, 512)
Progress = Callable[[int, int], None]
Labels = NDArray[np.uint32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What counts as an object."""

    classes: tuple[str, ...]
    min_voxels: int = 1
    """Smaller ones are left out."""
    max_voxels: int | None = None
    """Larger ones are left out."""
    is_watershed: bool = False
    """Cut objects that touch at their necks."""
    apart_nm: float = 100.0
    """Watershed: seeds nearer to each other are one."""
    halo_vx: int = 48
    """Watershed: context along y and x, and as many nm along z."""


def find_instances(
    labels: Path, out: Path, wish: Wish, progress: Progress, block_zyx: Shape = _BLOCK
) -> dict[str, int]:
    """Write the objects of each class to `out`, an OME-Zarr with a group a class; return how many.

    Objects are numbered from 1 in array order of their first voxels, as blocks go. Raises
    NotFoundError and SpecError for labels or classes that there are not, or where `out` exists, and
    StateError for labels that are not finished.
    """
    found = open_labels(labels)
    found.require_finished()
    if out.exists():
        raise SpecError(f"{out} exists; choose another name, or remove it")
    numbers = [found.number_of(name) for name in wish.classes]
    scratch = out.with_name(f".{out.name}.{uuid4().hex}")
    blocks = list(split_box(Box.whole(found.shape), block_zyx))
    counts = {}
    try:
        zarr.create_group(scratch, zarr_format=3)
        for turn, (name, number) in enumerate(zip(wish.classes, numbers, strict=True)):
            group = create_pyramid(
                scratch / name, found.shape, found.voxel_nm, (name,), instances=True
            )
            work = _Work(found, number, group["0"], wish)
            for place, block in enumerate(blocks):
                work.label(block)
                progress(2 * len(blocks) * turn + place + 1, 2 * len(blocks) * len(numbers))
            counts[name] = work.settle(blocks)
            _coarsen(group)
            progress(2 * len(blocks) * (turn + 1), 2 * len(blocks) * len(numbers))
        scratch.rename(out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return counts


class _Work:
    """Objects of one class that are being found: first numbered block by block, then joined."""

    def __init__(self, labels: Labelled, number: int, array: Any, wish: Wish) -> None:
        self._labels = labels
        self._number = number
        self._array = array
        self._wish = wish
        self._joined = _Joined()
        self._seeds: dict[int, int] = {}
        self._loose: set[int] = set()
        """Provisional numbers of seeds that are only where a window ends."""

    def label(self, block: Box) -> None:
        """Number the objects of a block provisionally, and join them to those before it."""
        if self._wish.is_watershed:
            found_ZYX = self._flood(block)
        else:
            mask_ZYX = self._labels.read(block) == self._number
            found_ZYX, count = ndimage.label(mask_ZYX, output=np.uint32)
            found_ZYX[mask_ZYX] += self._joined.grow(count) - 1
        for axis in range(3):
            if block.start_zyx[axis]:
                self._join(found_ZYX, block, axis)
        self._array[block.slices()] = found_ZYX

    def settle(self, blocks: Sequence[Box]) -> int:
        """Give joined pieces one number each, without those of a wrong size; return how many."""
        root_P = self._joined.roots()
        voxels_P = np.zeros(len(root_P), np.int64)
        for block in blocks:
            present, counts = np.unique(self._array[block.slices()], return_counts=True)
            np.add.at(voxels_P, root_P[present], counts)
        is_object = np.arange(len(root_P)) == root_P
        is_object &= voxels_P >= max(self._wish.min_voxels, 1)
        if self._wish.max_voxels is not None:
            is_object &= voxels_P <= self._wish.max_voxels
        is_object[0] = False
        final_P = np.where(is_object, np.cumsum(is_object), 0).astype(np.uint32)[root_P]
        for block in blocks:
            self._array[block.slices()] = final_P[self._array[block.slices()]]
        return int(is_object.sum())

    def _join(self, found_ZYX: Labels, block: Box, axis: int) -> None:
        """Join objects that touch across the block's first face along an axis."""
        before = list(block.slices())
        before[axis] = slice(block.start_zyx[axis] - 1, block.start_zyx[axis])
        theirs = np.asarray(self._array[tuple(before)])
        ours = np.take(found_ZYX, [0], axis)
        meet = (ours > 0) & (theirs > 0) & (ours != theirs)
        for one, other in np.unique(np.stack([ours[meet], theirs[meet]]), axis=1).T.tolist():
            if not self._wish.is_watershed or self._loose & {one, other}:
                self._joined.join(one, other)

    def _flood(self, block: Box) -> Labels:
        """Return the provisional numbers of a block's voxels, each that of the seed it flows to."""
        voxel_nm = np.array(self._labels.voxel_nm)
        halo = np.ceil(self._wish.halo_vx * voxel_nm[1] / voxel_nm).astype(int)
        whole = Box.whole(self._labels.shape)
        window = block.grown((int(halo[0]), int(halo[1]), int(halo[2]))).within(whole)
        mask_ZYX = self._labels.read(window) == self._number
        inside = block.slices(window.start_zyx)
        if not mask_ZYX[inside].any():
            return np.zeros(block.shape_zyx, np.uint32)
        depth_ZYX = ndimage.distance_transform_edt(mask_ZYX, voxel_nm).astype(np.float32)
        reach = [2 * int(self._wish.apart_nm / 2 / size) + 1 for size in voxel_nm]
        is_seed = mask_ZYX & (ndimage.maximum_filter(depth_ZYX, reach) == depth_ZYX)
        marks_ZYX, count = ndimage.label(is_seed, np.ones((3, 3, 3)))
        number_S = np.array([0, *self._numbers(marks_ZYX, count, window)], np.uint32)
        flood: Any = watershed
        flown_ZYX = flood(-depth_ZYX, marks_ZYX, mask=mask_ZYX)
        numbered: Labels = number_S[flown_ZYX[inside]]
        return numbered

    def _numbers(self, marks_ZYX: NDArray[Any], count: int, window: Box) -> Iterator[int]:
        """Yield the provisional number of each seed of a window."""
        _, firsts = np.unique(marks_ZYX, return_index=True)
        firsts = firsts[-count:]
        places = np.stack(np.unravel_index(firsts, marks_ZYX.shape), 1) + window.start_zyx
        keys = np.ravel_multi_index(tuple(places.T), self._labels.shape)
        for key, place in zip(keys.tolist(), places, strict=True):
            if key not in self._seeds:
                self._seeds[key] = self._joined.grow(1)
            if _is_at_end(place, window, self._labels.shape):
                self._loose.add(self._seeds[key])
            yield self._seeds[key]


class _Joined:
    """Numbers from 1, some of which are one and the same."""

    def __init__(self) -> None:
        self._parent = [0]

    def grow(self, count: int) -> int:
        """Add numbers and return the first of them."""
        first = len(self._parent)
        self._parent.extend(range(first, first + count))
        return first

    def join(self, one: int, other: int) -> None:
        """Make two numbers one and the same."""
        low, high = sorted((self._root(one), self._root(other)))
        self._parent[high] = low

    def roots(self) -> NDArray[np.int64]:
        """Return the least number that each is the same as."""
        return np.array([self._root(number) for number in range(len(self._parent))])

    def _root(self, number: int) -> int:
        while self._parent[number] != number:
            self._parent[number] = self._parent[self._parent[number]]
            number = self._parent[number]
        return number


def _is_at_end(place: NDArray[np.integer], window: Box, shape: Shape) -> bool:
    """Return whether a voxel lies where a window ends and the volume does not."""
    return any(
        (at == start > 0) or (at == stop - 1 and stop < length)
        for at, start, stop, length in zip(
            place, window.start_zyx, window.stop_zyx, shape, strict=True
        )
    )


def _coarsen(group: Any) -> None:
    levels = [group[name] for name in sorted(group.array_keys(), key=int)]
    for finer, coarser in pairwise(levels):
        shrink(finer, coarser)
