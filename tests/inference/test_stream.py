import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

from emsearch.ensembles.run import run_ensemble
from emsearch.errors import NotFoundError, SpecError, StateError
from emsearch.inference import stream
from emsearch.inference.box import Box
from emsearch.inference.ensemble import load_ensemble
from emsearch.inference.pyramid import FILL
from emsearch.inference.stream import segment
from emsearch.records.order import EnsembleOrder
from tests.support.trials import FakePost, make_study, picture, trained_member

SHAPE = (20, 150, 90)


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory: pytest.TempPathFactory) -> Path:
    study = tmp_path_factory.mktemp("study")
    dataset = make_study(study)
    members = [trained_member(study, dataset, trial) for trial in range(2)]
    order = EnsembleOrder(
        pool=tuple(members), baselines=tuple(members), size=2, dataset=dataset, device="cpu"
    )
    run_ensemble(order, FakePost(study=study, folder=study / "tasks" / "a"))
    return study / "ensembles" / "baseline"


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    image, _ = picture(SHAPE, seed=3)
    tifffile.imwrite(tmp_path / "image.tif", image, compression="deflate")
    return tmp_path / "image.tif"


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_WRITTEN", (16, 128, 64))
    monkeypatch.setattr(
        "emsearch.inference.committee.Committee.block_zyx", lambda _self, _volume: (3, 64, 64)
    )


def _nothing(_done: int, _of: int) -> None:
    """Tell nobody."""


def _labels(out: Path) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    return np.asarray(zarr.open_group(out, mode="r")["0"][:])  # type: ignore[index]


def test_a_streamed_volume_has_the_labels_of_one_in_memory(
    ensemble: Path, volume: Path, tmp_path: Path
) -> None:
    told: list[tuple[int, int]] = []
    segment(ensemble, volume, tmp_path / "out.zarr", lambda done, of: told.append((done, of)))
    expected = load_ensemble(ensemble, "cpu").segment(tifffile.imread(volume))
    np.testing.assert_array_equal(_labels(tmp_path / "out.zarr"), expected)
    assert told == [(done, 4) for done in range(5)]


def test_the_output_is_ome_zarr_with_several_resolutions(ensemble: Path, tmp_path: Path) -> None:
    image, _ = picture((4, 600, 300))
    np.save(tmp_path / "image.npy", image)
    segment(ensemble, tmp_path / "image.npy", tmp_path / "out.zarr", _nothing)
    group: Any = zarr.open_group(tmp_path / "out.zarr", mode="r")
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
    fatal: int, ensemble: Path, volume: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(done: int, _of: int) -> None:
        if done == fatal:
            raise KeyboardInterrupt

    segment(ensemble, volume, tmp_path / "whole.zarr", _nothing)
    with pytest.raises(KeyboardInterrupt):
        segment(ensemble, volume, tmp_path / "out.zarr", die)
    made: list[Box] = []
    carry_out = stream._Work.carry_out

    def note(work: Any, block: Box) -> None:
        made.append(block)
        carry_out(work, block)

    monkeypatch.setattr(stream._Work, "carry_out", note)
    segment(ensemble, volume, tmp_path / "out.zarr", _nothing)
    assert len(made) == 4 - fatal
    assert _tree(tmp_path / "out.zarr") == _tree(tmp_path / "whole.zarr")


