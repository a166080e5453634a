"""The image to segment: any format, read a box at a time, each section decoded once or so.

Axes: Z Y X voxels in array order.
"""

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emsearch.errors import SpecError
from emsearch.inference.box import Shape
from emsearch.volumes.formats import open_array
from emsearch.volumes.stack import Stack

__all__ = ["Source", "open_source"]

_KEPT_BYTES = 256 << 20  # of decoded sections


class Source:
    """Grey values on disk that look like an array to whoever slices it along z, y, x.

    Of a file of compressed sections the last ones are kept decoded, since neighbouring windows ask
    for the same ones.
    """

    def __init__(self, stack: Stack) -> None:
        self.shape: Shape = stack.shape_zyx
        self.voxel_nm = stack.voxel_nm
        self._stack = stack
        self._sections: OrderedDict[int, NDArray[Any]] = OrderedDict()

    def __getitem__(self, box: tuple[slice, slice, slice]) -> NDArray[Any]:
        if not self._stack.is_paged:
            return self._stack.read_box(box)
        sections = [self._section(z)[box[1:]] for z in range(*box[0].indices(self.shape[0]))]
        return np.stack(sections)

    def _section(self, z: int) -> NDArray[Any]:
        if z in self._sections:
            self._sections.move_to_end(z)
            return self._sections[z]
        section: NDArray[Any] = self._stack.read(z, z + 1)[0]
        self._sections[z] = section
        while len(self._sections) > 1 and len(self._sections) * section.nbytes > _KEPT_BYTES:
            self._sections.popitem(last=False)
        return section


def open_source(path: Path) -> Source:
    """Return the image at `path`. Raises NotFoundError, and SpecError for what is no grey image."""
    stack = open_array(path)
    if stack.colours:
        raise SpecError(f"{path} has {stack.colours} colours a voxel; give a grey image")
    return Source(stack)
