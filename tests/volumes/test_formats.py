"""Every format gives back shape, type, values and, where the file says it, the voxel size."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from emsearch.errors import NotFoundError, SpecError
from emsearch.volumes import formats
from emsearch.volumes.formats import open_array, read_info
from emsearch.volumes.stack import CHUNK, boxes_of, stack_of

h5py = pytest.importorskip("h5py")
mrcfile = pytest.importorskip("mrcfile")

VOLUME = np.random.default_rng(0).integers(0, 200, (7, 30, 40)).astype(np.uint8)
VOXEL = (40.0, 8.0, 4.0)


def _tiff(folder: Path) -> Path:
    tifffile.imwrite(folder / "a.tif", VOLUME, compression="zlib", photometric="minisblack")
    return folder / "a.tif"


def _imagej(folder: Path) -> Path:
    metadata = {"axes": "ZYX", "spacing": 0.04, "unit": "um"}
    tifffile.imwrite(
        folder / "a.tiff", VOLUME, imagej=True, resolution=(250, 125), metadata=metadata
    )
    return folder / "a.tiff"


def _ome_tiff(folder: Path) -> Path:
    sizes: dict[str, Any] = {"axes": "ZYX"}
    for axis, size in zip("ZYX", VOXEL, strict=True):
        sizes |= {f"PhysicalSize{axis}": size, f"PhysicalSize{axis}Unit": "nm"}
    tifffile.imwrite(folder / "a.ome.tif", VOLUME, metadata=sizes)
    return folder / "a.ome.tif"


def _folder(folder: Path, ending: str) -> Path:
    (folder / "slices").mkdir()
    for z, section in enumerate(VOLUME):
        path = folder / "slices" / f"cell2_{z + 7}.{ending}"  # 7 ... 13: not in the order of text
        if ending == "png":
            Image.fromarray(section).save(path)
        else:
            tifffile.imwrite(path, section)
    return folder / "slices"


def _zarr(folder: Path, version: Any) -> Path:
    zarr.create_array(folder / "a.zarr", data=VOLUME, zarr_format=version)
    return folder / "a.zarr"


def _ome_zarr(folder: Path, version: str) -> Path:
    group = zarr.create_group(folder / "a.zarr", zarr_format=2 if version == "0.4" else 3)
    group.create_array("s0", data=VOLUME[None])
    axes = [{"name": "c", "type": "channel"}]
    axes += [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "zyx"]
    scale = {"type": "scale", "scale": [1, 0.02, 0.008, 0.004]}
    level = {"path": "s0", "coordinateTransformations": [scale]}
    whole = {"type": "scale", "scale": [1, 2, 1, 1]}
    scales: Any = [{"axes": axes, "datasets": [level], "coordinateTransformations": [whole]}]
    if version == "0.4":
        group.attrs["multiscales"] = scales
    else:
        group.attrs["ome"] = {"version": version, "multiscales": scales}
    return folder / "a.zarr"


def _hdf5(folder: Path, attribute: str, factor: float) -> Path:
    with h5py.File(folder / "a.h5", "w") as file:
        file["volumes/raw"] = VOLUME
        if attribute:
            file["volumes/raw"].attrs[attribute] = [size * factor for size in VOXEL]
    return folder / "a.h5"


def _mrc(folder: Path, *, says_size: bool) -> Path:
    with mrcfile.new(folder / "a.mrc") as file:
        file.set_data(VOLUME.astype(np.int16))
        if says_size:
            file.voxel_size = (40, 80, 400)  # x, y, z in ångström
    return folder / "a.mrc"


def _npz(folder: Path) -> Path:
    np.savez(folder / "a.npz", image=VOLUME, voxel_nm=np.array(VOXEL))
    return folder / "a.npz"


def _npy(folder: Path) -> Path:
    np.save(folder / "a.npy", VOLUME)
    return folder / "a.npy"


WRITERS: dict[str, tuple[Callable[[Path], Path], Any]] = {
    "tiff": (_tiff, None),
    "imagej": (_imagej, VOXEL),
    "ome-tiff": (_ome_tiff, VOXEL),
    "folder of tiff": (lambda folder: _folder(folder, "tif"), None),
    "folder of png": (lambda folder: _folder(folder, "png"), None),
    "zarr 2": (lambda folder: _zarr(folder, 2), None),
    "zarr 3": (lambda folder: _zarr(folder, 3), None),
    "ome-zarr 0.4": (lambda folder: _ome_zarr(folder, "0.4"), VOXEL),
    "ome-zarr 0.5": (lambda folder: _ome_zarr(folder, "0.5"), VOXEL),
    "hdf5": (lambda folder: _hdf5(folder, "", 1), None),
    "hdf5 of cremi": (lambda folder: _hdf5(folder, "resolution", 1), VOXEL),
    "hdf5 of ilastik": (lambda folder: _hdf5(folder, "element_size_um", 1e-3), VOXEL),
    "mrc": (lambda folder: _mrc(folder, says_size=True), VOXEL),
    "mrc without size": (lambda folder: _mrc(folder, says_size=False), None),
    "npz": (_npz, VOXEL),
    "npy": (_npy, None),
}


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
    _hdf5(tmp_path, "resolution", 1)
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["volumes/labels"] = VOLUME // 100
    assert (open_array(tmp_path / "a.h5" / "volumes" / "labels").read(0, 7) == VOLUME // 100).all()
    with pytest.raises(SpecError, match=r"holds \['volumes/labels', 'volumes/raw'\]; say which"):
        open_array(tmp_path / "a.h5")
    with pytest.raises(SpecError, match=r"holds no dataset 'volumes/more'"):
        open_array(tmp_path / "a.h5" / "volumes" / "more")


def test_an_array_inside_ome_zarr_has_the_voxel_size_too(tmp_path: Path) -> None:
    stack = open_array(_ome_zarr(tmp_path, "0.5") / "s0")
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


def test_slices_that_differ_are_named(tmp_path: Path) -> None:
    folder = _folder(tmp_path, "png")
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
        open_array(_npy(tmp_path))


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
