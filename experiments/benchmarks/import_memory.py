"""Peak memory and speed of importing a volume of some GB, from each kind of layout on disk.

    python experiments/benchmarks/import_memory.py --gigabytes 4

The volume and its labels are made on the fly: noise of one section, repeated, as a paged TIFF
stack, as a mapped .npy, and as Zarr in chunks. Each import is a process of its own; its memory is
the highest that the kernel noted. It is killed half-way, and taken up again.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

SIDE = 2048
Write = Callable[[Path, int, NDArray[Any]], Path]

PROGRAM = """
import os, sys, time
from pathlib import Path
from emsearch.records.order import ImportOrder
from emsearch.volumes.importing import import_volume
image, labels, out, until = sys.argv[1:]
order = ImportOrder(name="v", image=image, labels=labels, classes=("a", "b"), voxel_nm=(40, 8, 8))
began = time.perf_counter()
def after(done, of):
    if done >= float(until) * of:
        tell()
        os._exit(0)
def tell():
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    print(int(status["VmHWM"].split()[0]) / 1024, time.perf_counter() - began, flush=True)
import_volume(order, Path(out).parent, Path(out), after)
tell()
"""


def write_tiff(folder: Path, depth: int, section_YX: NDArray[Any]) -> Path:
    """Write a paged TIFF stack."""
    path = folder / "volume.tif"
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for z in range(depth):
            file.write(np.roll(section_YX, z, 0), contiguous=True, photometric="minisblack")
    return path


def write_npy(folder: Path, depth: int, section_YX: NDArray[Any]) -> Path:
    """Write a NumPy array."""
    path = folder / "volume.npy"
    array = open_memmap(path, "w+", section_YX.dtype, (depth, *section_YX.shape))
    for z in range(depth):
        array[z] = np.roll(section_YX, z, 0)
    array.flush()
    return path


def write_zarr(folder: Path, depth: int, section_YX: NDArray[Any]) -> Path:
    """Write Zarr in chunks of 64 voxels."""
    path = folder / "volume.zarr"
    shape = (depth, *section_YX.shape)
    array = zarr.create_array(path, shape=shape, chunks=(64, 64, 64), dtype=section_YX.dtype)
    for first in range(0, depth, 64):
        sections = range(first, min(first + 64, depth))
        array[first : sections.stop] = np.stack([np.roll(section_YX, z, 0) for z in sections])
    return path


WRITERS: dict[str, Write] = {"tiff": write_tiff, "npy": write_npy, "zarr": write_zarr}


def import_once(image: Path, labels: Path, out: Path, until: float) -> tuple[float, float]:
    """Return MB at the peak and seconds of an import that dies after a part of it (> 1: never)."""
    command = [sys.executable, "-c", PROGRAM, str(image), str(labels), str(out), str(until)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    peak, seconds = done.stdout.split()
    return float(peak), float(seconds)


def measure(kind: str, depth: int, folder: Path) -> dict[str, float]:
    """Return peak memory and seconds of an import in two halves."""
    rng = np.random.default_rng(0)
    grey_YX = rng.integers(0, 255, (SIDE, SIDE), np.uint8)
    (folder / "image").mkdir()
    (folder / "labels").mkdir()
    image = WRITERS[kind](folder / "image", depth, grey_YX)
    labels = WRITERS[kind](folder / "labels", depth, (grey_YX > 127).astype(np.uint8))
    began = time.perf_counter()
    first_peak, _ = import_once(image, labels, folder / "out.zarr", 0.5)
    second_peak, _ = import_once(image, labels, folder / "out.zarr", 2.0)
    return {
        "peak_mb": max(first_peak, second_peak),
        "seconds": time.perf_counter() - began,
        "voxels": float(depth * SIDE * SIDE),
    }


def main() -> None:
    """Measure, print a table, and write the figures where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--gigabytes", type=float, default=4.0, help="of the image, uint8")
    parser.add_argument("--kinds", nargs="+", choices=WRITERS, default=list(WRITERS))
    parser.add_argument("--json", type=Path, help="where the figures go")
    asked = parser.parse_args()
    depth = max(round(asked.gigabytes * 1e9 / SIDE**2), 1)
    found = {}
    for kind in asked.kinds:
        with tempfile.TemporaryDirectory() as folder:
            found[kind] = measure(kind, depth, Path(folder))
        one = found[kind]
        print(
            f"{kind:6} {one['voxels'] / 1e9:5.2f} GB  peak {one['peak_mb']:6.0f} MB  "
            f"{one['voxels'] / 1e6 / one['seconds']:6.1f} MB/s",
            flush=True,
        )
    if asked.json is not None:
        asked.json.write_text(json.dumps({"asked": vars(asked), "figures": found}, default=str))


if __name__ == "__main__":
    main()
