"""Commands, as a user runs them, on a study that has run."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

from emsearch.records.trial import OVER
from tests.support.real_study import STUDY, listed, run, write_study

pytestmark = pytest.mark.slow

PROMISED = {
    "rank",
    "candidate",
    "tree",
    "family",
    "baseline",
    "parameters",
    "trials",
    "failed",
    "score",
    "score_low",
    "score_high",
    "score_name",
}


def test_a_launched_study_says_what_it_came_to(finished: Path) -> None:
    said = (finished.parent / "said.txt").read_text()
    assert "baseline" in said
    assert "ensembles/best" in said.replace("\n", "")
    assert "report.html" in said.replace("\n", "")


def test_the_leaderboard_is_a_list_of_what_was_promised(finished: Path) -> None:
    entries = listed("leaderboard", finished)
    assert [entry["rank"] for entry in entries] == list(range(1, len(entries) + 1))
    assert set(entries[0]) >= PROMISED
    assert sum(entry["baseline"] for entry in entries) == 1
    assert len(entries) == 1 + 3 + 2
    for entry in entries:
        assert entry["score_low"] <= entry["score"] <= entry["score_high"]


def test_the_leaderboard_as_csv_holds_the_same(finished: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(run("leaderboard", finished, "--csv").stdout)))
    entries = listed("leaderboard", finished)
    assert [int(row["candidate"]) for row in rows] == [entry["candidate"] for entry in entries]


def test_the_leaderboard_can_be_cut(finished: Path) -> None:
    assert len(listed("leaderboard", finished, "--top", "2")) == 2


def test_a_piped_leaderboard_is_plain(finished: Path) -> None:
    said = run("leaderboard", finished).stdout
    assert "\x1b" not in said
    assert "encoder_decoder_2d" in said


def test_status_counts_trials_and_attempts_by_state_and_cause(finished: Path) -> None:
    where = listed("status", finished)
    assert where["stage"] == "finished"
    assert sum(where["trials"].values()) == 2 + 3 + 2
    assert set(where["trials"]) <= {state.value for state in OVER}
    assert where["causes"]["completed"] >= 5
    assert where["attempts"] == {"ended": sum(where["causes"].values())}


def test_show_tells_of_a_candidate_and_of_a_trial(finished: Path) -> None:
    assert listed("show", finished, "--candidate", "0")["origin"] == "baseline"
    assert listed("show", finished, "--trial", "1")["state"] == "completed"


def test_the_leaderboard_can_be_filtered_and_ranked_by_a_class(finished: Path) -> None:
    baselines = listed("leaderboard", finished, "--family", "baseline")
    assert [entry["candidate"] for entry in baselines] == [0]
    by_class = listed("leaderboard", finished, "--by", "membrane")
    assert {entry["score_name"] for entry in by_class} == {"iou_membrane"}
    assert run("leaderboard", finished, "--markdown").stdout.startswith("| rank")


def test_the_ledger_can_be_asked_in_sql_and_not_written(finished: Path) -> None:
    (row,) = listed("query", finished, "SELECT count(*) AS n FROM trials")
    assert row["n"] == 2 + 3 + 2
    done = run("query", finished, "DELETE FROM trials")
    assert done.returncode == 1
    assert listed("query", finished, "SELECT count(*) AS n FROM trials") == [row]


def test_init_writes_a_study_file_that_check_accepts(tmp_path: Path) -> None:
    write_study(tmp_path)
    out = tmp_path / "own.toml"
    done = run("init", tmp_path / "image.tif", tmp_path / "labels.tif", "--out", out)
    assert done.returncode == 0, done.stderr
    again = run("init", tmp_path / "image.tif", tmp_path / "labels.tif", "--out", out)
    assert again.returncode == 1
    assert "exists" in again.stderr


def test_show_wants_one_of_the_three(finished: Path) -> None:
    done = run("show", finished)
    assert done.returncode == 1
    assert "--candidate N, --trial N or --attempt NAME" in done.stderr


def test_the_report_is_one_file_that_needs_nothing_else(finished: Path) -> None:
    page = Path(run("report", finished).stdout.strip())
    text = page.read_text()
    assert "http://" not in text.replace("http://www.w3.org", "")
    assert "<script src" not in text
    assert "small" in text


def test_the_ensemble_segments_a_new_volume(finished: Path, tmp_path: Path) -> None:
    image_ZYX = np.random.default_rng(0).integers(0, 255, (3, 70, 50), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "new.tif", image_ZYX, photometric="minisblack")
    ensemble = finished / "ensembles" / "best"
    done = run("segment", ensemble, tmp_path / "new.tif", tmp_path / "out.zarr")
    assert done.returncode == 0, done.stderr
    group = zarr.open_group(tmp_path / "out.zarr", mode="r")
    labels = group["0"]
    assert isinstance(labels, zarr.Array)
    assert labels.shape == image_ZYX.shape


def test_a_finished_study_can_be_resumed_and_stays(finished: Path) -> None:
    before = listed("leaderboard", finished)
    assert run("resume", finished).returncode == 0
    assert listed("leaderboard", finished) == before


def test_check_forecasts_time_and_disk_and_writes_nothing(tmp_path: Path) -> None:
    file = write_study(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    taken = json.loads(run("check", file, "--json").stdout)["forecast"]
    assert taken["total_s"] > 0
    assert taken["disk_gb"] > 0
    assert taken["trials"] == 2 + 3 + 2
    assert sorted(tmp_path.rglob("*")) == before


FAULTS = {
    "an unknown key": ("repeats = 1", "repeat = 1", "search.repeat"),
    "a missing file": ('"image.tif"', '"nowhere.tif"', "nowhere.tif"),
    "too few classes": (', "granule", "dense_granule"]', "]", "labels"),
    "an empty split": ('validation = "6:8"\n', "", "validation"),
    "overlapping splits": ('"6:8"', '"5:8"', "overlap"),
    "a range beyond the volume": ('"8:10"', '"8:12"', "8:12"),
    "a patch larger than the volume": ("[1, 48, 48]", "[1, 512, 512]", "patch_zyx"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_bad_input_is_named_and_nothing_is_written(name: str, tmp_path: Path) -> None:
    old, new, words = FAULTS[name]
    assert old in STUDY
    file = write_study(tmp_path, STUDY.replace(old, new))
    done = run("launch", file, "--folder", tmp_path / "study")
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "study").exists()


def test_labels_of_another_shape_are_named(tmp_path: Path) -> None:
    file = write_study(tmp_path)
    tifffile.imwrite(tmp_path / "labels.tif", np.zeros((10, 96, 95), np.uint8))
    done = run("launch", file, "--folder", tmp_path / "study")
    assert done.returncode == 1
    assert "95" in done.stderr
    assert not (tmp_path / "study").exists()


def test_a_float_image_with_nan_is_named(tmp_path: Path) -> None:
    file = write_study(tmp_path)
    image_ZYX = tifffile.imread(tmp_path / "image.tif").astype(np.float32)
    image_ZYX[3, 4, 5] = np.nan
    tifffile.imwrite(tmp_path / "image.tif", image_ZYX)
    done = run("launch", file, "--folder", tmp_path / "study")
    assert done.returncode == 1
    assert "NaN" in done.stderr


def test_a_class_absent_from_training_is_named(tmp_path: Path) -> None:
    file = write_study(tmp_path)
    labels_ZYX = tifffile.imread(tmp_path / "labels.tif")
    labels_ZYX[:6][labels_ZYX[:6] == 5] = 0
    tifffile.imwrite(tmp_path / "labels.tif", labels_ZYX)
    done = run("launch", file, "--folder", tmp_path / "study")
    assert done.returncode == 1
    assert "dense_granule" in done.stderr


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[space]", '[space]\nfamilies = ["foo"]', "foo"),
        ("max_parameters = 40_000", "max_parameters = 10", "max_parameters"),
    ],
)
def test_a_space_without_trees_is_named_before_anything_is_written(
    old: str, new: str, words: str, tmp_path: Path
) -> None:
    file = write_study(tmp_path, STUDY.replace(old, new))
    done = run("launch", file, "--folder", tmp_path / "study")
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "study").exists()


def test_a_truncated_image_is_named(tmp_path: Path) -> None:
    file = write_study(tmp_path)
    whole = (tmp_path / "image.tif").read_bytes()
    (tmp_path / "image.tif").write_bytes(whole[: len(whole) // 2])
    done = run("check", file)
    assert done.returncode == 1
    assert "image.tif" in done.stderr
    assert "Traceback" not in done.stderr


def test_test_slices_in_another_volumes_training_are_named(tmp_path: Path) -> None:
    again = '[[dataset.volumes]]\nimage = "image.tif"\nlabels = "labels.tif"\ntest = "0:2"\n'
    file = write_study(tmp_path, STUDY.replace("[space]", again + "[space]"))
    done = run("check", file)
    assert done.returncode == 1
    assert "dataset.volumes.1.test" in done.stderr
    assert "overlaps dataset.volumes.0.train" in done.stderr


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    file = write_study(tmp_path)
    other = tmp_path / "study"
    other.mkdir()
    (other / "thesis.txt").write_text("years of work")
    done = run("launch", file, "--folder", other)
    assert done.returncode == 1
    assert "holds no study" in done.stderr
    assert [path.name for path in other.iterdir()] == ["thesis.txt"]


def test_a_folder_of_another_study_is_left_alone(finished: Path, tmp_path: Path) -> None:
    file = write_study(tmp_path, STUDY.replace("seed = 3", "seed = 4"))
    done = run("launch", file, "--folder", finished)
    assert done.returncode == 1
    assert "another study" in done.stderr
    assert f"emsearch resume {finished}" in done.stderr


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    file = write_study(tmp_path)
    (tmp_path / "file").write_text("")
    done = run("launch", file, "--folder", tmp_path / "file" / "study")
    assert done.returncode == 1
    assert "cannot write to" in done.stderr


def test_a_study_that_is_not_there_is_named(tmp_path: Path) -> None:
    for name, folder in [("status", tmp_path), ("resume", tmp_path / "none")]:
        done = run(name, folder)
        assert done.returncode == 1
        assert str(tmp_path) in done.stderr
        assert "Traceback" not in done.stderr
