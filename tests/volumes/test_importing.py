import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

from emsearch.errors import NotFoundError, SpecError, StateError
from emsearch.records.dataset import VolumeRecord
from emsearch.records.order import ImportOrder
from emsearch.records.trial import Cause
from emsearch.volumes.importing import import_volume, run_import, verify_volume
from emsearch.volumes.ome import array_in
from tests.support.formats import scribble_section

MakeOrder = Callable[..., ImportOrder]
Pair = tuple[np.ndarray, np.ndarray]


class Killed(BaseException):
    """What a test dies of."""


def test_an_imported_volume_holds_what_the_files_hold(
    record: VolumeRecord, cells: Pair, tmp_path: Path
) -> None:
    group = zarr.open_group(tmp_path / record.zarr, mode="r")
    assert (np.asarray(group["0"]) == cells[0]).all()
    assert (np.asarray(group["labels/classes/0"]) == cells[1]).all()
    assert record.shape_zyx == cells[0].shape
    assert record.zarr == "volumes/cells.zarr"
    assert array_in(group, "0").chunks == (10, 64, 64)


def test_mean_and_std_are_those_of_the_training_slices(record: VolumeRecord, cells: Pair) -> None:
    assert record.mean == pytest.approx(cells[0][:6].mean())
    assert record.std == pytest.approx(cells[0][:6].std())


def test_without_training_slices_mean_is_that_of_all(
    order_of: MakeOrder, cells: Pair, tmp_path: Path
) -> None:
    made = import_volume(order_of(*cells, test=(0, 10)), tmp_path, tmp_path / "a.zarr")
    assert made.mean == pytest.approx(cells[0].mean())


def test_a_volume_is_ome_zarr_with_its_voxel_size(record: VolumeRecord, tmp_path: Path) -> None:
    folder = tmp_path / record.zarr
    for part in ("", "labels/classes"):
        ome = json.loads((folder / part / "zarr.json").read_text())["attributes"]["ome"]
        assert ome["version"] == "0.5"
        (scale,) = ome["multiscales"]
        assert [axis["unit"] for axis in scale["axes"]] == ["nanometer"] * 3
        assert scale["datasets"][0]["coordinateTransformations"][0]["scale"] == [40, 10, 10]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_grey_values_keep_their_type(
    dtype: type, order_of: MakeOrder, cells: Pair, tmp_path: Path
) -> None:
    image: np.ndarray = (cells[0] * np.float32(1.5)).astype(dtype)
    import_volume(order_of(image, cells[1]), tmp_path, tmp_path / "a.zarr")
    stored = array_in(zarr.open_group(tmp_path / "a.zarr", mode="r"), "0")
    assert stored.dtype == dtype
    assert (np.asarray(stored) == image).all()


def test_other_types_become_float32(order_of: MakeOrder, cells: Pair, tmp_path: Path) -> None:
    order = order_of(cells[0].astype(np.int16) - 300, cells[1])
    made = import_volume(order, tmp_path, tmp_path / "a.zarr")
    assert array_in(zarr.open_group(tmp_path / "a.zarr", mode="r"), "0").dtype == np.float32
    assert made.mean == pytest.approx(cells[0].mean() - 300)


def test_ignored_labels_are_stored_as_255(order_of: MakeOrder, cells: Pair, tmp_path: Path) -> None:
    order = order_of(cells[0], cells[1].astype(np.int32) - 1, ignore_label=-1)
    import_volume(order, tmp_path, tmp_path / "a.zarr")
    stored = np.asarray(zarr.open_group(tmp_path / "a.zarr", mode="r")["labels/classes/0"])
    assert ((stored == 255) == (cells[1] == 0)).all()


def test_importing_again_writes_nothing_and_answers_the_same(
    record: VolumeRecord, order: ImportOrder, tmp_path: Path
) -> None:
    def times() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in (tmp_path / "volumes").rglob("*")}

    before = times()
    assert import_volume(order, tmp_path, tmp_path / record.zarr) == record
    assert times() == before


