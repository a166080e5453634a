"""One small volume, written in every format that can be read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import mrcfile  # type: ignore[import-untyped]
import numpy as np
import tifffile
import zarr
from numcodecs import Blosc, GZip  # type: ignore[import-untyped]
from PIL import Image
from zarr.codecs import BloscCodec

VOLUME = np.random.default_rng(0).integers(0, 200, (7, 30, 40)).astype(np.uint8)
VOXEL = (40.0, 8.0, 4.0)


def write_tiff(folder: Path, **options: Any) -> Path:
    tifffile.imwrite(folder / "a.tif", VOLUME, photometric="minisblack", **options)
    return folder / "a.tif"


def write_imagej(folder: Path) -> Path:
    metadata = {"axes": "ZYX", "spacing": 0.04, "unit": "um"}
    tifffile.imwrite(
        folder / "a.tiff", VOLUME, imagej=True, resolution=(250, 125), metadata=metadata
    )
    return folder / "a.tiff"


def write_ome_tiff(folder: Path) -> Path:
    sizes: dict[str, Any] = {"axes": "ZYX"}
    for axis, size in zip("ZYX", VOXEL, strict=True):
        sizes |= {f"PhysicalSize{axis}": size, f"PhysicalSize{axis}Unit": "nm"}
    tifffile.imwrite(folder / "a.ome.tif", VOLUME, metadata=sizes)
    return folder / "a.ome.tif"


def write_pages(folder: Path, **options: Any) -> Path:
    """Write each section by a call of its own, as a microscope's program may."""
    with tifffile.TiffWriter(folder / "a.tif", ome=options.pop("ome", None)) as file:
        for section in VOLUME:
            file.write(section, photometric="minisblack", **options)
    return folder / "a.tif"


def write_mixed_pages(folder: Path) -> Path:
    """Write sections some of which are compressed."""
    with tifffile.TiffWriter(folder / "a.tif") as file:
        for z, section in enumerate(VOLUME):
            compression = "zlib" if z % 3 else None
            file.write(section, photometric="minisblack", compression=compression, metadata=None)
    return folder / "a.tif"


def write_with_pillow(folder: Path) -> Path:
    first, *rest = map(Image.fromarray, VOLUME)
    first.save(
        folder / "a.tif", save_all=True, append_images=rest, compression="tiff_adobe_deflate"
    )
    return folder / "a.tif"


def write_folder(folder: Path, ending: str) -> Path:
    (folder / "slices").mkdir()
    for z, section in enumerate(VOLUME):
        path = folder / "slices" / f"cell2_{z + 7}.{ending}"  # 7 ... 13: not in the order of text
        if ending == "png":
            Image.fromarray(section).save(path)
        else:
            tifffile.imwrite(path, section)
    return folder / "slices"


def write_zarr(folder: Path, version: Any, **options: Any) -> Path:
    zarr.create_array(folder / "a.zarr", data=VOLUME, zarr_format=version, **options)
    return folder / "a.zarr"


def write_ome_zarr(folder: Path, version: str) -> Path:
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


def write_hdf5(folder: Path, attribute: str, factor: float, **options: Any) -> Path:
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("volumes/raw", data=VOLUME, **options)
        if attribute:
            file["volumes/raw"].attrs[attribute] = [size * factor for size in VOXEL]
    return folder / "a.h5"


def write_mrc(folder: Path, *, says_size: bool) -> Path:
    with mrcfile.new(folder / "a.mrc") as file:
        file.set_data(VOLUME.astype(np.int16))
        if says_size:
            file.voxel_size = (40, 80, 400)  # x, y, z in ångström
    return folder / "a.mrc"


def write_npz(folder: Path) -> Path:
    np.savez(folder / "a.npz", image=VOLUME, voxel_nm=np.array(VOXEL))
    return folder / "a.npz"


def write_npz_compressed(folder: Path) -> Path:
    np.savez_compressed(folder / "a.npz", image=VOLUME)
    return folder / "a.npz"


