"""TIFF stacks: plain, ImageJ and OME, compressed or not, page by page."""

import weakref
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from tifffile import TiffFile, TiffFileError, xml2dict

from emsearch.errors import SpecError
from emsearch.volumes.stack import Stack, Voxel, stack_of

__all__ = ["open_tiff"]

# nm in a unit, as ImageJ and OME write it
_NM = {"nm": 1.0, "nanometer": 1.0, "um": 1e3, "µm": 1e3, "μm": 1e3, "micron": 1e3, "\\u00B5m": 1e3}
_NM |= {"microns": 1e3, "micrometer": 1e3, "mm": 1e6, "cm": 1e7, "Å": 0.1, "angstrom": 0.1}


def open_tiff(path: Path, inner: str) -> Stack:
    """Return the first series of a TIFF. Raises SpecError where it is none."""
    if inner:
        raise SpecError(f"{path} is a TIFF: there is no {inner!r} in it")
    try:
        file = TiffFile(path)
    except TiffFileError as error:
        raise SpecError(f"{path} is no TIFF: {error}; save it again, or check the copy") from error
    pages = _Pages(file)
    return stack_of(pages, _voxel_nm(file), colours=pages.colours, is_paged=True)


class _Pages:
    """The first series of a TIFF as an array of which boxes are read; closes it when forgotten."""

    def __init__(self, file: TiffFile) -> None:
        series = file.series[0]
        self.colours = series.shape[-1] if series.axes.endswith("S") else 0
        self._array: Any = zarr.open_array(series.aszarr(level=0), mode="r", zarr_format=2)
        self.shape, self.dtype = self._array.shape, self._array.dtype
        weakref.finalize(self, file.close)

    def __getitem__(self, box: Any) -> NDArray[Any]:
        return np.asarray(self._array[box])


def _voxel_nm(file: TiffFile) -> Voxel | None:
    """Return the voxel size of ImageJ or OME metadata; a plain TIFF's resolution means nothing."""
    if file.is_ome and file.ome_metadata:
        return _ome_voxel_nm(file.ome_metadata)
    if file.is_imagej and file.imagej_metadata:
        return _imagej_voxel_nm(file)
    return None


def _ome_voxel_nm(text: str) -> Voxel | None:
    image = xml2dict(text)["OME"]["Image"]
    pixels = (image[0] if isinstance(image, list) else image)["Pixels"]
    sizes = [
        float(pixels.get(f"PhysicalSize{axis}", "nan"))
        * _NM.get(pixels.get(f"PhysicalSize{axis}Unit", "µm"), float("nan"))
        for axis in "ZYX"
    ]
    return _trusted(sizes)


def _imagej_voxel_nm(file: TiffFile) -> Voxel | None:
    metadata: dict[str, Any] = file.imagej_metadata or {}
    unit = _NM.get(str(metadata.get("unit", "")), float("nan"))
    tags = file.pages.first.tags
    if "XResolution" not in tags or "YResolution" not in tags:
        return None
    wide, high = tags["XResolution"].value, tags["YResolution"].value
    if not (wide[0] and high[0]):
        return None
    spacing = float(metadata.get("spacing", "nan"))
    return _trusted([spacing * unit, unit * high[1] / high[0], unit * wide[1] / wide[0]])


def _trusted(sizes: list[float]) -> Voxel | None:
    deep, high, wide = (round(size, 6) for size in sizes)
    return (deep, high, wide) if all(size > 0 for size in (deep, high, wide)) else None