def test_another_split_of_the_same_files_has_its_own_mean(
    record: VolumeRecord, order: ImportOrder, cells: Pair, tmp_path: Path
) -> None:
    other = import_volume(replace(order, train=(2, 4)), tmp_path, tmp_path / record.zarr)
    assert other.mean == pytest.approx(cells[0][2:4].mean())
    assert other.checksum == record.checksum


def test_other_files_under_the_same_name_are_refused(
    record: VolumeRecord, order: ImportOrder, tmp_path: Path
) -> None:
    changed = replace(order, image=order.labels)
    with pytest.raises(StateError, match=r"was made of other files; remove it"):
        import_volume(changed, tmp_path, tmp_path / record.zarr)


def test_the_checksum_is_of_the_voxels(order_of: MakeOrder, cells: Pair, tmp_path: Path) -> None:
    def checksum(image: np.ndarray, name: str) -> str:
        order = order_of(image, cells[1])
        return import_volume(order, tmp_path, tmp_path / name).checksum

    changed = cells[0].copy()
    changed[9, 95, 95] ^= 1
    first = checksum(cells[0], "a.zarr")
    assert checksum(changed, "b.zarr") != first
    assert checksum(cells[0], "c.zarr") == first


@pytest.mark.parametrize("fatal", [64, 128, 150])
def test_a_killed_import_goes_on_and_ends_as_an_unbroken_one(
    fatal: int, order_of: MakeOrder, tmp_path: Path
) -> None:
    image = np.random.default_rng(0).integers(0, 255, (150, 70, 20), np.uint8)
    order = order_of(image, (image > 100).astype(np.uint8), train=(3, 140))
    seen: list[int] = []

    def die(done: int, _of: int) -> None:
        seen.append(done)
        if done == fatal:
            raise Killed

    with pytest.raises(Killed):
        import_volume(order, tmp_path, tmp_path / "a.zarr", die)
    assert not (tmp_path / "a.zarr").exists()
    resumed = import_volume(order, tmp_path, tmp_path / "a.zarr", lambda n, _: seen.append(n))
    assert seen == [64, 128, 150]
    unbroken = import_volume(order, tmp_path, tmp_path / "b.zarr")
    assert replace(resumed, zarr="") == replace(unbroken, zarr="")
    assert not list(tmp_path.glob(".*"))


def test_an_import_whose_files_changed_in_between_starts_anew(
    order_of: MakeOrder, tmp_path: Path
) -> None:
    image = np.zeros((70, 8, 8), np.uint8)

    def die(_done: int, _of: int) -> None:
        raise Killed

    with pytest.raises(Killed):
        import_volume(order_of(image, image), tmp_path, tmp_path / "a.zarr", die)
    changed = order_of(image + 7, image, train=(0, 70))
    assert import_volume(changed, tmp_path, tmp_path / "a.zarr").mean == 7


def test_a_section_that_cannot_be_read_is_named_and_mended(
    order_of: MakeOrder, tmp_path: Path
) -> None:
    image = np.random.default_rng(0).integers(0, 255, (70, 20, 20), np.uint8)
    order = order_of(image, (image > 100).astype(np.uint8), train=(0, 60))
    scribble_section(Path(order.image), image, 65)
    with pytest.raises(SpecError, match=r"section 65 of .*image.tif cannot be read: .*damaged"):
        import_volume(order, tmp_path, tmp_path / "a.zarr")
    assert not (tmp_path / "a.zarr").exists()
    tifffile.imwrite(order.image, image)
    assert import_volume(order, tmp_path, tmp_path / "a.zarr").shape_zyx == image.shape


def test_shapes_that_differ_are_named(order_of: MakeOrder, cells: Pair, tmp_path: Path) -> None:
    order = order_of(cells[0], cells[1][:9])
    with pytest.raises(SpecError, match=r"shape \(9, 96, 96\) differs .* \(10, 96, 96\)"):
        import_volume(order, tmp_path, tmp_path / "a.zarr")
    assert not list(tmp_path.glob("*.zarr*"))


