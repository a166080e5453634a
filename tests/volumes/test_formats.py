"""Every format gives back shape, type, values and, where the file says it, the voxel size."""

from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import mrcfile  # type: ignore[import-untyped]
import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from emsearch.errors import NotFoundError, SpecError
from emsearch.volumes import formats
from emsearch.volumes.formats import open_array, read_info
from emsearch.volumes.stack import CHUNK, boxes_of, stack_of
from tests.support.formats import (
    VOLUME,
    VOXEL,
    WRITERS,
    write_folder,
    write_hdf5,
    write_npy,
    write_ome_zarr,
)


@pytest.mark.parametrize("name", WRITERS)
def test_a_format_gives_back_values_and_voxel_size(name: str, tmp_path: Path) -> None:
    write, voxel_nm = WRITERS[name]
    stack = open_array(write(tmp_path))
    assert stack.shape_zyx == VOLUME.shape
    assert stack.voxel_nm == (pytest.approx(voxel_nm) if voxel_nm else None)
    assert stack.dtype == (np.int16 if name.startswith("mrc") else np.uint8)
    assert (stack.read(0, 7) == VOLUME).all()
    box = (slice(2, 5), slice(10, 30), slice(0, 11))
    assert (stack.read_box(box) == VOLUME[box]).all()


