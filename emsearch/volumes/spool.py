"""A slab of sections on its way from pages to chunks: in memory where it is small, else on disk."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emsearch.volumes.stack import Box

__all__ = ["Spool"]

_MEMORY_BYTES = 64 << 20


class Spool:
    """Voxels of a slab that are written in one order and read in another."""

    def __init__(self, path: Path, shape_zyx: tuple[int, int, int], dtype: np.dtype[Any]) -> None:
        self._path, self._shape_zyx, self._dtype = path, shape_zyx, dtype
        nbytes = int(np.prod(shape_zyx)) * dtype.itemsize
        self._array = np.empty(shape_zyx, dtype) if nbytes <= _MEMORY_BYTES else None
        if self._array is None:
            with path.open("wb") as file:
                file.truncate(nbytes)

    def write(self, box: Box, values: NDArray[Any]) -> None:
        """Put the voxels of a box in."""
        self._open("r+")[box] = values

    def read(self, box: Box) -> NDArray[Any]:
        """Return the voxels of a box."""
        return np.ascontiguousarray(self._open("r")[box])

    def close(self) -> None:
        """Remove what is on disk."""
        self._path.unlink(missing_ok=True)

    def _open(self, mode: Any) -> NDArray[Any]:
        if self._array is not None:
            return self._array
        # Mapped anew for each box, so that pages do not pile up in memory.
        return np.memmap(self._path, self._dtype, mode, shape=self._shape_zyx)