def test_a_missing_file_is_named(order_of: MakeOrder, cells: Pair, tmp_path: Path) -> None:
    order = order_of(*cells)
    Path(order.image).unlink()
    with pytest.raises(NotFoundError, match=r"no such file: .*image\.tif"):
        import_volume(order, tmp_path, tmp_path / "a.zarr")


class FakePost:
    """A post that asks to leave after the first slab."""

    def __init__(self, study: Path, cause: Cause | None) -> None:
        self.study, self.folder, self.cause = study, study / "attempt", cause
        self.said: list[tuple[int, int]] = []

    def evaluated(self, facts: object) -> None:
        raise AssertionError(facts)

    def progress(self, done: int, of: int) -> None:
        self.said.append((done, of))

    def stop_cause(self) -> Cause | None:
        return self.cause

    def holds_claim(self) -> bool:
        return True


def test_an_import_order_ends_with_the_volume_s_record(order: ImportOrder, tmp_path: Path) -> None:
    post = FakePost(tmp_path, None)
    outcome = run_import(order, post)
    assert outcome.cause is Cause.COMPLETED
    assert VolumeRecord(**outcome.facts["volume"]).shape_zyx == (10, 96, 96)
    assert (tmp_path / "volumes" / "cells.zarr").is_dir()
    assert post.said == [(10, 10)]


def test_a_preempted_import_says_so_and_leaves_no_volume(
    order_of: MakeOrder, tmp_path: Path
) -> None:
    image = np.zeros((70, 8, 8), np.uint8)
    outcome = run_import(order_of(image, image), FakePost(tmp_path, Cause.PREEMPTED))
    assert outcome.cause is Cause.PREEMPTED
    assert not (tmp_path / "volumes" / "cells.zarr").exists()


def test_the_real_volume_is_imported(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "drosophila_vnc"
    order = ImportOrder(
        name="vnc",
        image=str(folder / "image.tif"),
        labels=str(folder / "labels.tif"),
        classes=("intracellular", "membrane", "mitochondria", "synapse", "glia"),
        voxel_nm=(50, 4.6, 4.6),
        train=(0, 14),
    )
    made = import_volume(order, tmp_path, tmp_path / "vnc.zarr")
    assert made.shape_zyx == (20, 1024, 1024)
    image = tifffile.imread(order.image)
    assert made.mean == pytest.approx(image[:14].mean())


def test_a_volume_that_was_changed_on_disk_is_found_out(
    record: VolumeRecord, tmp_path: Path
) -> None:
    assert verify_volume(record, tmp_path)
    labels = array_in(zarr.open_group(tmp_path / record.zarr, mode="r+"), "labels/classes/0")
    labels[3, 4, 5] = 1 - np.asarray(labels[3, 4, 5]) % 2
    assert not verify_volume(record, tmp_path)


_IMPORT = """
import sys
from pathlib import Path
from emsearch.records.order import ImportOrder
from emsearch.volumes.importing import import_volume
folder = Path(sys.argv[1])
order = ImportOrder(name="a", image=str(folder / sys.argv[2]), labels=str(folder / "labels.npy"),
                    classes=("a", "b"), voxel_nm=(1, 1, 1))
import_volume(order, folder, folder / "a.zarr")
# Not ru_maxrss, which a child takes over from the process that started it.
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(int(status["VmHWM"].split()[0]) / 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["image.npy", "image.tif"])
def test_an_import_takes_less_than_500_mb(name: str, tmp_path: Path) -> None:
    shape = (64, 1500, 1500)
    np.lib.format.open_memmap(tmp_path / "labels.npy", "w+", np.int64, shape).flush()  # 1.1 GB
    if name == "image.tif":
        pages = (np.zeros(shape[1:], np.float32) for _ in range(shape[0]))
        tifffile.imwrite(
            tmp_path / name, pages, shape=shape, dtype=np.float32, compression="zlib",
            photometric="minisblack",
        )  # fmt: skip
    else:
        np.lib.format.open_memmap(tmp_path / name, "w+", np.float32, shape).flush()
    command = [sys.executable, "-c", _IMPORT, str(tmp_path), name]
    megabytes = float(subprocess.run(command, check=True, capture_output=True).stdout)
    assert megabytes < 500
