"""The image to segment: any format, read a box at a time, each section decoded once or so.

Axes: Z Y X voxels in array order.
"""

from collections import OrderedDict
from collections.abc import Iterator
from hashlib import sha256
from itertools import product
from math import prod
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from emsearch.errors import SpecError, StateError
from emsearch.inference.box import Box, Shape
from emsearch.volumes.formats import open_array
from emsearch.volumes.stack import Stack

__all__ = ["Held", "Source", "open_source"]

_KEPT_BYTES = 128 << 20  # of decoded sections
_SAMPLED: Shape = (1, 32, 32)  # voxels of a box whose values tell one image from another
_SAMPLES = 3  # such boxes along each axis: three sections of a file of whole sections
_Slices = tuple[slice, slice, slice]


class Source:
    """Grey values on disk that look like an array to whoever slices it along z, y, x.

    Of a file of compressed sections the last ones are kept decoded, since neighbouring windows ask
    for the same ones. Of sections too large for that, only the tiles, strips or rows that a box
    touches are read; one without such parts, as any PNG, is read whole and kept, whatever its size.
    Unless told otherwise, a chunk that a Zarr array lacks is an error: Zarr itself takes it for
    empty, and a volume that was copied in part would be segmented as it is.
    """

    def __init__(self, stack: Stack, *, allow_missing: bool = True) -> None:
        self.shape: Shape = stack.shape_zyx
        self.voxel_nm = stack.voxel_nm
        self.dtype = stack.dtype
        self._stack = stack
        self._reading = Lock()
        self._sections: OrderedDict[int, NDArray[Any]] = OrderedDict()
        section_bytes = prod(self.shape[1:]) * stack.dtype.itemsize
        self._by_parts = stack.is_divided and section_bytes > _KEPT_BYTES
        self._chunks = None if allow_missing else _chunks_of(stack.array)

    def __getitem__(self, box: _Slices) -> NDArray[Any]:
        if self._chunks is not None:
            self._chunks.require(box)
        if not self._stack.is_paged:
            return self._stack.read_box(box)
        with self._reading:  # windows and the next block are read in threads of their own
            return self._stack.read_box(box) if self._by_parts else self._from_sections(box)

    def digest(self) -> str:
        """Return what tells the image from others: of its form, and of the values of a few boxes.

        It costs the same for any size. Raises StateError that names a box which cannot be read: of
        an image that is known in part alone nobody can say whether it is the same one.
        """
        content = sha256(f"{self.shape} {self._stack.dtype.str} {self.voxel_nm}".encode())
        for box in _samples(self.shape):
            try:
                content.update(self[box.slices()].tobytes())
            except (OSError, ValueError, RuntimeError) as error:
                raise StateError(
                    f"voxels z, y, x {box.start_zyx} to {box.stop_zyx} of the volume cannot be "
                    f"read: {error}; mend what is wrong and run again"
                ) from error
        return content.hexdigest()

    def _from_sections(self, box: _Slices) -> NDArray[Any]:
        ranges = [
            range(*part.indices(length)) for part, length in zip(box, self.shape, strict=True)
        ]
        voxels: NDArray[Any] = np.empty([len(part) for part in ranges], self._stack.dtype)
        for place, z in enumerate(ranges[0]):  # copied: a view would keep its whole section
            voxels[place] = self._section(z)[box[1:]]
        return voxels

    def _section(self, z: int) -> NDArray[Any]:
        if z in self._sections:
            self._sections.move_to_end(z)
            return self._sections[z]
        section: NDArray[Any] = self._stack.read(z, z + 1)[0]
        self._sections[z] = section
        while len(self._sections) > 1 and len(self._sections) * section.nbytes > _KEPT_BYTES:
            self._sections.popitem(last=False)
        return section


class Held:
    """A box of a volume in memory, which looks like the whole volume to whoever slices it.

    Neighbouring windows share most of what they read, and sections of one chunk all of it: so it is
    decoded once a block. What is asked for beyond the box is read from the volume.
    """

    def __init__(self, volume: Any, box: Box) -> None:
        self.shape: Shape = volume.shape
        self._volume = volume
        self._box = box
        self._values: NDArray[Any] = np.asarray(volume[box.slices()])

    def __getitem__(self, slices: _Slices) -> NDArray[Any]:
        ranges = zip(slices, self._box.start_zyx, self._box.stop_zyx, strict=True)
        if any(part.start < start or part.stop > stop for part, start, stop in ranges):
            return np.asarray(self._volume[slices])
        z, y, x = (
            slice(part.start - start, part.stop - start)
            for part, start in zip(slices, self._box.start_zyx, strict=True)
        )
        return self._values[z, y, x]


def open_source(path: Path, *, allow_missing: bool = True) -> Source:
    """Return the image at `path`. Raises NotFoundError, and SpecError for what is no grey image."""
    stack = open_array(path)
    if stack.colours:
        raise SpecError(f"{path} has {stack.colours} colours a voxel; give a grey image")
    return Source(stack, allow_missing=allow_missing)


def _samples(shape: Shape) -> Iterator[Box]:
    """Yield small boxes spread evenly over a volume, the same ones each time."""
    starts = [
        sorted(
            {max(length - size, 0) * (2 * turn + 1) // (2 * _SAMPLES) for turn in range(_SAMPLES)}
        )
        for length, size in zip(shape, _SAMPLED, strict=True)
    ]
    deep, high, wide = _SAMPLED
    for z, y, x in product(*starts):
        box = Box(start_zyx=(z, y, x), stop_zyx=(z + deep, y + high, x + wide))
        yield box.within(Box.whole(shape))


class _Chunks:
    """The chunk files of a Zarr array on disk."""

    def __init__(self, array: Any, root: Path) -> None:
        self._array = array
        self._root = root
        self._sizes = tuple(array.shards or array.chunks)

    def require(self, box: _Slices) -> None:
        """Raise SpecError where a chunk of the box is not there."""
        spare = len(self._sizes) - 3
        sizes = (1, *self._sizes) if spare < 0 else self._sizes[spare:]
        starts = [range(b.start // n, -(-b.stop // n)) for b, n in zip(box, sizes, strict=True)]
        for place in product(*starts):
            key = place[1:] if spare < 0 else (0,) * spare + place
            name = self._array.metadata.encode_chunk_key(key)
            if not (self._root / name).is_file():
                raise SpecError(
                    f"chunk {name} of the volume is missing; copy it, or say "
                    "--allow-missing where chunks without tissue were never written"
                )


def _chunks_of(array: Any) -> _Chunks | None:
    root = getattr(array.store, "root", None) if isinstance(array, zarr.Array) else None
    return None if root is None else _Chunks(array, Path(root) / array.path)
