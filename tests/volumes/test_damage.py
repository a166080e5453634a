"""A file that is damaged or cut short is named: never fewer sections, never zeros."""

import errno
import logging
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from emsearch.errors import SpecError
from emsearch.volumes.damage import naming
from emsearch.volumes.formats import open_array
from tests.support.formats import (
    VOLUME,
    WRITERS,
    scribble_section,
    write_folder,
    write_hdf5,
    write_mixed_pages,
    write_ome_tiff,
    write_pages,
    write_tiff,
)


def _files(path: Path) -> list[Path]:
    """Return a file, or all files in a folder."""
    return [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())


def _read_all(path: Path) -> np.ndarray:
    stack = open_array(path)
    return stack.read(0, stack.shape_zyx[0])


@pytest.mark.parametrize("part", [0, 0.3, 0.6, 0.95])
@pytest.mark.parametrize("name", WRITERS)
def test_a_file_cut_short_is_named(name: str, part: float, tmp_path: Path) -> None:
    write, _ = WRITERS[name]
    path = write(tmp_path)
    for file in _files(path):
        whole = file.read_bytes()
        file.unlink()  # an HDF5 file that is open elsewhere is not opened anew
        file.write_bytes(whole[: int(len(whole) * part)])
        with pytest.raises(SpecError, match=path.name):
            _read_all(path)
        file.write_bytes(whole)
    assert (_read_all(path) == VOLUME).all()


def test_a_cut_tiff_tells_what_it_declares_and_holds(tmp_path: Path) -> None:
    path = write_tiff(tmp_path, compression="zlib")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    message = (
        r"a.tif is damaged or cut short: .* breaks off after \d of the 7 that it declares; copy"
    )
    with pytest.raises(SpecError, match=message):
        open_array(path)


def test_a_cut_stack_that_lists_one_page_is_told(tmp_path: Path) -> None:
    """So ImageJ writes stacks of more than 4 GB."""
    metadata = {"axes": "ZYX"}
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, VOLUME, imagej=True, metadata=metadata)
    with tifffile.TiffFile(path) as file:
        start = file.pages.first.dataoffsets[0]
        after = file.pages.first.offset + 2 + 12 * len(file.pages.first.tags)
    content = bytearray(path.read_bytes())
    content[after : after + 4] = bytes(4)  # no page after the first
    path.write_bytes(content[: start + VOLUME.nbytes])
    assert (_read_all(path) == VOLUME).all()
    path.write_bytes(content[: start + 5 * VOLUME[0].nbytes + 7])
    with pytest.raises(SpecError, match="declares 7 sections and holds 1; copy"):
        open_array(path)