def write_npy(folder: Path) -> Path:
    np.save(folder / "a.npy", VOLUME)
    return folder / "a.npy"


def scribble_section(path: Path, volume: np.ndarray, section: int) -> None:
    """Write a volume as TIFF with damage amid one section."""
    tifffile.imwrite(path, volume, photometric="minisblack", compression="zlib")
    with tifffile.TiffFile(path) as file:
        start = file.pages[section].dataoffsets[0]
    content = bytearray(path.read_bytes())
    content[start : start + 40] = bytes(40)
    path.write_bytes(content)


WRITERS: dict[str, tuple[Callable[[Path], Path], Any]] = {
    "tiff": (write_tiff, None),
    "tiff of deflate": (lambda folder: write_tiff(folder, compression="zlib"), None),
    "tiff of lzw": (lambda folder: write_tiff(folder, compression="lzw", predictor=True), None),
    "tiff of lzma": (lambda folder: write_tiff(folder, compression="lzma"), None),
    "tiff of strips": (
        lambda folder: write_tiff(folder, compression="zlib", rowsperstrip=8, metadata=None),
        None,
    ),
    "bigtiff of tiles": (
        lambda folder: write_tiff(folder, compression="zlib", tile=(16, 16), bigtiff=True),
        None,
    ),
    "tiff page by page": (write_pages, None),
    "tiff page by page of deflate": (lambda folder: write_pages(folder, compression="zlib"), None),
    "tiff page by page without metadata": (lambda folder: write_pages(folder, metadata=None), None),
    "tiff of pages in a row": (lambda folder: write_pages(folder, contiguous=True), None),
    "tiff of mixed pages": (write_mixed_pages, None),
    "tiff of pillow": (write_with_pillow, None),
    "ome-tiff page by page": (lambda folder: write_pages(folder, ome=True), None),
    "imagej": (write_imagej, VOXEL),
    "ome-tiff": (write_ome_tiff, VOXEL),
    "folder of tiff": (lambda folder: write_folder(folder, "tif"), None),
    "folder of png": (lambda folder: write_folder(folder, "png"), None),
    "zarr 2": (lambda folder: write_zarr(folder, 2), None),
    "zarr 3": (lambda folder: write_zarr(folder, 3), None),
    "zarr 2 without compression": (lambda folder: write_zarr(folder, 2, compressors=None), None),
    "zarr 2 of gzip": (lambda folder: write_zarr(folder, 2, compressors=GZip()), None),
    "zarr 2 of blosc": (lambda folder: write_zarr(folder, 2, compressors=Blosc()), None),
    "zarr 3 of blosc": (lambda folder: write_zarr(folder, 3, compressors=BloscCodec()), None),
    "zarr of shards": (
        lambda folder: write_zarr(folder, 3, chunks=(4, 8, 8), shards=(8, 16, 16)),
        None,
    ),
    "ome-zarr 0.4": (lambda folder: write_ome_zarr(folder, "0.4"), VOXEL),
    "ome-zarr 0.5": (lambda folder: write_ome_zarr(folder, "0.5"), VOXEL),
    "hdf5": (lambda folder: write_hdf5(folder, "", 1), None),
    "hdf5 of chunks": (
        lambda folder: write_hdf5(folder, "", 1, chunks=(4, 16, 16), compression="gzip"),
        None,
    ),
    "hdf5 of cremi": (lambda folder: write_hdf5(folder, "resolution", 1), VOXEL),
    "hdf5 of ilastik": (lambda folder: write_hdf5(folder, "element_size_um", 1e-3), VOXEL),
    "mrc": (lambda folder: write_mrc(folder, says_size=True), VOXEL),
    "mrc without size": (lambda folder: write_mrc(folder, says_size=False), None),
    "npz": (write_npz, VOXEL),
    "npz compressed": (write_npz_compressed, None),
    "npy": (write_npy, None),
}
