"""Slices in a folder are sections, whatever they still say of the stack that they come from."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from emsearch.errors import SpecError
from emsearch.volumes.formats import open_array
from tests.support.formats import VOLUME

_IMAGEJ = "ImageJ=1.54f\nimages=7\nslices=7\nunit=nm\nspacing=40\n"
_SHAPED = '{"shape": [7, 30, 40]}'


def _write_slices(folder: Path, description: str, **options: Any) -> None:
    for z, section in enumerate(VOLUME):
        tifffile.imwrite(
            folder / f"{z}.tif", section, description=description, metadata=None, **options
        )


def _ome(section: int, data: str) -> str:
    return (
        '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/'
        f'OME/2016-06" UUID="urn:uuid:{section}"><Image ID="Image:0"><Pixels ID="Pixels:0" '
        'DimensionOrder="XYZCT" Type="uint8" SizeX="40" SizeY="30" SizeC="1" SizeZ="7" SizeT="1">'
        f'<Channel ID="Channel:0:0" SamplesPerPixel="1"/>{data}</Pixels></Image></OME>'
    )


def _read_all(folder: Path) -> np.ndarray:
    return open_array(folder).read(0, 7)


@pytest.mark.parametrize("compression", [None, "lzw"])
@pytest.mark.parametrize("description", [_IMAGEJ, _SHAPED])
def test_slices_that_keep_the_description_of_their_stack_are_read(
    description: str, compression: str | None, tmp_path: Path
) -> None:
    _write_slices(tmp_path, description, compression=compression)
    assert (_read_all(tmp_path) == VOLUME).all()


def test_slices_of_which_the_first_alone_counts_them_are_read(tmp_path: Path) -> None:
    _write_slices(tmp_path, "", compression="lzw")
    tifffile.imwrite(
        tmp_path / "0.tif", VOLUME[0], description=_IMAGEJ, metadata=None, compression="lzw"
    )
    assert (_read_all(tmp_path) == VOLUME).all()


def test_a_stack_split_by_pillow_is_read(tmp_path: Path) -> None:
    stack, folder = tmp_path / "stack.tif", tmp_path / "slices"
    options: dict[str, Any] = {"metadata": None, "photometric": "minisblack"}
    tifffile.imwrite(stack, VOLUME, description=_IMAGEJ, compression="zlib", **options)
    folder.mkdir()
    with Image.open(stack) as pages:
        for z in range(7):
            pages.seek(z)
            pages.save(folder / f"{z}.tif", compression="tiff_adobe_deflate")
    with tifffile.TiffFile(folder / "0.tif") as first:
        assert first.is_imagej
    assert (_read_all(folder) == VOLUME).all()


def test_the_files_of_one_ome_stack_are_its_slices(tmp_path: Path) -> None:
    """So Bio-Formats and Micro-Manager write a file for each section."""
    data = "".join(
        f'<TiffData IFD="0" FirstZ="{z}" PlaneCount="1"><UUID FileName="{z}.ome.tif">urn:uuid:{z}'
        "</UUID></TiffData>"
        for z in range(7)
    )
    for z, section in enumerate(VOLUME):
        text = _ome(z, data)
        tifffile.imwrite(tmp_path / f"{z}.ome.tif", section, description=text, metadata=None)
    assert (_read_all(tmp_path) == VOLUME).all()


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_ome_slices_that_count_a_whole_stack_are_read(
    compression: str | None, tmp_path: Path
) -> None:
    _write_slices(tmp_path, _ome(0, "<TiffData/>"), compression=compression)
    assert (_read_all(tmp_path) == VOLUME).all()


@pytest.mark.parametrize("imagej", [False, True])
def test_a_stack_that_lists_its_first_page_alone_is_no_slice(imagej: bool, tmp_path: Path) -> None:
    """So ImageJ writes stacks of more than 4 GB: of those no section may be passed over."""
    with tifffile.TiffWriter(tmp_path / "0.tif", imagej=imagej) as file:
        file.write(VOLUME, photometric="minisblack", truncate=True)
    with pytest.raises(SpecError, match=r"0.tif holds 7 sections; give one file for each"):
        open_array(tmp_path)


@pytest.mark.parametrize(
    ("description", "compression", "words"),
    [
        (_IMAGEJ, "lzw", "section 1 of 7 is missing, and 5 more are not whole"),
        (_SHAPED, None, "1 of the 7 sections that it declares are there"),
        (_SHAPED, "lzw", "declares 7 sections and holds 1"),
        (_ome(0, "<TiffData/>"), None, "section 1 of 7 is missing, and 5 more are not whole"),
    ],
)
def test_a_slice_opened_alone_as_the_stack_it_declares_says_what_to_do(
    description: str, compression: str | None, words: str, tmp_path: Path
) -> None:
    _write_slices(tmp_path, description, compression=compression)
    remedy = "and where these are all, save it as a new file without the old description"
    with pytest.raises(SpecError, match=rf"0.tif.* {words}; copy .*, {remedy}$"):
        open_array(tmp_path / "0.tif")


def test_a_slice_without_a_picture_is_damaged(tmp_path: Path) -> None:
    _write_slices(tmp_path, _IMAGEJ)
    with tifffile.TiffFile(tmp_path / "3.tif", mode="r+") as file:
        file.pages.first.tags["ImageWidth"].overwrite(0)
    with pytest.raises(SpecError, match=r"3.tif is damaged: a page of it holds no picture; copy"):
        _read_all(tmp_path)


def test_a_slice_that_was_never_written_is_damaged(tmp_path: Path) -> None:
    _write_slices(tmp_path, _IMAGEJ, compression="zlib")
    with tifffile.TiffFile(tmp_path / "3.tif", mode="r+") as file:
        file.pages.first.tags["StripByteCounts"].overwrite(0)
    with pytest.raises(SpecError, match=r"3.tif is damaged: its picture was never written; copy"):
        _read_all(tmp_path)
