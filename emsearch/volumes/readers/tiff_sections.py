"""Which pages of a TIFF are its sections: those of full resolution, as one stack or one by one."""

from collections.abc import Sequence
from contextlib import suppress
from math import prod

from tifffile import TiffFile, TiffFrame, TiffPage, TiffPageSeries

from emsearch.errors import SpecError

__all__ = ["Part", "choose_parts", "count_in", "count_of", "pages_of", "path_of"]

Part = TiffPageSeries | TiffPage | TiffFrame
"""One section or several; has shape, dtype and axes, and gives its voxels as a Zarr store."""


def choose_parts(file: TiffFile) -> Sequence[Part]:
    """Return the parts of full resolution: one of all sections, or one for each section in order.

    Raises SpecError where it is unclear which ones are meant.
    """
    series = _full_resolution(file.series)
    return [series[0]] if len(series) == 1 else _alone(file, series)


def count_of(parts: Sequence[Part]) -> int:
    """Return how many sections the parts have together."""
    return sum(count_in(part) for part in parts)


def count_in(part: Part) -> int:
    """Return how many sections a part has, of which a file may list the first page alone."""
    if not isinstance(part, TiffPageSeries):
        return 1
    return int(part.size // max(prod(part.keyframe.shape), 1))


def pages_of(parts: Sequence[Part]) -> list[TiffPage | TiffFrame | None]:
    """Return a page for each section; None for one that a description names and nothing holds."""
    pages: list[TiffPage | TiffFrame | None] = []
    for part in parts:
        own = _listed(part) if isinstance(part, TiffPageSeries) else [part]
        pages += [*own, *[None] * (count_in(part) - len(own))]
    return pages


def _listed(series: TiffPageSeries) -> list[TiffPage | TiffFrame | None]:
    """Return the pages of a series as far as the file lists them."""
    pages: list[TiffPage | TiffFrame | None] = []
    with suppress(IndexError):  # a description of more: tifffile looks for them behind the first
        for page in series.pages:
            pages.append(page)  # noqa: PERF402 - keeps those before the error
    return pages


def path_of(file: TiffFile) -> str:
    """Return the path of an open file."""
    return str(file.filehandle.path)


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
            f"{path_of(file)} holds pictures of several kinds: {', '.join(kinds)}; which ones are "
            "the sections is unclear: save those alone in a file"
        )
    # tifffile's own generic series differ in how pages are stored, not in what they are
    if any(count_in(one) > 1 and one.kind != "generic" for one in series):
        counts = " and ".join(str(count_in(one)) for one in series)
        raise SpecError(
            f"{path_of(file)} holds {len(series)} stacks, of {counts} sections; save the one that "
            "is meant alone in a file"
        )
    pages = [page for page in pages_of(series) if page is not None]
    return sorted(pages, key=_place)


def _place(page: TiffPage | TiffFrame) -> tuple[int, ...]:
    return page.index if isinstance(page.index, tuple) else (page.index,)
