import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

from emsearch.errors import NotFoundError, SpecError, StateError
from emsearch.inference import output, resample, stream
from emsearch.inference.box import Box
from emsearch.inference.committee import Committee
from emsearch.inference.ensemble import load_ensemble
from emsearch.inference.output import Output, begin
from emsearch.inference.pyramid import FILL
from emsearch.inference.source import Source
from emsearch.inference.stream import run_segment, segment
from emsearch.records.order import SegmentOrder
from emsearch.records.trial import Cause
from tests.support.formats import scribble_section
from tests.support.trials import FakePost, picture

pytestmark = pytest.mark.usefixtures("small_blocks")
Silent = Callable[[int, int], None]


def _labels(task: SegmentOrder) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    return np.asarray(zarr.open_group(task.out, mode="r")["0"][:])  # type: ignore[index]


def _tree(task: SegmentOrder) -> dict[str, bytes]:
    """Return all files of an output."""
    folder = Path(task.out)
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_streamed_volume_has_the_labels_of_one_in_memory(task: SegmentOrder) -> None:
    told: list[tuple[int, int]] = []
    segment(task, lambda done, of: told.append((done, of)))
    expected = load_ensemble(task.ensemble, "cpu").segment(tifffile.imread(task.volume))
    np.testing.assert_array_equal(_labels(task), expected)
    assert told == [(done, 4) for done in range(5)]


@pytest.mark.parametrize("manner", [{"flips": True}, {"axes": "zyx"}, {"blend": "distance"}])
def test_every_manner_labels_a_volume(
    manner: dict[str, Any], task: SegmentOrder, silent: Silent
) -> None:
    segment(replace(task, **manner), silent)
    assert (_labels(task) < 3).all()


def test_probabilities_are_written_in_255ths(task: SegmentOrder, silent: Silent) -> None:
    task = replace(task, probabilities=True)
    segment(task, silent)
    group: Any = zarr.open_group(task.out, mode="r")
    probability_KZYX = group["probabilities/0"][:].astype(int)
    expected = load_ensemble(task.ensemble, "cpu").probability(tifffile.imread(task.volume))
    assert np.abs(probability_KZYX - 255 * expected).max() <= 0.51
    assert np.abs(probability_KZYX.sum(0) - 255).max() <= 2
    axes = group["probabilities"].attrs["ome"]["multiscales"][0]["axes"]
    assert [axis["name"] for axis in axes] == ["c", "z", "y", "x"]


def test_a_volume_of_other_voxels_is_resampled_and_keeps_its_own_grid(
    task: SegmentOrder, silent: Silent, tmp_path: Path
) -> None:
    image, _ = picture((6, 100, 80), seed=3)
    finer = image.repeat(2, axis=1).repeat(2, axis=2)
    np.save(tmp_path / "finer.npy", finer)
    task = replace(task, volume=str(tmp_path / "finer.npy"), voxel_nm=(40, 2, 2))
    segment(task, silent)
    found = _labels(task)
    assert found.shape == (6, 200, 160)
    known = load_ensemble(task.ensemble, "cpu").segment(image)
    assert (found == known.repeat(2, axis=1).repeat(2, axis=2)).mean() > 0.9
    group: Any = zarr.open_group(task.out, mode="r")
    (first, *_) = group.attrs["ome"]["multiscales"][0]["datasets"]
    assert first["coordinateTransformations"][0]["scale"] == [40, 2, 2]


