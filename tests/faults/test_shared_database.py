"""A real study in a real PostgreSQL database."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pytest

from emsearch.ledger.engine import address_of, parse_url
from emsearch.ledger.place import open_reading
from emsearch.reports.study import open_studies, open_study
from tests.support.postgres import PASSWORD, Server
from tests.support.real_study import command, listed, results, results_of, run, write_study

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shared(
    postgres: Server, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str, dict[int, dict[str, str]]]:
    """A study that ended, its database's URL, and what was seen of its processes meanwhile."""
    folder = tmp_path_factory.mktemp("shared")
    url = postgres.make_database().render_as_string(hide_password=False)
    words = command("launch", write_study(folder), "--folder", folder / "study")
    environ = os.environ | {"EMSEARCH_DATABASE": url, "OMP_NUM_THREADS": "1"}
    seen: dict[int, dict[str, str]] = {}
    with (folder / "said.txt").open("w") as said:
        launched = subprocess.Popen(words, env=environ, stdout=said, stderr=said)
        while launched.poll() is None:
            _look(launched.pid, seen)
    assert launched.returncode == 0, (folder / "said.txt").read_text()
    return folder, url, seen


def bare(url: str) -> str:
    return address_of(parse_url(url))


def _look(pid: int, seen: dict[int, dict[str, str]]) -> None:
    """Note the environments and words of a process and of all below it."""
    try:
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            words = " ".join(process.cmdline())
            kind = "job" if "emsearch.worker" in words else "coordinator"
            if process.pid not in seen or seen[process.pid]["kind"] != kind:
                environ = str(process.environ())
                seen[process.pid] = {"kind": kind, "words": words, "environ": environ}
    except psutil.Error:
        return


Shared = tuple[Path, str, dict[int, dict[str, str]]]


def test_it_comes_to_the_same_as_in_a_file(
    shared: Shared, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, url, _ = shared
    monkeypatch.setenv("EMSEARCH_DATABASE", url)
    ledger = open_reading(folder / "study")
    assert results_of(ledger) == results(finished)
    ledger.close()
    assert not (folder / "study" / "ledger.sqlite").exists()


def test_the_password_is_in_no_jobs_environment_and_no_process_list(shared: Shared) -> None:
    _, _, seen = shared
    jobs = [one for one in seen.values() if one["kind"] == "job"]
    assert jobs
    for one in jobs:
        assert PASSWORD not in one["environ"]
        assert "EMSEARCH_DATABASE" not in one["environ"]
        assert "%2Fword" not in one["environ"]
    assert not [one for one in seen.values() if "p%40ss" in one["words"]]


def test_the_password_is_in_no_file_of_the_study(shared: Shared) -> None:
    folder, _, _ = shared
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 20
    for path in files:
        content = path.read_bytes()
        assert PASSWORD.encode() not in content, path
        assert b"p%40ss" not in content, path


def test_every_question_is_answered_from_the_database(
    shared: Shared, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder, url, _ = shared
    monkeypatch.setenv("EMSEARCH_DATABASE", url)
    study = folder / "study"
    assert listed("status", study)["stage"] == "finished"
    by_folder: list[dict[str, Any]] = listed("leaderboard", study)
    assert by_folder == listed("leaderboard", bare(url))
    assert listed("query", study, "SELECT name FROM studies") == [{"name": "small"}]
    done = run("query", study, "DELETE FROM members")
    assert done.returncode == 1
    assert "the ledger refuses" in done.stderr
    assert run("ledger", "check", study).stdout.endswith("is sound\n")
    assert run("ledger", "backup", study, tmp_path / "copy.sqlite").returncode == 0
    assert run("export", study, tmp_path / "out", "--format", "csv").returncode == 0
    assert (tmp_path / "out" / "trials.csv").stat().st_size > 100


def test_a_password_among_a_commands_words_is_refused(shared: Shared) -> None:
    done = run("leaderboard", shared[1])
    assert done.returncode == 1
    assert "~/.pgpass" in done.stderr
    assert "p%40ss" not in done.stderr


def test_several_studies_of_one_database_are_listed_together(
    shared: Shared, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder, url, _ = shared
    monkeypatch.setenv("EMSEARCH_DATABASE", url)
    file = write_study(tmp_path)
    taken = run("launch", file, "--folder", tmp_path / "again")
    assert "holds a study 'small' already" in taken.stderr
    shutil.rmtree(tmp_path / "again", ignore_errors=True)
    file.write_text(file.read_text().replace('name = "small"', 'name = "second"'))
    assert run("launch", file, "--folder", tmp_path / "second").returncode == 0
    assert [study.name for study in open_studies(url)] == ["small", "second"]
    entries = listed("leaderboard", bare(url), "--top", "5")
    assert {entry["study"] for entry in entries} <= {"small", "second"}
    scores = [entry["score"] for entry in entries]
    assert scores == sorted(scores, reverse=True)
    with open_study(url, "second") as second:
        assert second.status().name == "second"
    assert folder.exists()
