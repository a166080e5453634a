"""Commands that look at volumes, and the one that trains again."""

import json
from pathlib import Path

import pytest
import tifffile
from typer.testing import CliRunner

from emsearch.cli.app import app
from emsearch.errors import NotFoundError, SpecError
from emsearch.records.files import write_json
from emsearch.records.order import Order
from emsearch.training.run import run_trial
from emsearch.volumes.phantom import phantom
from tests.support.trials import FakePost, make_study, train_order


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Image and labels of a phantom."""
    paths = tmp_path / "image.tif", tmp_path / "labels.tif"
    for path, array in zip(paths, phantom((6, 64, 64), seed=1), strict=True):
        tifffile.imwrite(path, array, photometric="minisblack")
    return paths


def test_info_tells_what_an_image_and_its_labels_hold(files: tuple[Path, Path]) -> None:
    told = CliRunner().invoke(app, ["volumes", "info", *map(str, files), "--json"])
    record = json.loads(told.stdout)
    assert record["shape_zyx"] == [6, 64, 64]
    assert record["shift_yx"] == [0, 0]
    assert sum(record["fractions"].values()) == pytest.approx(1)
    assert record["voxel_nm"] is None
    alone = CliRunner().invoke(app, ["volumes", "info", str(files[0])])
    assert "shape zyx" in alone.stdout


def test_an_import_without_a_voxel_size_asks_for_it(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    words = ["volumes", "import", *map(str, files), str(tmp_path / "a.zarr"), "--classes"]
    classes = "a,b,c,d,e,f"
    refused = CliRunner().invoke(app, [*words, classes])
    assert isinstance(refused.exception, SpecError)
    assert "does not say its voxel size; give --voxel" in str(refused.exception)
    done = CliRunner().invoke(app, [*words, classes, "--voxel", "40,10,10"])
    assert done.exit_code == 0
    facts = CliRunner().invoke(app, ["volumes", "info", str(tmp_path / "a.zarr"), "--json"])
    assert json.loads(facts.stdout)["voxel_nm"] == [40, 10, 10]


def test_replay_trains_a_trial_again_and_compares(tmp_path: Path) -> None:
    task = train_order(make_study(tmp_path), horizon=3, until_step=3, evaluate_at=())
    order = Order(number=0, folder="trials/000003", kind="train", task=task, version="1")
    write_json(tmp_path / "orders" / "00000000.json", order.to_dict())
    folder = tmp_path / "trials" / "000003" / "attempts" / "a"
    run_trial(task, FakePost(study=tmp_path, folder=folder))
    told = CliRunner().invoke(app, ["replay", str(tmp_path), "--trial", "3", "--json"])
    assert told.exit_code == 0
    assert json.loads(told.stdout)["is_equal"] is True
    result = folder / "result.json"
    changed = json.loads(result.read_text())
    changed["facts"]["score"]["mean_iou"] += 0.1
    result.write_text(json.dumps(changed))
    other = CliRunner().invoke(app, ["replay", str(tmp_path), "--trial", "3"])
    assert other.exit_code == 1
    unknown = CliRunner().invoke(app, ["replay", str(tmp_path), "--trial", "9"])
    assert isinstance(unknown.exception, NotFoundError)
