"""The commands that use an ensemble, from segmenting to looking at what came of it."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

from emsearch.cli.napari_viewer import show
from emsearch.cli.segmenting import Blocks, _on_this_host, _spread
from emsearch.ensembles.run import run_ensemble
from emsearch.records.order import EnsembleOrder, SegmentOrder
from tests.support.real_study import listed, run
from tests.support.trials import FakePost, make_study, picture, trained_member


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an ensemble, an image, and its segmentation."""
    folder = tmp_path_factory.mktemp("made")
    dataset = make_study(folder / "study")
    member = trained_member(folder / "study", dataset, 0)
    order = EnsembleOrder(
        pool=(member,), baselines=(member,), size=1, dataset=dataset, device="cpu"
    )
    run_ensemble(order, FakePost(study=folder / "study", folder=folder / "study" / "tasks"))
    (folder / "study" / "ensembles" / "best").rename(folder / "best")
    np.save(folder / "image.npy", picture((6, 90, 100))[0])
    done = run("segment", folder / "best", folder / "image.npy", folder / "labels.zarr")
    assert done.returncode == 0, done.stderr
    assert "says no voxel size: taken for 40 x 4 x 4 nm" in done.stderr
    return folder


def test_a_segmentation_is_measured_in_all_forms(made: Path) -> None:
    rows = listed("measure", made / "labels.zarr")
    assert [row["name"] for row in rows] == ["outside", "cell", "spot"]
    assert sum(row["fraction"] for row in rows) == pytest.approx(1)
    assert sum(row["voxels"] for row in rows) == 6 * 90 * 100
    csv = run("measure", made / "labels.zarr", "--csv").stdout
    assert csv.startswith("name,voxels,fraction,volume_um3,objects,median_voxels")


def test_objects_are_found_and_counted(made: Path) -> None:
    out = made / "objects.zarr"
    done = run("instances", made / "labels.zarr", out, "--class", "cell", "--min-voxels", "5")
    assert done.returncode == 0, done.stderr
    (line, _) = done.stdout.splitlines()
    (cell,) = (
        row
        for row in listed("measure", made / "labels.zarr", "--instances", out)
        if row["name"] == "cell"
    )
    assert line == f"cell: {cell['objects']} objects"
    assert cell["objects"] > 0


def test_other_voxels_are_warned_of(made: Path, tmp_path: Path) -> None:
    arguments = (made / "best", made / "image.npy", tmp_path / "out.zarr", "--voxel", "40,8,8")
    done = run("segment", *arguments, "--probabilities", "--flips")
    assert done.returncode == 0, done.stderr
    assert "voxels of 40 x 8 x 8 nm are resampled" in done.stderr
    assert (tmp_path / "out.zarr" / "probabilities").is_dir()


def test_overlays_show_sections(made: Path, tmp_path: Path) -> None:
    png = tmp_path / "png"
    done = run("view", made / "labels.zarr", made / "image.npy", "--png", png, "--sections", "2")
    assert done.stdout.split() == [str(png / "z00001.png"), str(png / "z00004.png")]
    with Image.open(png / "z00001.png") as sheet:
        assert sheet.size == (2 * 100 + 6, 90 + 2 * 20)


def test_neuroglancer_is_told_where_the_labels_are(made: Path, tmp_path: Path) -> None:
    state_file = tmp_path / "state.json"
    arguments = (made / "labels.zarr", made / "image.npy", "--neuroglancer", state_file)
    done = run("view", *arguments, "--url", "http://host/")
    assert done.returncode == 0, done.stderr
    state = json.loads(state_file.read_text())
    (layer,) = state["layers"]
    assert layer["source"] == "zarr://http://host/labels.zarr/"
    assert "CORS" in done.stdout
    assert "image.npy is left out: neuroglancer reads Zarr alone" in done.stderr


def test_without_napari_it_is_said_how_to_look(made: Path) -> None:
    done = run("view", made / "labels.zarr")
    assert done.returncode == 1
    assert "pip install 'emsearch[view]'" in done.stderr


def test_an_ensemble_tells_of_itself(made: Path) -> None:
    assert "How to cite" in run("ensemble", "info", made / "best").stdout
    card = listed("ensemble", "info", made / "best")
    assert card["classes"] == ["outside", "cell", "spot"]


def test_an_ensemble_is_exported_in_one_form(made: Path, tmp_path: Path) -> None:
    done = run("ensemble", "export", made / "best", tmp_path / "a.pt2", "--torch-export")
    assert done.returncode == 0, done.stderr
    assert "largest difference" in done.stdout
    neither = run("ensemble", "export", made / "best")
    assert neither.returncode == 1
    assert "say --onnx or --torch-export" in neither.stderr


@pytest.mark.parametrize(
    ("device", "gpus", "devices"),
    [
        ("auto", 2, ["cuda:0", "cuda:1", "cuda:0"]),
        ("cuda", 2, ["cuda:0", "cuda:1", "cuda:0"]),
        ("cuda:1", 2, ["cuda:1"] * 3),
        ("auto", 0, ["auto"] * 3),
    ],
)
def test_jobs_of_this_host_are_spread_over_its_gpus(
    device: str, gpus: int, devices: list[str]
) -> None:
    assert _spread(device, 3, gpus) == devices


def test_jobs_of_this_host_share_the_cores_that_they_may_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: set(range(6)))
    task = SegmentOrder(ensemble="", volume="", out=str(tmp_path / "out.zarr"), device="cpu")
    assert _on_this_host(task, 2).threads == 3
    assert _on_this_host(task, 9).threads == 1


def test_the_time_left_is_reckoned_from_the_blocks_of_this_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    blocks = Blocks()
    assert blocks._left(50, 100) == "reckoning"
    now[0] += 30
    assert blocks._left(60, 100) == "2 min left"
    assert blocks._left(100, 100) == "0 s left"


class FakeViewer:
    """napari's, as far as it is used."""

    shown: ClassVar[dict[str, Any]] = {}

    def __init__(self, title: str) -> None:
        self.shown["title"] = title

    def add_image(self, array: Any, *, name: str, scale: Any) -> None:
        self.shown[name] = (np.asarray(array).shape, scale)

    def add_labels(self, levels: Any, *, multiscale: bool, name: str, scale: Any) -> None:
        self.shown[name] = (levels[0].shape, scale, multiscale)


def test_napari_is_shown_image_and_labels(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    napari = SimpleNamespace(Viewer=FakeViewer, run=lambda: None)
    monkeypatch.setitem(sys.modules, "napari", napari)
    show(made / "labels.zarr", made / "image.npy")
    shape, scale = (6, 90, 100), (40, 4, 4)
    assert FakeViewer.shown["image"] == (shape, scale)
    assert FakeViewer.shown["labels"] == (shape, scale, True)
