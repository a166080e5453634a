"""TIFF stacks: plain, ImageJ and OME, compressed or not, page by page."""

import weakref
from collections.abc import Sequence
from contextlib import ExitStack
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from tifffile import TiffFile, TiffFileError, TiffFrame, TiffPage, TiffPageSeries, xml2dict

from emsearch.errors import SpecError
from emsearch.volumes.readers.tiff_log import listening, require_vital_tags
from emsearch.volumes.readers.tiff_plain import Plain, plain_offsets
from emsearch.volumes.readers.tiff_sections import Part, count_of, pages_of, path_of
from emsearch.volumes.readers.tiff_whole import (
    lists_all_in_one_page,
    require_all_declared,
    whole_page,
    whole_parts,
)
from emsearch.volumes.stack import Stack, Voxel, stack_of

__all__ = ["open_tiff", "read_page"]

# nm in a unit, as ImageJ and OME write it
_NM = {"nm": 1.0, "nanometer": 1.0, "um": 1e3, "µm": 1e3, "μm": 1e3, "micron": 1e3, "\\u00B5m": 1e3}
_NM |= {"microns": 1e3, "micrometer": 1e3, "mm": 1e6, "cm": 1e7, "Å": 0.1, "angstrom": 0.1}


def open_tiff(path: Path, inner: str) -> Stack:
    """Return the sections of a TIFF, whether saved as one stack or page by page.

    Raises SpecError where it is none, where sections are missing, and where it holds several stacks
    or pictures that differ.
    """
    if inner:
        raise SpecError(f"{path} is a TIFF: there is no {inner!r} in it")
    with listening() as heard, ExitStack() as until:
        file = until.enter_context(_open(path))
        parts = whole_parts(file)
        require_vital_tags(path, heard)
        require_all_declared(file, parts)
        array = _array_of(parts)
        stack = stack_of(
            array,
            _voxel_nm(file),
            colours=array.colours,
            is_paged=True,
            is_divided=all(map(_is_divided, parts)),
        )
        weakref.finalize(array, until.pop_all().close)
    return stack


def read_page(path: Path) -> NDArray[Any]:
    """Return the one picture of a TIFF. Raises SpecError where it is none, or holds several.

    A slice may keep the description of the stack that it was cut from, or belongs to: of a file of
    one page that is not asked.
    """
    with listening() as heard, _open(path) as file:
        page = whole_page(file) if lists_all_in_one_page(file) else _only_page(file)
        require_vital_tags(path, heard)
        picture: NDArray[Any] = page.asarray()
    return picture


def _only_page(file: TiffFile) -> TiffPage | TiffFrame:
    """Return the page that is a section, beside smaller copies of it. Raises SpecError."""
    parts = whole_parts(file)
    if count_of(parts) > 1:
        raise SpecError(
            f"{path_of(file)} holds {count_of(parts)} sections; give one file for each section, or "
            "one file with all of them"
        )
    (page,) = pages_of(parts)
    assert page is not None  # noqa: S101 - whole parts lack none
    return page


def _open(path: Path) -> TiffFile:
    try:
        return TiffFile(path)
    except TiffFileError as error:
        raise SpecError(f"{path} is no TIFF: {error}; save it again, or check the copy") from error


class _Stack:
    """A series of pages as an array of which boxes are read."""

    def __init__(self, part: Part) -> None:
        self.colours = _colours(part)
        self._array = _view_of(part)
        self.shape, self.dtype = self._array.shape, self._array.dtype

    def __getitem__(self, box: Any) -> NDArray[Any]:
        return np.asarray(self._array[box])


class _Pages:
    """Pages that were saved one by one as an array of which boxes are read."""

    def __init__(self, pages: Sequence[Part]) -> None:
        self._pages = pages
        first = pages[0]
        self.colours = _colours(first)
        self.shape, self.dtype = (len(pages), *first.shape), first.dtype

    def __getitem__(self, box: tuple[slice, slice, slice]) -> NDArray[Any]:
        return np.stack([_view_of(page)[box[1:]] for page in self._pages[box[0]]])


def _array_of(parts: Sequence[Part]) -> _Stack | _Pages:
    return _Stack(parts[0]) if len(parts) == 1 else _Pages(parts)


def _is_divided(part: Part) -> bool:
    """Return whether a section is uncompressed, or consists of several tiles or strips."""
    page = part.keyframe
    has_parts = page is not None and prod(page.chunks) < prod(page.shape)
    return has_parts or len(plain_offsets(part)) == count_of([part])


def _colours(part: Part) -> int:
    return int(part.shape[-1]) if part.axes.endswith("S") else 0


def _view_of(part: Part) -> Any:
    """Return a part as an array of which boxes are read; with Zarr, a strip or tile is decoded."""
    if len(offsets := plain_offsets(part)) == count_of([part]):
        return Plain(part, offsets, _colours(part))
    store = part.aszarr(level=0) if isinstance(part, TiffPageSeries) else part.aszarr()
    return zarr.open_array(store, mode="r", zarr_format=2)


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