@pytest.mark.parametrize(
    ("shape", "voxel_nm"), [((4, 200, 140), (40, 0.4, 0.4)), ((3, 12, 10), (320, 32, 32))]
)
def test_parts_and_reads_are_bounded_where_voxels_differ_much(
    shape: Any,
    voxel_nm: Any,
    task: SegmentOrder,
    silent: Silent,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reads, parts = list[int](), list[int]()
    read, probability, predict = Source.__getitem__, stream._Writer._probability, Committee.predict

    def note_read(source: Source, box: Any) -> Any:
        found = read(source, box)
        reads.append(found.size)
        return found

    def note_part(writer: Any, part: Box, *others: Any) -> Any:
        parts.append(prod(part.shape_zyx))
        return probability(writer, part, *others)

    def note_region(committee: Committee, image: Any, volume_zyx: Any, region: Box) -> Any:
        parts.append(prod(region.shape_zyx))
        return predict(committee, image, volume_zyx, region)

    monkeypatch.setattr(Source, "__getitem__", note_read)
    monkeypatch.setattr(stream._Writer, "_probability", note_part)
    monkeypatch.setattr(Committee, "predict", note_region)
    monkeypatch.setattr(stream, "_HELD_VX", 40_000)
    monkeypatch.setattr(resample, "_READ_VX", 40_000)
    np.save(tmp_path / "image.npy", picture(shape)[0])
    task = replace(task, volume=str(tmp_path / "image.npy"), voxel_nm=voxel_nm)
    segment(task, silent)
    assert max(parts) <= 2 * 3 * 64 * 64  # twice a part of equal voxels
    assert max(reads) <= max(40_000, *(prod(one.shape_zyx) for one in begin(task).blocks))
    assert (_labels(task) < 3).all()


def test_the_output_is_ome_zarr_with_several_resolutions(
    task: SegmentOrder, silent: Silent, tmp_path: Path
) -> None:
    image, _ = picture((4, 600, 300))
    np.save(tmp_path / "image.npy", image)
    task = replace(task, volume=str(tmp_path / "image.npy"))
    segment(task, silent)
    group: Any = zarr.open_group(task.out, mode="r")
    ome = group.attrs["ome"]
    (multiscale,) = ome["multiscales"]
    assert ome["version"] == "0.5"
    scales = [d["coordinateTransformations"][0]["scale"] for d in multiscale["datasets"]]
    assert scales == [[40, 4, 4], [40, 8, 8], [40, 16, 16]]
    assert [group[d["path"]].shape for d in multiscale["datasets"]] == [
        (4, 600, 300),
        (4, 300, 150),
        (4, 150, 75),
    ]
    np.testing.assert_array_equal(group["1"][:], group["0"][:, ::2, ::2])
    names = [entry["name"] for entry in ome["image-label"]["properties"]]
    assert names == ["outside", "cell", "spot"]


@pytest.mark.parametrize("fatal", [0, 1, 3])
def test_a_killed_run_goes_on_with_the_blocks_that_are_missing(
    fatal: int, task: SegmentOrder, silent: Silent, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(done: int, _of: int) -> None:
        if done == fatal:
            raise KeyboardInterrupt

    whole = replace(task, out=task.out.replace("out", "whole"))
    segment(whole, silent)
    with pytest.raises(KeyboardInterrupt):
        segment(task, die)
    missing = begin(task).missing()
    assert len(missing) == (3 - fatal if fatal else 4)  # one more was predicted
    made: list[Box] = []
    predict = stream._Writer._predict

    def note(writer: Any, block: Box, *others: Any) -> Any:
        made.append(block)
        return predict(writer, block, *others)

    monkeypatch.setattr(stream._Writer, "_predict", note)
    segment(task, silent)
    assert made == [begin(task).blocks[number] for number in missing]
    assert _tree(task) == _tree(whole)


def test_a_block_that_lost_a_chunk_is_made_again(task: SegmentOrder, silent: Silent) -> None:
    segment(task, silent)
    before = _tree(task)
    (Path(task.out) / "0" / "c" / "0" / "1" / "0").unlink()
    segment(task, silent)
    assert _tree(task) == before


def test_what_a_killed_process_left_of_a_chunk_is_swept_away(
    task: SegmentOrder, silent: Silent
) -> None:
    segment(task, silent)
    before = _tree(task)
    (Path(task.out) / "0" / "c" / "0" / "1" / "0.abc.partial").write_bytes(b"half")
    segment(task, silent)
    assert _tree(task) == before


def test_a_disk_that_fills_up_names_the_block_and_loses_nothing(
    task: SegmentOrder, silent: Silent, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["/bin/mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", str(disk)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("no small disk can be mounted here")
    try:
        small = replace(task, out=str(disk / "out.zarr"))
        with pytest.raises(StateError, match=r"block z, y, x .* to .* No space left on device"):
            segment(small, silent)
        kept = 4 - len(begin(small).missing())
        subprocess.run(["/bin/mount", "-o", "remount,size=4m", str(disk)], check=True)
        told: list[int] = []
        segment(small, lambda done, _of: told.append(done))
        assert told[0] == kept
        segment(task, silent)
        assert _tree(small) == _tree(task)
    finally:
        subprocess.run(["/bin/umount", str(disk)], check=True)


def test_a_disk_that_is_full_names_the_block(
    task: SegmentOrder, silent: Silent, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict = stream._Writer._predict

    def fill_up(writer: Any, block: Box, *others: Any) -> Any:
        if block.start_zyx[1] > 0:
            raise OSError(28, "No space left on device")
        return predict(writer, block, *others)

    with monkeypatch.context() as patch:
        patch.setattr(stream._Writer, "_predict", fill_up)
        with pytest.raises(StateError, match=r"block z, y, x \(0, 128, 0\) to .* No space left"):
            segment(task, silent)
    segment(task, silent)
    assert (_labels(task) != FILL).all()


def test_an_output_that_cannot_be_made_is_told_of(task: SegmentOrder, silent: Silent) -> None:
    (Path(task.out).parent / "file").write_text("")
    with pytest.raises(StateError, match=r"file/out.zarr cannot be made: .* another place"):
        segment(replace(task, out=str(Path(task.out).parent / "file" / "out.zarr")), silent)


def _as_zarr(folder: Path) -> Path:
    """Write an image of 5 x 3 x 2 chunks and return its path."""
    image, _ = picture((40, 150, 90))
    group = zarr.create_group(folder / "image.zarr")
    array = group.create_array("0", shape=image.shape, chunks=(8, 64, 64), dtype=image.dtype)
    array[:] = image
    return folder / "image.zarr" / "0"


def test_a_truncated_image_names_the_block(
    task: SegmentOrder, silent: Silent, tmp_path: Path
) -> None:
    image = _as_zarr(tmp_path)
    chunk = image / "c" / "3" / "0" / "0"
    whole = chunk.read_bytes()
    chunk.write_bytes(whole[:20])
    task = replace(task, volume=str(image))
    with pytest.raises(StateError, match=r"block z, y, x \(16, 0, 0\) to"):
        segment(task, silent)
    chunk.write_bytes(whole)
    told: list[int] = []
    segment(task, lambda done, _of: told.append(done))
    assert told[0] == 2


def test_a_tiff_cut_short_is_named_before_anything_is_done(
    task: SegmentOrder, silent: Silent
) -> None:
    path = Path(task.volume)
    tifffile.imwrite(path, picture((20, 150, 90))[0])
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 9 // 10])
    with pytest.raises(SpecError, match=rf"{path} is damaged or cut short"):
        segment(task, silent)


def test_damage_amid_a_tiff_names_the_block_and_the_section(
    task: SegmentOrder, silent: Silent
) -> None:
    image = picture((40, 150, 90))[0]
    scribble_section(Path(task.volume), image, 30)
    words = (
        rf"block z, y, x \(16, 0, 0\) to .*section 30 of {task.volume} cannot be read: .*damaged"
    )
    with pytest.raises(StateError, match=words):
        segment(task, silent)
    tifffile.imwrite(task.volume, image)
    segment(task, silent)
    assert (_labels(task) < 3).all()


def test_a_chunk_that_is_missing_is_named_unless_that_is_allowed(
    task: SegmentOrder, silent: Silent, tmp_path: Path
) -> None:
    image = _as_zarr(tmp_path)
    (image / "c" / "3" / "2" / "1").unlink()
    task = replace(task, volume=str(image))
    message = r"block z, y, x \(16, 0, 0\) to .* chunk c/3/2/1 of the volume is missing"
    with pytest.raises(StateError, match=message):
        segment(task, silent)
    segment(replace(task, allow_missing=True), silent)
    assert (_labels(task) < 3).all()


@pytest.mark.parametrize("chunk", ["0/c/0/1/0", "probabilities/0/c/1/0/1/0"])
@pytest.mark.parametrize("how", ["scribbled", "of nothing"])
def test_a_damaged_block_is_found_when_it_is_verified_and_made_again(
    chunk: str, how: str, task: SegmentOrder, silent: Silent, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = replace(task, probabilities=True)
    segment(task, silent)
    before = _tree(task)
    if how == "scribbled":
        (Path(task.out) / chunk).write_bytes(b"scribble")
    else:
        name, place = chunk.split("/c/")
        array: Any = zarr.open_group(task.out, mode="r+")[name]
        corner = [int(n) * size for n, size in zip(place.split("/"), array.chunks, strict=True)]
        array[tuple(slice(at, at + 1) for at in corner)] = array.fill_value
    seen: list[bool] = []
    predict = stream._Writer._predict

    def note(writer: Any, block: Box, *others: Any) -> Any:
        assert block.start_zyx == (0, 128, 0)
        seen.append(begin(task).is_finished())
        return predict(writer, block, *others)

    monkeypatch.setattr(stream._Writer, "_predict", note)
    segment(task, silent)
    assert seen == [False]  # it was taken back before anything was written
    assert _tree(task) == before


def test_a_disk_that_does_not_keep_what_is_written_is_named(
    task: SegmentOrder, silent: Silent, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Output.write

    def spoil(output: Output, block: Box, *others: Any) -> None:
        write(output, block, *others)
        if block.start_zyx == (0, 128, 0):
            (output.folder / "0" / "c" / "0" / "1" / "0").write_bytes(b"scribble")

    monkeypatch.setattr(Output, "write", spoil)
    with pytest.raises(StateError, match=r"block z, y, x \(0, 128, 0\) .* twice in a row"):
        segment(task, silent)
    assert not begin(task).is_finished()


def test_nothing_is_removed_while_a_disk_cannot_be_read(task: SegmentOrder, silent: Silent) -> None:
    segment(task, silent)
    chunk = Path(task.out) / "0" / "c" / "0" / "1" / "0"
    before = _tree(task)
    kept = chunk.rename(chunk.with_name("kept"))
    chunk.symlink_to("/proc/self/mem")  # there, and reading it is an input/output error
    message = r"block z, y, x \(0, 128, 0\) .* cannot be read: .*Input/output error"
    with pytest.raises(StateError, match=message):
        segment(task, silent)
    assert begin(task).is_finished()
    kept.replace(chunk)
    assert _tree(task) == before


def test_lower_resolutions_that_cannot_be_written_are_told_of(
    task: SegmentOrder, silent: Silent, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    np.save(tmp_path / "image.npy", picture((2, 300, 40))[0])
    task = replace(task, volume=str(tmp_path / "image.npy"))

    def fill_up(*_levels: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(output, "shrink", fill_up)
        with pytest.raises(StateError, match=r"lower resolutions .* No space left .* run again"):
            segment(task, silent)
    told: list[int] = []
    segment(task, lambda done, _of: told.append(done))
    assert told == [len(begin(task).blocks)]


def test_the_output_of_another_ensemble_volume_or_manner_is_left_alone(
    task: SegmentOrder, silent: Silent, tmp_path: Path
) -> None:
    segment(task, silent)
    before = _tree(task)
    np.save(tmp_path / "other.npy", picture((3, 40, 40))[0])
    with pytest.raises(SpecError, match=r"another volume .* \(differing: shape_zyx, image\)"):
        segment(replace(task, volume=str(tmp_path / "other.npy")), silent)
    best = str(Path(task.ensemble).parent / "best")
    with pytest.raises(SpecError, match=r"\(differing: ensemble\)"):
        segment(replace(task, ensemble=best), silent)
    with pytest.raises(SpecError, match=r"\(differing: flips\)"):
        segment(replace(task, flips=True), silent)
    assert _tree(task) == before


@pytest.mark.parametrize("change", ["values", "dtype"])
def test_another_image_of_the_same_shape_is_not_gone_on_with(
    change: str, task: SegmentOrder, silent: Silent
) -> None:
    segment(task, silent)
    (Path(task.out) / "0" / "c" / "0" / "1" / "0").unlink()
    before = _tree(task)
    image = tifffile.imread(task.volume)
    other = image[:, ::-1] if change == "values" else image.astype(np.uint16)
    tifffile.imwrite(task.volume, other)
    message = r"another volume .* \(differing: image\); choose another name, or remove it"
    with pytest.raises(SpecError, match=message):
        segment(task, silent)
    assert _tree(task) == before


def test_an_image_of_which_too_little_can_be_read_to_tell_it_from_others_is_refused(
    task: SegmentOrder, silent: Silent, tmp_path: Path
) -> None:
    image = _as_zarr(tmp_path)
    task = replace(task, volume=str(image))
    segment(task, silent)
    (image / "c" / "2" / "1" / "0").write_bytes(b"scribble")  # in the middle
    with pytest.raises(StateError, match=r"voxels z, y, x \(19, 59, 9\) to \(20, 91, 41\) of the"):
        segment(task, silent)


def test_a_folder_that_is_something_else_is_left_alone(task: SegmentOrder, silent: Silent) -> None:
    Path(task.out).mkdir()
    (Path(task.out) / "thesis.txt").write_text("years of work")
    with pytest.raises(SpecError, match="choose another name"):
        segment(task, silent)
    assert (Path(task.out) / "thesis.txt").read_text() == "years of work"


def test_what_is_missing_is_named_and_nothing_is_written(
    task: SegmentOrder, silent: Silent, tmp_path: Path
) -> None:
    with pytest.raises(NotFoundError, match="absent"):
        segment(replace(task, volume=str(tmp_path / "absent.tif")), silent)
    with pytest.raises(NotFoundError, match="no ensemble"):
        segment(replace(task, ensemble=str(tmp_path)), silent)
    assert [path.name for path in tmp_path.iterdir()] == ["image.tif"]


def test_a_share_writes_its_blocks_and_no_others(task: SegmentOrder, tmp_path: Path) -> None:
    post = FakePost(study=tmp_path, folder=tmp_path / "attempt")
    outcome = run_segment(replace(task, blocks=(1, 3)), post)
    assert outcome.cause is Cause.COMPLETED
    assert outcome.facts == {"blocks": 2, "verified": False}
    assert begin(task).missing() == [0, 2]


def test_each_chunk_of_the_image_is_read_once_a_block(
    task: SegmentOrder, silent: Silent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[Any] = []
    read = Source.__getitem__

    def note(source: Source, box: Any) -> Any:
        reads.append(box)
        return read(source, box)

    monkeypatch.setattr(Source, "__getitem__", note)
    task = replace(task, volume=str(_as_zarr(tmp_path)))
    blocks = begin(task).blocks
    sampled = len(reads)  # small boxes that tell the image from others
    segment(task, silent)
    assert len(reads) - 2 * sampled == len(blocks) == 6


@pytest.mark.parametrize(("told", "left"), [(0, [0, 1, 2, 3]), (1, [2, 3]), (2, [3])])
def test_a_share_leaves_when_asked_and_keeps_what_is_predicted(
    told: int, left: list[int], task: SegmentOrder, tmp_path: Path
) -> None:
    post = FakePost(study=tmp_path, folder=tmp_path / "attempt", stop_after=told)
    assert run_segment(task, post).cause is Cause.PREEMPTED
    assert begin(task).missing() == left


def test_a_share_leaves_amid_a_block(
    task: SegmentOrder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    post = FakePost(study=tmp_path, folder=tmp_path / "attempt")
    parts: list[Box] = []
    label = Committee.label

    def note(committee: Committee, read: Any, volume_zyx: Any, part: Box) -> Any:
        parts.append(part)
        post.stop_after = 0
        return label(committee, read, volume_zyx, part)

    monkeypatch.setattr(Committee, "label", note)
    assert run_segment(task, post).cause is Cause.PREEMPTED
    assert len(parts) == 1
    assert parts[0] not in begin(task).blocks
    assert begin(task).missing() == [0, 1, 2, 3]


_MEASURED = """
import sys
from pathlib import Path
from emsearch.inference.stream import segment
from emsearch.records.order import SegmentOrder

ensemble, volume, out = sys.argv[1:4]
task = SegmentOrder(ensemble=ensemble, volume=volume, out=out, device="cpu", voxel_nm=(40, 4, 4))
segment(task, lambda done, of: None)
# Not ru_maxrss, which a child takes over from the process that started it.
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(int(status["VmHWM"].split()[0]) // 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_volume(ensemble: Path, tmp_path: Path) -> None:
    peaks_mb = []
    for depth in (16, 64):  # of the larger one the class probabilities alone take 280 MB
        image = np.random.default_rng(0).integers(0, 255, (depth, 600, 600), np.uint8)
        source = zarr.create_group(tmp_path / f"{depth}.zarr")
        source.create_array("0", data=image, chunks=(16, 128, 128))
        arguments = [tmp_path / f"{depth}.zarr" / "0", tmp_path / f"out{depth}.zarr"]
        command = [sys.executable, "-c", _MEASURED, str(ensemble), *map(str, arguments)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        peaks_mb.append(int(done.stdout))
    assert peaks_mb[1] < 1.1 * peaks_mb[0]
