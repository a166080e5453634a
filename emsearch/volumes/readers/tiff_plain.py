"""Uncompressed sections lie in a TIFF as in memory: any rows of them are read alone."""

from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tifffile import TiffPageSeries

from emsearch.volumes.readers.tiff_sections import Part, count_in, pages_of

__all__ = ["Plain", "plain_offsets"]


def plain_offsets(part: Part) -> list[int]:
    """Return the byte at which each section begins; none where they are not plain bytes."""
    page = part.keyframe
    if page is None or not page.is_final or page.axes not in {"YX", "YXS"}:
        return []
    if isinstance(part, TiffPageSeries):
        # a description may count columns of length one among a page's axes
        if part.is_multifile or part.shape[-len(page.shape) :] != page.shape:
            return []
        if part.dataoffset is not None:  # also of a file that lists its first page alone
            return [part.dataoffset + z * page.nbytes for z in range(count_in(part))]
    pages = pages_of([part])
    return [page.dataoffsets[0] for page in pages if page is not None and page.is_final]


class Plain:
    """Sections of plain bytes, as an array of which boxes are read.

    They are read and not mapped: a disk that fails is an error then, and not the process's end.
    """

    def __init__(self, part: Part, offsets: list[int], colours: int) -> None:
        file, dtype = part.parent, part.dtype
        assert file is not None and dtype is not None  # noqa: PT018, S101 - as of any picture
        self._path = Path(file.filehandle.path)
        self.shape, self.dtype = part.shape, dtype.newbyteorder("=")
        self._stored = dtype.newbyteorder(file.byteorder)
        self._spare = len(self.shape) - 2 - bool(colours)  # axes before rows and columns
        self._offsets = np.array(offsets, np.int64).reshape(self.shape[: self._spare])

    def __getitem__(self, box: Any) -> NDArray[Any]:
        offsets = np.asarray(self._offsets[box[: self._spare]])
        height, width, *colours = self.shape[self._spare :]
        first, end, _ = box[-2].indices(height)
        columns = range(*box[-1].indices(width))
        found = np.empty((offsets.size, end - first, len(columns), *colours), self.dtype)
        for place, offset in enumerate(offsets.flat):  # copied: a view would keep whole rows
            found[place] = self._rows(int(offset), first, end)[:, box[-1]]
        return found.reshape(*offsets.shape, *found.shape[1:])

    def _rows(self, offset: int, first: int, end: int) -> NDArray[Any]:
        """Return whole rows of the section that begins at `offset`."""
        row = self.shape[self._spare + 1 :]
        row_bytes = prod(row) * self._stored.itemsize
        with self._path.open("rb") as file:
            file.seek(offset + first * row_bytes)
            content = file.read((end - first) * row_bytes)
        return np.frombuffer(content, self._stored).reshape(end - first, *row)
