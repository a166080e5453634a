"""Whether all sections of a TIFF are there.

What is left of a file that was cut off, tifffile opens as fewer sections; pages that were never
written it reads as zeros. So what a file declares is held against the pages and bytes it holds.
"""

import json
import struct
from collections.abc import Sequence
from math import prod
from typing import Any

from tifffile import TIFF, TiffFile, TiffFrame, TiffPage, TiffPageSeries, xml2dict

from emsearch.errors import SpecError
from emsearch.volumes.damage import REMEDY
from emsearch.volumes.readers.tiff_sections import (
    Part,
    choose_parts,
    count_in,
    pages_of,
    path_of,
)

__all__ = ["lists_all_in_one_page", "require_all_declared", "whole_page", "whole_parts"]

_OR_CUT_OUT = (
    f"{REMEDY}, and where these are all, save it as a new file without the old description"
)
_DESCRIBED = {"imagej", "ome", "shaped"}  # series as long as the first page's description says


def whole_parts(file: TiffFile) -> Sequence[Part]:
    """Return what `choose_parts` does.

    Raises SpecError as it does, where sections are missing or cut off, and where they are stored in
    a way that cannot be read.
    """
    _require_whole_chain(file)
    if not file.series or _without_picture(file):
        raise _no_picture(file)
    parts = choose_parts(file)
    _require_readable(file, parts)
    _require_bytes(file, parts)
    return parts


def lists_all_in_one_page(file: TiffFile) -> bool:
    """Return whether a file has one page, and not the voxels of further sections behind it."""
    if len(file.pages) != 1:
        return False
    if file.is_ome or not file.series:  # of OME the series may lie in other files, all to be opened
        return True
    series = file.series[0]
    if series.dataoffset is None or count_in(series) <= 1:
        return True
    return series.nbytes > _room(file, series.dataoffset)


def whole_page(file: TiffFile) -> TiffPage:
    """Return the first page of a file, whatever its description says of others.

    Raises SpecError where it is cut off, holds no picture, or is stored in a way that cannot be
    read.
    """
    _require_whole_chain(file)
    page = file.pages.first
    if page.dtype is None or not page.size:
        raise _no_picture(file)
    _require_readable(file, [page])
    if fault := _fault(page):
        raise SpecError(f"{path_of(file)} is damaged: its picture {fault}; {REMEDY}")
    return page


def require_all_declared(file: TiffFile, parts: Sequence[Part]) -> None:
    """Raise SpecError where a stack's own description counts more or fewer sections than there are.

    Fewer, where it was made for another stack: tifffile leaves out those beyond it.
    """
    series = parts[0]
    if len(parts) > 1 or not isinstance(series, TiffPageSeries):
        return
    found = count_in(series) + _left_out(file, series)
    declared = _declared(file) or count_in(series)
    if found < declared or found > count_in(series):
        raise SpecError(
            f"{path_of(file)} declares {declared} sections and holds {found}; {_OR_CUT_OUT}"
        )


def _left_out(file: TiffFile, series: TiffPageSeries) -> int:
    """Return how many pages like those of a described series come after it."""
    if series.kind not in _DESCRIBED or series.is_multifile:
        return 0
    rest = [page.aspage() for page in file.pages[count_in(series) :]]
    return sum(page.shape == series.keyframe.shape and not page.is_reduced for page in rest)


def _declared(file: TiffFile) -> int | None:
    """Return how many sections the first page's description counts, None where it counts none."""
    page = file.pages.first
    if file.is_ome and file.ome_metadata:
        return _declared_by_ome(file.ome_metadata, page)
    if file.is_imagej and file.imagej_metadata:
        return _declared_by_imagej(file.imagej_metadata, page)
    if page.is_shaped:
        return _declared_by_shape(page)
    return None


def _declared_by_ome(text: str, page: TiffPage) -> int | None:
    image = xml2dict(text)["OME"].get("Image")
    if not isinstance(image, dict):  # none, since a companion file describes it, or several
        return None
    pixels = image["Pixels"]
    planes: int = prod(int(pixels[f"Size{axis}"]) for axis in "ZCT")
    return planes // max(page.samplesperpixel, 1)


def _declared_by_imagej(metadata: dict[str, Any], page: TiffPage) -> int | None:
    axes = ["frames", "slices"] if page.samplesperpixel > 1 else ["frames", "slices", "channels"]
    planes = prod(int(metadata.get(axis, 1)) for axis in axes)
    return planes if planes > 1 else None  # ImageJ leaves all out for a plain series of pages


