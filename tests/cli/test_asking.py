"""What the command line answers about a study that really ran."""

import csv
import io
import shutil
from pathlib import Path

import pytest

from emsearch.ledger.place import SNAPSHOT, note_holder
from tests.support.real_study import listed, results, run


def test_the_leaderboard_is_filtered_sorted_and_cut_to_columns(finished: Path) -> None:
    every = listed("leaderboard", finished)
    assert [entry["rank"] for entry in every] == list(range(1, len(every) + 1))
    small = max(entry["parameters"] for entry in every) - 1
    fewer = listed("leaderboard", finished, "--max-parameters", str(small))
    assert fewer == [entry for entry in every if entry["parameters"] <= small]
    by_size = listed("leaderboard", finished, "--sort", "parameters")
    assert [one["parameters"] for one in by_size] == sorted(one["parameters"] for one in every)
    assert listed("leaderboard", finished, "--origin", "baseline")[0]["candidate"] == 0
    assert listed("leaderboard", finished, "--rung", "24", "--family", "pyramid_2d") == []
    assert listed("leaderboard", finished, "--since", "2000-01-01") == every
    assert listed("leaderboard", finished, "--until", "2000-01-01") == []
    assert listed("leaderboard", finished, "--max-memory", "0.000001") == []
    assert listed("leaderboard", finished, "--by", "membrane")[0]["score_name"] == "iou_membrane"
    assert listed("leaderboard", finished, "--by", "accuracy")[0]["score_name"] == "accuracy"


def test_columns_are_chosen_in_every_form(finished: Path) -> None:
    words = "leaderboard", finished, "--columns", "candidate, score", "--top", "2"
    rows = list(csv.DictReader(io.StringIO(run(*words, "--csv").stdout)))
    assert [list(row) for row in rows] == [["candidate", "score"]] * 2
    assert run(*words, "--markdown").stdout.startswith("| candidate | score |\n| ---: | ---: |\n")
    assert run(*words).stdout.split()[:2] == ["candidate", "score"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--columns", "nonsense"], "no column 'nonsense'; there are study, rank"),
        (["--sort", "nonsense"], "one of rank, candidate, parameters, memory, failed, date"),
        (["--by", "nonsense"], "no class or measure 'nonsense'"),
        (["--study", "nonsense"], "the database holds small"),
    ],
)
def test_a_wrong_wish_is_answered_with_what_there_is(
    finished: Path, words: list[str], said: str
) -> None:
    done = run("leaderboard", finished, *words)
    assert done.returncode == 1
    assert said in done.stderr


def test_an_attempt_is_shown_with_its_logs_end(finished: Path) -> None:
    trial = listed("show", finished, "--trial", "1")
    shown = listed("show", finished, "--attempt", trial["attempts"][0]["attempt"])
    assert (shown["trial"], shown["kind"], shown["cause"]) == (1, "train", "completed")
    assert shown["node"]
    assert "train in trials/000001" in shown["log"]
    assert (shown["seconds"] > 0, shown["gpu_hours"]) == (True, 0.0)


def test_tables_are_exported(finished: Path, tmp_path: Path) -> None:
    done = run("export", finished, tmp_path / "out")
    assert len(done.stdout.splitlines()) == len(list((tmp_path / "out").glob("*.parquet"))) > 10
    assert "parquet or csv" in run("export", finished, tmp_path, "--format", "xlsx").stderr


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "study"))


def test_a_ledger_that_was_deleted_is_rebuilt_with_the_same_leaderboard(copied: Path) -> None:
    before = results(copied), listed("leaderboard", copied), listed("status", copied)["trials"]
    for path in (*copied.glob("ledger.sqlite*"), copied / SNAPSHOT):
        path.unlink()
    assert "restore it: emsearch ledger rebuild" in run("status", copied).stderr
    done = run("ledger", "rebuild", copied)
    assert done.returncode == 0, done.stderr
    after = results(copied), listed("leaderboard", copied), listed("status", copied)["trials"]
    assert after == before
    assert run("ledger", "check", copied).stdout.endswith("is sound\n")
    assert run("resume", copied).returncode == 0


def test_a_copy_is_made_and_damage_is_told_with_the_remedy(copied: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.sqlite"
    assert run("ledger", "backup", copied, copy).stdout == f"{copy}\n"
    with (copied / "ledger.sqlite").open("rb+") as file:
        file.seek(20_000)
        file.write(b"\xff" * 60_000)
    done = run("ledger", "check", copied)
    assert done.returncode == 1
    assert f"emsearch ledger rebuild {copied}" in done.stdout


def test_beside_a_coordinator_elsewhere_the_snapshot_answers_and_says_so(copied: Path) -> None:
    before = listed("leaderboard", copied)
    note_holder(copied, "cn0042/1/1.0")
    (copied / "ledger.sqlite").write_bytes(b"of no use to this host")
    done = run("leaderboard", copied, "--csv")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(before) + 1
    assert "read from the snapshot of" in done.stderr
