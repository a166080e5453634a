"""Reading the image: each section decoded once or so, and no more of them held than said."""

import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from numpy.typing import NDArray

from emsearch.errors import SpecError
from emsearch.inference import source
from emsearch.inference.source import open_source
from emsearch.volumes.formats import open_array
from emsearch.volumes.stack import Box
from tests.support.formats import VOLUME, write_folder, write_tiff

SHAPE = (40, 300, 200)


@pytest.fixture
def image() -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    return np.random.default_rng(0).integers(0, 255, SHAPE, np.uint8)


def traced(opened: source.Source, box: Box) -> tuple[NDArray[Any], int]:
    """Return the voxels of a box, and the most bytes that reading them took."""
    tracemalloc.start()
    try:
        return opened[box], tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_small_box_of_many_sections_holds_none_but_the_last_ones(
    image: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]",
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tifffile.imwrite(tmp_path / "image.tif", image, compression="deflate")
    section_bytes = image[0].nbytes
    monkeypatch.setattr(source, "_KEPT_BYTES", 2 * section_bytes)
    opened = open_source(tmp_path / "image.tif")
    box = (slice(0, 40), slice(10, 20), slice(50, 60))
    opened[box]
    opened[:1, :1, :1]  # nothing is imported any more
    found, peak = traced(opened, box)
    np.testing.assert_array_equal(found, image[box])
    assert peak < 10 * section_bytes  # of forty that were decoded


@pytest.mark.parametrize("parts", [{"tile": (64, 64)}, {"rowsperstrip": 16}, {}])
@pytest.mark.parametrize("are_alike", [True, False])
def test_of_a_large_section_only_the_parts_that_a_box_touches_are_decoded(
    parts: dict[str, Any], are_alike: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = np.random.default_rng(0).integers(0, 255, (3, 2048, 1024), np.uint8)
    with tifffile.TiffWriter(tmp_path / "image.tif", bigtiff=True) as file:
        for z, section in enumerate(image):
            # where they are not alike, each page is a stack of its own
            kind = "zlib" if are_alike or z else "lzw"
            compression = kind if parts else None
            file.write(section, compression=compression, metadata=None, **parts)
    monkeypatch.setattr(source, "_KEPT_BYTES", image[0].nbytes - 1)
    opened = open_source(tmp_path / "image.tif")
    box = (slice(0, 2), slice(700, 764), slice(10, 74))
    opened[box]  # nothing is imported any more
    found, peak = traced(opened, box)
    np.testing.assert_array_equal(found, image[box])
    assert peak < image[0].nbytes / 2


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_a_large_section_without_parts_is_decoded_once(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = (
        write_folder(tmp_path, "png")
        if ending == "png"
        else write_tiff(tmp_path, compression="zlib")
    )
    monkeypatch.setattr(source, "_KEPT_BYTES", VOLUME[0].nbytes - 1)
    stack = open_array(path)
    asked: list[Box] = []

    def count(box: Box) -> "np.ndarray[tuple[int, ...], np.dtype[Any]]":
        asked.append(box)
        return stack.read_box(box)

    opened = source.Source(replace(stack, read_box=count))
    for z in (2, 3):
        for y in (0, 10, 20):
            box = (slice(z, z + 1), slice(y, y + 10), slice(5, 9))
            np.testing.assert_array_equal(opened[box], VOLUME[box])
    assert asked == [(slice(z, z + 1), slice(None), slice(None)) for z in (2, 3)]


def test_a_missing_chunk_is_named_each_time(
    image: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]", tmp_path: Path
) -> None:
    zarr.create_array(tmp_path / "image.zarr", data=image, chunks=(8, 64, 64))
    opened = open_source(tmp_path / "image.zarr", allow_missing=False)
    box = (slice(0, 8), slice(0, 64), slice(0, 64))
    np.testing.assert_array_equal(opened[box], image[box])
    (tmp_path / "image.zarr" / "c" / "0" / "0" / "0").unlink()
    with pytest.raises(SpecError, match=r"chunk c/0/0/0 of the volume is missing"):
        opened[box]


def test_a_complex_image_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "image.npy", np.ones((2, 3, 4), np.complex64))
    with pytest.raises(SpecError, match=r"image.npy holds complex64 values; save it as"):
        open_source(tmp_path / "image.npy")