def test_an_array_inside_a_file_is_named_by_the_path(tmp_path: Path) -> None:
    write_hdf5(tmp_path, "resolution", 1)
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["volumes/labels"] = VOLUME // 100
    assert (open_array(tmp_path / "a.h5" / "volumes" / "labels").read(0, 7) == VOLUME // 100).all()
    with pytest.raises(SpecError, match=r"holds \['volumes/labels', 'volumes/raw'\]; say which"):
        open_array(tmp_path / "a.h5")
    with pytest.raises(SpecError, match=r"holds no dataset 'volumes/more'"):
        open_array(tmp_path / "a.h5" / "volumes" / "more")


def test_an_array_inside_ome_zarr_has_the_voxel_size_too(tmp_path: Path) -> None:
    stack = open_array(write_ome_zarr(tmp_path, "0.5") / "s0")
    assert stack.voxel_nm == pytest.approx(VOXEL)


def test_a_group_of_several_arrays_asks_which(tmp_path: Path) -> None:
    group = zarr.create_group(tmp_path / "a.zarr")
    for name in ("raw", "seg"):
        group.create_array(name, data=VOLUME)
    with pytest.raises(SpecError, match="holds the arrays"):
        open_array(tmp_path / "a.zarr")
    assert open_array(tmp_path / "a.zarr" / "seg").shape_zyx == VOLUME.shape
    with pytest.raises(SpecError, match="no Zarr array or group"):
        open_array(tmp_path / "a.zarr" / "nothing")


def test_an_archive_of_several_arrays_asks_which(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", image=VOLUME, labels=VOLUME // 100)
    with pytest.raises(SpecError, match=r"say which, such as a.npz/image"):
        open_array(tmp_path / "a.npz")
    assert open_array(tmp_path / "a.npz" / "labels").read(0, 7).max() == 1


def test_two_dimensions_are_one_section(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", VOLUME[0])
    Image.fromarray(VOLUME[0]).save(tmp_path / "a.png")
    for name in ("a.tif", "a.png"):
        assert (read_info(tmp_path / name).read(0, 1)[0] == VOLUME[0]).all()


@pytest.mark.parametrize("name", ["a.tif", "a.png"])
def test_colours_are_told(name: str, tmp_path: Path) -> None:
    colours = np.stack([VOLUME[0]] * 3, axis=-1)
    if name == "a.tif":
        tifffile.imwrite(tmp_path / name, colours, photometric="rgb")
    else:
        Image.fromarray(colours).save(tmp_path / name)
    stack = open_array(tmp_path / name)
    assert (stack.shape_zyx, stack.colours) == ((1, 30, 40), 3)
    assert stack.read(0, 1).shape == (1, 30, 40, 3)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize("options", [{}, {"metadata": None}, {"compression": "zlib"}])
def test_numbers_of_either_byte_order_are_read_as_this_computers(
    order: Any, dtype: Any, options: dict[str, Any], tmp_path: Path
) -> None:
    values = VOLUME.astype(dtype) * dtype(123)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, values, byteorder=order, photometric="minisblack", **options)
    stack = open_array(path)
    assert stack.dtype == dtype
    found = stack.read_box((slice(1, 6), slice(3, 20), slice(7, 39)))
    assert found.dtype == dtype
    assert (found == values[1:6, 3:20, 7:39]).all()


@pytest.mark.parametrize("options", [{}, {"metadata": None}, {"volumetric": True}])
@pytest.mark.parametrize("shape", [(7, 1, 40), (7, 30, 1), (1, 7, 30, 40)])
def test_uncompressed_volumes_of_odd_shape_are_read_as_tifffile_does(
    shape: tuple[int, ...], options: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "a.tif"
    values = VOLUME.ravel()[: np.prod(shape)].reshape(shape)
    tifffile.imwrite(path, values, photometric="minisblack", **options)
    stack = open_array(path)
    found = stack.read(0, stack.shape_zyx[0])
    assert (found.squeeze() == tifffile.imread(path).squeeze()).all()


def test_boxes_of_uncompressed_colours_are_read(tmp_path: Path) -> None:
    colours = np.stack([VOLUME, VOLUME // 2, VOLUME // 3], axis=-1)
    tifffile.imwrite(tmp_path / "a.tif", colours, photometric="rgb")
    box = (slice(2, 5), slice(10, 30), slice(0, 11))
    assert (open_array(tmp_path / "a.tif").read_box(box) == colours[box]).all()


def test_slices_that_differ_are_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, "png")
    Image.fromarray(VOLUME[0, :20]).save(folder / "cell2_9.png")
    with pytest.raises(SpecError, match=r"cell2_9.png is uint8 of shape \(20, 40\), but cell2_7"):
        open_array(folder).read(0, 7)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a.tif", "is no TIFF"),
        ("a.h5", "is no HDF5 file"),
        ("a.mrc", "is no MRC file"),
        ("a.npz", "is no NumPy archive"),
        ("a.npy", "is no NumPy array"),
        ("a.png", "is no picture"),
        ("a.docx", "no known ending; known are .tif"),
    ],
)
def test_what_is_no_volume_is_named(name: str, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("not a volume")
    with pytest.raises(SpecError, match=words):
        open_array(tmp_path / name)


def test_nothing_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no such file: .*b.tif"):
        open_array(tmp_path / "b.tif")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SpecError, match="holds no slices"):
        open_array(tmp_path / "empty")


def test_a_format_whose_package_is_missing_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(formats.FORMATS, ".npy", "no_such_reader:open")
    with pytest.raises(SpecError, match=r"needs the package .*no_such_reader; run: pip install"):
        open_array(write_npy(tmp_path))


@pytest.mark.parametrize("shape", [(3, 4, 5, 6), (7,), (0, 4, 5)])
def test_an_array_that_is_no_volume_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(SpecError, match="is no volume; give z, y, x"):
        stack_of(np.zeros(shape), None)


@pytest.mark.parametrize("is_paged", [True, False])
def test_boxes_cover_every_voxel_once_and_stay_small(is_paged: bool) -> None:
    for shape in ((3, 4, 5), (130, 200, 70), (1, 3000, 5000), (70, 9000, 9000)):
        lazy = np.broadcast_to(np.uint8(0), shape)
        covered = 0
        for box in boxes_of(stack_of(lazy, None, is_paged=is_paged), 0, shape[0]):
            size = int(np.prod([side.stop - side.start for side in box]))
            assert size <= 64 * 64 * 4096
            if not is_paged:
                assert all(side.start % CHUNK == 0 for side in box)
            covered += size
        assert covered == np.prod(shape)


def _write_complex(path: Path) -> None:
    values = VOLUME.astype(np.complex64)
    if path.suffix == ".tif":
        tifffile.imwrite(path, values, photometric="minisblack")
    elif path.suffix == ".mrc":
        with mrcfile.new(path) as file:
            file.set_data(values)
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["raw"] = values
    elif path.suffix == ".zarr":
        zarr.create_array(path, data=values)
    else:
        np.save(path, values)


@pytest.mark.parametrize("name", ["a.tif", "a.mrc", "a.h5", "a.zarr", "a.npy"])
def test_complex_numbers_are_refused(name: str, tmp_path: Path) -> None:
    _write_complex(tmp_path / name)
    words = rf"{name} holds complex64 values; save it as integers or real numbers, such as uint8"
    with pytest.raises(SpecError, match=words):
        open_array(tmp_path / name)
