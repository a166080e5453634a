"""Arrays that lie in a file as they lie in memory."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Mapped"]


class Mapped:
    """A mapped array of which boxes are read.

    It is mapped anew for each box, so that the pages of a large file do not pile up in memory.
    """

    def __init__(self, path: Path, array: np.memmap[Any, Any]) -> None:
        self._path, self._offset = path, array.offset
        self._order: Any = "C" if array.flags.c_contiguous else "F"
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, box: Any) -> NDArray[Any]:
        array = np.memmap(
            self._path, self.dtype, "r", self._offset, shape=self.shape, order=self._order
        )
        return np.array(array[box])
