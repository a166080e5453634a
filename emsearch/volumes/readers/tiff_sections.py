"""Which pages of a TIFF are its sections, and whether all of them are there.

What is left of a file that was cut off, tifffile opens as fewer sections; pages that were never
written it reads as zeros. So what a file declares is held against the pages and bytes it holds.
"""

import json
import struct
from collections.abc import Iterable, Sequence
from math import prod
from typing import Any

from tifffile import TIFF, TiffFile, TiffFrame, TiffPage, TiffPageSeries, xml2dict

from emsearch.errors import SpecError
from emsearch.volumes.damage import REMEDY

__all__ = ["Part", "count_of", "pages_of", "require_all_declared", "sections_of"]

Part = TiffPageSeries | TiffPage | TiffFrame
"""One section or several; has shape, dtype and axes, and gives its voxels as a Zarr store."""

_DESCRIBED = {"imagej", "ome", "shaped"}  # series as long as the first page's description says


def sections_of(file: TiffFile) -> Sequence[Part]:
    """Return the parts of full resolution: one of all sections, or one for each section in order.

    Raises SpecError where some are missing or cut off, where it is unclear which ones are meant,
    and where they are stored in a way that cannot be read.
    """
    _require_whole_chain(file)
    if not file.series or _without_picture(file):
        raise SpecError(f"{_path(file)} is damaged: a page of it holds no picture; {REMEDY}")
    series = _full_resolution(file.series)
    parts: Sequence[Part] = [series[0]] if len(series) == 1 else _alone(file, series)
    if "S" in parts[0].axes[:-1]:
        raise SpecError(
            f"{_path(file)} has its colours in planes of their own; save each voxel's together, or "
            "grey values"
        )
    _require_decoder(file, series)
    _require_bytes(file, parts)
    return parts


def count_of(parts: Sequence[Part]) -> int:
    """Return how many sections the parts have together."""
    return sum(_count(part) for part in parts)


def pages_of(parts: Sequence[Part]) -> list[TiffPage | TiffFrame | None]:
    """Return a page for each section; None for one that a description names and nothing holds."""
    pages: list[TiffPage | TiffFrame | None] = []
    for part in parts:
        own = list(part.pages) if isinstance(part, TiffPageSeries) else [part]
        pages += [*own, *[None] * (_count(part) - len(own))]
    return pages


def require_all_declared(file: TiffFile, parts: Sequence[Part]) -> None:
    """Raise SpecError where a stack's own description counts more or fewer sections than there are.

    Fewer, where it was made for another stack: tifffile leaves out those beyond it.
    """
    series = parts[0]
    if len(parts) > 1 or not isinstance(series, TiffPageSeries):
        return
    found = _count(series) + _left_out(file, series)
    declared = _declared(file) or _count(series)
    if found < declared or found > _count(series):
        raise SpecError(
            f"{_path(file)} declares {declared} sections and holds {found}; {REMEDY}, and where "
            "these are all, save it as a new file without the old description"
        )


def _left_out(file: TiffFile, series: TiffPageSeries) -> int:
    """Return how many pages like those of a described series come after it."""
    if series.kind not in _DESCRIBED or series.is_multifile:
        return 0
    rest = [page.aspage() for page in file.pages[_count(series) :]]
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
        shape = json.loads(page.description)["shape"]
    except (ValueError, KeyError):
        return None
    if tuple(shape[-len(page.shape) :]) != page.shape:
        return None
    sections: int = prod(shape[: -len(page.shape)])
    return sections


def _without_picture(file: TiffFile) -> int:
    """Return how many pages tifffile left out, having made nothing of them."""
    levels = [level for one in file.series for level in one.levels]
    if any(level.kind != "generic" for level in levels):  # these count on what they declare
        return 0
    pages = [page for page in pages_of(levels) if page is not None and not page.is_subifd]
    return len(file.pages) - len(pages)


def _full_resolution(series: Sequence[TiffPageSeries]) -> list[TiffPageSeries]:
    """Return the series that are no smaller copies, masks, or pictures within pages."""
    full = [
        one
        for one in series
        if not (one.keyframe.is_reduced or one.keyframe.is_mask or one.keyframe.is_subifd)
    ]
    return full or list(series)


def _alone(file: TiffFile, series: Sequence[TiffPageSeries]) -> Sequence[Part]:
    """Return the pages of series that are alike, each a section. Raises SpecError."""
    kinds = {f"{one.dtype} of {'×'.join(map(str, one.keyframe.shape))}": None for one in series}
    if len(kinds) > 1:
        raise SpecError(
            f"{_path(file)} holds pictures of several kinds: {', '.join(kinds)}; which ones are "
            "the sections is unclear: save those alone in a file"
        )
    # tifffile's own generic series differ in how pages are stored, not in what they are
    if any(_count(one) > 1 and one.kind != "generic" for one in series):
        counts = " and ".join(str(_count(one)) for one in series)
        raise SpecError(
            f"{_path(file)} holds {len(series)} stacks, of {counts} sections; save the one that "
            "is meant alone in a file"
        )
    pages = [page for page in pages_of(series) if page is not None]
    return sorted(pages, key=_place)


def _place(page: TiffPage | TiffFrame) -> tuple[int, ...]:
    return page.index if isinstance(page.index, tuple) else (page.index,)


def _count(part: Part) -> int:
    """Return how many sections a part has, of which a file may list the first page alone."""
    if not isinstance(part, TiffPageSeries):
        return 1
    return int(part.size // max(prod(part.keyframe.shape), 1))


def _require_decoder(file: TiffFile, series: Iterable[TiffPageSeries]) -> None:
    for one in series:
        try:
            TIFF.DECOMPRESSORS[one.keyframe.compression]
            TIFF.UNPREDICTORS[one.keyframe.predictor]
        except KeyError as error:
            raise SpecError(
                f"{_path(file)} cannot be read: {error.args[0]}; run: pip install imagecodecs, or "
                "save the file uncompressed or with deflate"
            ) from error


def _require_whole_chain(file: TiffFile) -> None:
    """Raise SpecError where the chain of pages does not end as it should."""
    if not _breaks_off(file):
        return
    declared, there = _declared(file), len(file.pages)
    of = f" of the {declared} that it declares" if declared and declared > there else ""
    raise SpecError(
        f"{_path(file)} is damaged or cut short: its list of pages breaks off after {there}{of}; "
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


def _require_bytes(file: TiffFile, parts: Sequence[Part]) -> None:
    """Raise SpecError that names the first section of which bytes are missing."""
    first = parts[0]
    if isinstance(first, TiffPageSeries) and first.dataoffset is not None:
        _require_length(file, first.dataoffset, first)
        return
    pages = pages_of(parts)
    faults = {z: fault for z, page in enumerate(pages) if (fault := _fault(page))}
    if faults:
        z, fault = next(iter(faults.items()))
        more = f", and {len(faults) - 1} more are not whole" if len(faults) > 1 else ""
        raise SpecError(f"{_path(file)}: section {z} of {len(pages)} {fault}{more}; {REMEDY}")


def _require_length(file: TiffFile, offset: int, series: TiffPageSeries) -> None:
    """Raise SpecError where sections that lie one behind the other do not all fit in the file."""
    room = max(file.filehandle.size - offset, 0)
    if room < series.nbytes:
        count = _count(series)
        raise SpecError(
            f"{_path(file)} is damaged or cut short: {count * room // series.nbytes} of the "
            f"{count} sections that it declares are there; {REMEDY}"
        )


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


def _path(file: TiffFile) -> str:
    return str(file.filehandle.path)