def _declared_by_shape(page: TiffPage) -> int | None:
    """Return what tifffile wrote as shape; None where the page was cropped since by others."""
    try:
        shape = json.loads(page.shaped_description or "")["shape"]
    except (ValueError, KeyError):
        return None
    if tuple(shape[-len(page.shape) :]) != page.shape:
        return None
    sections: int = prod(shape[: -len(page.shape)])
    return sections


def _require_whole_chain(file: TiffFile) -> None:
    """Raise SpecError where the chain of pages does not end as it should."""
    if not _breaks_off(file):
        return
    declared, there = _declared(file), len(file.pages)
    of = f" of the {declared} that it declares" if declared and declared > there else ""
    raise SpecError(
        f"{path_of(file)} is damaged or cut short: its list of pages breaks off after {there}{of}; "
        f"{REMEDY}"
    )


def _breaks_off(file: TiffFile) -> bool:
    """Return whether the last page that can be found names a next one, or cannot say."""
    tiff, handle = file.tiff, file.filehandle
    offset = file.pages[len(file.pages) - 1].offset
    if not offset:  # of pages that tifffile works out from the first two
        return False
    handle.seek(offset)
    (tags,) = struct.unpack(tiff.tagnoformat, handle.read(tiff.tagnosize))
    handle.seek(offset + tiff.tagnosize + tags * tiff.tagsize)
    last = handle.read(tiff.offsetsize)
    return len(last) < tiff.offsetsize or struct.unpack(tiff.offsetformat, last) != (0,)


def _without_picture(file: TiffFile) -> int:
    """Return how many pages tifffile left out, having made nothing of them."""
    levels = [level for one in file.series for level in one.levels]
    if any(level.kind != "generic" for level in levels):  # these count on what they declare
        return 0
    pages = [page for page in pages_of(levels) if page is not None and not page.is_subifd]
    return len(file.pages) - len(pages)


def _require_readable(file: TiffFile, parts: Sequence[Part]) -> None:
    """Raise SpecError where pages are stored in a way that cannot be read as sections."""
    if "S" in parts[0].axes[:-1]:
        raise SpecError(
            f"{path_of(file)} has its colours in planes of their own; save each voxel's together, "
            "or grey values"
        )
    for page in (part.keyframe for part in parts if part.keyframe is not None):
        try:
            TIFF.DECOMPRESSORS[page.compression]
            TIFF.UNPREDICTORS[page.predictor]
        except KeyError as error:
            raise SpecError(
                f"{path_of(file)} cannot be read: {error.args[0]}; run: pip install imagecodecs, "
                "or save the file uncompressed or with deflate"
            ) from error


def _require_bytes(file: TiffFile, parts: Sequence[Part]) -> None:
    """Raise SpecError that names the first section of which bytes are missing."""
    first = parts[0]
    pages = pages_of(parts)
    count = len(pages)
    if isinstance(first, TiffPageSeries) and first.dataoffset is not None:
        _require_length(file, first.dataoffset, first)
        pages = [page for page in pages if page is not None]  # the others lie behind the first
    faults = {z: fault for z, page in enumerate(pages) if (fault := _fault(page))}
    if faults:
        z, fault = next(iter(faults.items()))
        more = f", and {len(faults) - 1} more are not whole" if len(faults) > 1 else ""
        remedy = REMEDY if pages[z] is not None else _OR_CUT_OUT
        raise SpecError(f"{path_of(file)}: section {z} of {count} {fault}{more}; {remedy}")


def _require_length(file: TiffFile, offset: int, series: TiffPageSeries) -> None:
    """Raise SpecError where sections that lie one behind the other do not all fit in the file."""
    room = _room(file, offset)
    if room < series.nbytes:
        count = count_in(series)
        raise SpecError(
            f"{path_of(file)} is damaged or cut short: {count * room // series.nbytes} of the "
            f"{count} sections that it declares are there; {_OR_CUT_OUT}"
        )


def _room(file: TiffFile, offset: int) -> int:
    return max(file.filehandle.size - offset, 0)


def _no_picture(file: TiffFile) -> SpecError:
    return SpecError(f"{path_of(file)} is damaged: a page of it holds no picture; {REMEDY}")


def _fault(page: TiffPage | TiffFrame | None) -> str:
    """Return what is wrong with how a page is stored, "" for nothing."""
    if page is None:
        return "is missing"
    if not any(page.databytecounts):
        return "was never written"
    if len(page.dataoffsets) < prod(page.chunked):
        return "lacks strips or tiles"
    ends = map(sum, zip(page.dataoffsets, page.databytecounts, strict=False))
    return "is cut off" if max(ends) > page.parent.filehandle.size else ""