@pytest.mark.parametrize(
    ("count", "words"),
    [(5, "declares 5 sections and holds 7; copy"), (9, "section 7 of 9 is missing, and 1 more")],
)
def test_another_number_of_sections_than_imagej_counts_is_told(
    count: int, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.tif"
    text = f"ImageJ=1.54f\nimages={count}\nslices={count}\n"
    options: dict[str, Any] = {"metadata": None, "photometric": "minisblack"}
    tifffile.imwrite(path, VOLUME, compression="zlib", description=text, **options)
    with pytest.raises(SpecError, match=words):
        open_array(path)


def test_a_description_of_another_stack_does_not_hide_sections(tmp_path: Path) -> None:
    """So a program may leave it that crops a stack which tifffile wrote."""
    path = write_tiff(tmp_path, description='{"shape": [24, 130, 40]}', metadata=None)
    with pytest.raises(SpecError, match=r"declares 1 sections and holds 7; copy .* old"):
        open_array(path)


def test_a_page_that_ome_names_and_nobody_has_is_told(tmp_path: Path) -> None:
    path = write_ome_tiff(tmp_path)
    with tifffile.TiffFile(path, mode="r+") as file:
        text = file.pages.first.description.replace('"7"', '"9"')
        file.pages.first.tags["ImageDescription"].overwrite(text)
    with pytest.raises(SpecError, match=r"a.ome.tif: section 7 of 9 is missing, and 1 more"):
        open_array(path)


def test_a_page_that_was_never_written_is_told(tmp_path: Path) -> None:
    path = write_pages(tmp_path, compression="zlib")
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[4].aspage().tags["StripByteCounts"].overwrite(0)
    with pytest.raises(SpecError, match="section 4 of 7 was never written"):
        open_array(path)


def test_a_page_whose_size_cannot_be_told_is_damaged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_tiff(tmp_path, compression="zlib")
    with tifffile.TiffFile(path) as file:
        bits = file.pages.first.tags["BitsPerSample"].offset
    content = bytearray(path.read_bytes())
    content[bits + 2] = 99  # no such type of number
    path.write_bytes(content)
    with (
        caplog.at_level(logging.DEBUG),
        pytest.raises(SpecError, match=r"a.tif is damaged: .* 258"),
    ):
        open_array(path)
    assert not caplog.messages


@pytest.mark.parametrize("sections", [1, 7])
def test_uncompressed_pages_without_byte_counts_are_told(sections: int, tmp_path: Path) -> None:
    """Of these zeros would be read, though the bytes may be there."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, VOLUME[:sections], photometric="minisblack", metadata=None)
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[sections - 1].aspage().tags["StripByteCounts"].overwrite(0)
    words = f"section {sections - 1} of {sections} was never written; copy"
    with pytest.raises(SpecError, match=words):
        open_array(path)


def test_a_description_in_another_alphabet_is_no_damage(tmp_path: Path) -> None:
    text = "イメージ".encode("shift_jis")  # neither UTF-8 nor cp1252
    path = write_tiff(tmp_path, compression="zlib", metadata=None, description=text)
    assert (_read_all(path) == VOLUME).all()


def test_a_description_of_no_known_type_is_damaged(tmp_path: Path) -> None:
    path = write_tiff(tmp_path, compression="zlib", metadata=None, description="cells, 40 nm")
    with tifffile.TiffFile(path) as file:
        start = file.pages.first.tags["ImageDescription"].offset
    content = bytearray(path.read_bytes())
    content[start + 2] = 99
    path.write_bytes(content)
    with pytest.raises(SpecError, match=r"a.tif is damaged: .* 270"):
        open_array(path)


@pytest.mark.parametrize(("odd", "is_sound"), [(1, True), (9, False)])
def test_one_odd_tag_is_no_damage_and_many_are(odd: int, is_sound: bool, tmp_path: Path) -> None:
    tags = [(65000 + number, "I", 1, number, True) for number in range(odd)]
    path = write_tiff(tmp_path, extratags=tags)
    content = path.read_bytes()
    for number in range(odd):
        start = (65000 + number).to_bytes(2, "little")
        content = content.replace(start + b"\x04\x00\x01", start + b"\x63\x00\x01")
    path.write_bytes(content)
    if is_sound:
        assert (_read_all(path) == VOLUME).all()
    else:
        with pytest.raises(SpecError, match=r"a.tif is damaged"):
            open_array(path)


def test_damage_within_a_section_is_named_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    scribble_section(path, VOLUME, 3)
    stack = open_array(path)
    assert (stack.read(0, 3) == VOLUME[:3]).all()
    with pytest.raises(
        SpecError, match=r"^section 3 of .*a.tif cannot be read: .*; the file seems"
    ):
        stack.read(3, 4)
    with pytest.raises(SpecError, match=r"^sections 2 to 5 of .*a.tif cannot be read"):
        stack.read(2, 6)


def test_smaller_copies_are_left_out(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for section in VOLUME:
            file.write(section, metadata=None)
            file.write(section[::2, ::2], metadata=None, subfiletype=1)
    assert (_read_all(tmp_path / "a.tif") == VOLUME).all()


def test_pages_that_differ_are_told(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(VOLUME[0], metadata=None)
        file.write(VOLUME[0, :20, :33], metadata=None)
        file.write(VOLUME[0].astype(np.uint16), metadata=None)
    message = "several kinds: uint8 of 30×40, uint8 of 20×33, uint16 of 30×40; which ones"
    with pytest.raises(SpecError, match=message):
        open_array(tmp_path / "a.tif")


def test_colours_in_planes_are_no_sections(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", VOLUME[:3], photometric="rgb", planarconfig="separate", metadata=None
    )
    with pytest.raises(SpecError, match=r"a.tif has its colours in planes of their own; save"):
        open_array(tmp_path / "a.tif")


def test_several_files_of_one_ome_stack_are_read_together(tmp_path: Path) -> None:
    xml = (
        '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/'
        'OME/2016-06" UUID="urn:uuid:0"><Image ID="Image:0"><Pixels ID="Pixels:0" '
        'DimensionOrder="XYZCT" Type="uint8" SizeX="40" SizeY="30" SizeC="1" SizeZ="2" SizeT="1">'
        '<Channel ID="Channel:0:0" SamplesPerPixel="1"/>'
        '<TiffData IFD="0" FirstZ="0" PlaneCount="1"><UUID FileName="a.ome.tif">urn:uuid:0</UUID>'
        '</TiffData><TiffData IFD="0" FirstZ="1" PlaneCount="1"><UUID FileName="b.ome.tif">'
        "urn:uuid:1</UUID></TiffData></Pixels></Image></OME>"
    )
    for name, section in zip(("a", "b"), VOLUME, strict=False):
        text = xml.replace('UUID="urn:uuid:0"', f'UUID="urn:uuid:{int(name == "b")}"', 1)
        tifffile.imwrite(tmp_path / f"{name}.ome.tif", section, description=text, metadata=None)
    assert (_read_all(tmp_path / "a.ome.tif") == VOLUME[:2]).all()
    (tmp_path / "b.ome.tif").unlink()
    with pytest.raises(SpecError, match=r"a.ome.tif: section 1 of 2 is missing"):
        open_array(tmp_path / "a.ome.tif")


def test_several_stacks_in_a_file_are_told(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for stack in (VOLUME, VOLUME // 2):
            file.write(stack, photometric="minisblack")
    with pytest.raises(SpecError, match="holds 2 stacks, of 7 and 7 sections; save the one"):
        open_array(tmp_path / "a.tif")


def test_pages_of_mixed_compression_are_read_in_their_order(tmp_path: Path) -> None:
    stack = open_array(write_mixed_pages(tmp_path))
    box = (slice(2, 5), slice(10, 30), slice(0, 11))
    assert (stack.read_box(box) == VOLUME[box]).all()


def test_a_compression_that_needs_a_package_says_which(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Without:
        def __getitem__(self, key: int) -> None:
            raise KeyError(f"{key} requires the 'imagecodecs' package")

    path = write_tiff(tmp_path, compression="zlib")
    monkeypatch.setattr(tifffile.TIFF, "DECOMPRESSORS", Without(), raising=False)
    with pytest.raises(SpecError, match=r"requires the 'imagecodecs' package; run: pip install"):
        open_array(path)


@pytest.mark.parametrize("ending", ["tif", "png"])
def test_a_slice_cut_short_is_named_alone(ending: str, tmp_path: Path) -> None:
    folder = write_folder(tmp_path, ending)
    file = folder / f"cell2_10.{ending}"
    file.write_bytes(file.read_bytes()[:-100])
    stack = open_array(folder)
    assert (stack.read(0, 3) == VOLUME[:3]).all()
    with pytest.raises(SpecError, match=rf"slices/cell2_10.{ending}.*(damaged|no picture)"):
        stack.read(3, 4)


def test_a_slice_of_another_type_is_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, "tif")
    tifffile.imwrite(folder / "cell2_9.tif", VOLUME[2].astype(np.uint16))
    with pytest.raises(SpecError, match=r"cell2_9.tif is uint16 of shape \(30, 40\), but cell2_7"):
        open_array(folder).read(0, 7)


def test_a_stack_among_slices_is_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, "tif")
    tifffile.imwrite(folder / "cell2_7.tif", VOLUME, imagej=True)
    with pytest.raises(SpecError, match=r"cell2_7.tif holds 7 sections; give one file for each"):
        open_array(folder)
    tifffile.imwrite(folder / "cell2_7.tif", VOLUME[:1])  # one section, along an axis of its own
    assert (_read_all(folder) == VOLUME).all()


def test_a_picture_of_a_whole_section_is_no_attack() -> None:
    """A section may well have more pixels than Pillow takes for harmless."""
    assert Image.MAX_IMAGE_PIXELS is None


def test_damage_within_a_chunk_is_named_when_it_is_read(tmp_path: Path) -> None:
    path = write_hdf5(tmp_path, "", 1, chunks=(1, 30, 40), compression="gzip")
    content = path.read_bytes()
    third = content.index(zlib.compress(VOLUME[3].tobytes(), 4)[:40])
    path.unlink()
    path.write_bytes(content[:third] + bytes(60) + content[third + 60 :])
    stack = open_array(path)
    assert (stack.read(0, 3) == VOLUME[:3]).all()
    with pytest.raises(SpecError, match=r"^section 3 of .*a.h5 cannot be read"):
        stack.read(3, 4)


def test_a_chunk_of_scribble_is_named(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "a.zarr", data=VOLUME, chunks=(2, 30, 40))
    (tmp_path / "a.zarr" / "c" / "1" / "0" / "0").write_bytes(b"scribble")
    stack = open_array(tmp_path / "a.zarr")
    assert (stack.read(0, 2) == VOLUME[:2]).all()
    with pytest.raises(SpecError, match=r"^sections 2 to 3 of .*a.zarr cannot be read"):
        stack.read(2, 4)


def test_an_empty_archive_is_told(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz")
    with pytest.raises(SpecError, match=r"a.npz holds \[\]; say which, such as a.npz/image"):
        open_array(tmp_path / "a.npz")


def test_trouble_of_the_disk_is_not_taken_for_damage() -> None:
    with (
        pytest.raises(SpecError, match=r"a.tif cannot be read: .*Input/output.* its disk, and run"),
        naming("a.tif"),
    ):
        raise OSError(errno.EIO, "Input/output error")


def test_an_error_without_words_is_named_by_its_kind() -> None:
    words = r"a.tif cannot be read: AssertionError; the file seems"
    with pytest.raises(SpecError, match=words), naming("a.tif"):
        raise AssertionError


@pytest.mark.parametrize("error", [SpecError("our own"), MemoryError(), KeyboardInterrupt()])
def test_what_is_not_the_files_fault_passes(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, naming("a.tif"):
        raise error
    assert caught.value is error