def _tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_block_that_lost_a_chunk_is_made_again(
    ensemble: Path, volume: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.zarr"
    segment(ensemble, volume, out, _nothing)
    before = _tree(out)
    (out / "0" / "c" / "0" / "1" / "0").unlink()
    segment(ensemble, volume, out, _nothing)
    assert _tree(out) == before


def test_a_disk_that_is_full_names_the_block_and_loses_nothing(
    ensemble: Path, volume: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.zarr"
    predict = stream._Work._predict

    def fill_up(work: Any, block: Box) -> Any:
        if block.start_zyx[1] > 0:
            raise OSError(28, "No space left on device")
        return predict(work, block)

    with monkeypatch.context() as patch:
        patch.setattr(stream._Work, "_predict", fill_up)
        with pytest.raises(StateError, match=r"block z, y, x \(0, 128, 0\) to .* No space left"):
            segment(ensemble, volume, out, _nothing)
    segment(ensemble, volume, out, _nothing)
    assert (_labels(out) != FILL).all()


def test_a_truncated_image_names_the_block(ensemble: Path, tmp_path: Path) -> None:
    image, _ = picture((40, 150, 90))
    group = zarr.create_group(tmp_path / "image.zarr")
    array = group.create_array("0", shape=image.shape, chunks=(8, 64, 64), dtype=image.dtype)
    array[:] = image
    chunk = tmp_path / "image.zarr" / "0" / "c" / "3" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:20])
    with pytest.raises(StateError, match=r"block z, y, x \(16, 0, 0\) to"):
        segment(ensemble, tmp_path / "image.zarr" / "0", tmp_path / "out.zarr", _nothing)


def test_the_output_of_another_ensemble_or_volume_is_left_alone(
    ensemble: Path, volume: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.zarr"
    segment(ensemble, volume, out, _nothing)
    before = _tree(out)
    np.save(tmp_path / "other.npy", picture((3, 40, 40))[0])
    with pytest.raises(SpecError, match="another volume or by another ensemble"):
        segment(ensemble, tmp_path / "other.npy", out, _nothing)
    with pytest.raises(SpecError, match="another volume or by another ensemble"):
        segment(ensemble.parent / "best", volume, out, _nothing)
    assert _tree(out) == before


def test_a_folder_that_is_something_else_is_left_alone(
    ensemble: Path, volume: Path, tmp_path: Path
) -> None:
    (tmp_path / "out.zarr").mkdir()
    (tmp_path / "out.zarr" / "thesis.txt").write_text("years of work")
    with pytest.raises(SpecError, match="choose another name"):
        segment(ensemble, volume, tmp_path / "out.zarr", _nothing)
    assert (tmp_path / "out.zarr" / "thesis.txt").read_text() == "years of work"


def test_what_is_missing_is_named_and_nothing_is_written(ensemble: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="absent"):
        segment(ensemble, tmp_path / "absent.tif", tmp_path / "out.zarr", _nothing)
    with pytest.raises(NotFoundError, match="no ensemble"):
        segment(tmp_path, tmp_path / "absent.tif", tmp_path / "out.zarr", _nothing)
    assert not list(tmp_path.iterdir())


_PROGRAM = """
import sys
from pathlib import Path
from emsearch.inference import stream

stream._WRITTEN = (16, 128, 128)
stream.segment(*map(Path, sys.argv[1:4]), lambda done, of: print(done, flush=True), "cpu")
"""


@pytest.mark.slow
def test_a_process_killed_several_times_ends_with_the_same_bytes(
    ensemble: Path, tmp_path: Path
) -> None:
    image, _ = picture((32, 300, 400))
    np.save(tmp_path / "image.npy", image)
    arguments = [str(ensemble), str(tmp_path / "image.npy")]

    def start(out: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", _PROGRAM, *arguments, str(tmp_path / out)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, env=environment)

    _finish(start("whole.zarr"))
    rng = np.random.default_rng(0)
    for _ in range(3):
        process = start("out.zarr")
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(float(rng.uniform(0, 0.3)))
        process.kill()
        process.communicate()
    _finish(start("out.zarr"))
    assert _tree(tmp_path / "out.zarr") == _tree(tmp_path / "whole.zarr")


def _finish(process: "subprocess.Popen[str]") -> None:
    process.communicate(timeout=200)
    assert process.returncode == 0


_MEASURED = """
import sys
from pathlib import Path
from emsearch.inference.stream import segment

segment(*map(Path, sys.argv[1:4]), lambda done, of: None, "cpu")
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
