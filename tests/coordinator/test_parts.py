"""The inbox, the folder, the forecast."""

from pathlib import Path

import pytest

from emsearch.coordinator.folder import check_version, create_study, open_study
from emsearch.coordinator.forecast import forecast
from emsearch.coordinator.inbox import clear, read_inbox
from emsearch.coordinator.orders import evaluation_steps
from emsearch.errors import NotFoundError, SpecError, StateError
from emsearch.ledger import changes
from emsearch.records.files import write_json
from tests.support.studies import spec_of, write_study_file

SHAPES = [(8, 64, 64)]


def test_the_inbox_gives_events_in_order_and_puts_the_rest_aside(tmp_path: Path) -> None:
    for number in (1, 0):
        content = {"kind": "started", "at_s": 1.0, "facts": {"n": number}}
        write_json(tmp_path / f"job.0.1.0.{number:06d}.json", content)
    (tmp_path / "job.0.1.0.000002.json").write_text("{ half")
    (tmp_path / ".job.0.1.0.000003.json.scratch").write_text("not yet")
    events = read_inbox(tmp_path)
    assert [event.facts["n"] for event in events] == [0, 1]
    assert [path.name for path in (tmp_path / "unreadable").iterdir()] == ["job.0.1.0.000002.json"]
    clear(tmp_path, events)
    assert read_inbox(tmp_path) == []


def test_the_same_study_is_opened_and_another_is_refused(tmp_path: Path) -> None:
    file = write_study_file(tmp_path)
    create_study(tmp_path / "s", spec_of(), file)
    create_study(tmp_path / "s", spec_of(), file)
    with pytest.raises(StateError, match="holds another study, 'tiny'"):
        create_study(tmp_path / "s", spec_of(study={"seed": 8}), file)


def test_a_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    file = write_study_file(tmp_path)
    with pytest.raises(StateError, match="is not empty and holds no study"):
        create_study(tmp_path, spec_of(), file)


def test_what_a_kill_left_of_a_folder_is_taken_for_fresh(tmp_path: Path) -> None:
    file = write_study_file(tmp_path)
    folder = tmp_path / "s"
    (folder / "inbox").mkdir(parents=True)
    (folder / "study.toml").write_text("half")
    (folder / ".ledger.sqlite.0123").write_text("half")
    create_study(folder, spec_of(), file)
    assert open_study(folder)[1] == spec_of()


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    file = write_study_file(tmp_path)
    with pytest.raises(StateError, match="is a file"):
        create_study(file, spec_of(), file)


FIXED: dict[str, object] = {
    "activation": ["relu"],
    "convolutions": {"root": [1, 1], "below": [[0, 0]]},
    "form": ["plain"],
    "growth": [2.0, 2.0],
    "kernel": {"root": [1, 1], "below": [[0, 0]]},
    "levels": [1, 2],
    "pool": ["max"],
    "skip": ["merge"],
    "upsample": ["transposed"],
    "width": {"root": [8, 8], "below": [[0, 0]]},
}


def test_a_space_that_holds_too_few_networks_says_how_many() -> None:
    with pytest.raises(SpecError, match="only 2 different networks"):
        forecast(spec_of(space={"ranges": FIXED}), SHAPES)


def test_a_study_keeps_its_file(tmp_path: Path) -> None:
    file = write_study_file(tmp_path)
    create_study(tmp_path / "s", spec_of(), file)
    assert (tmp_path / "s" / "study.toml").read_bytes() == file.read_bytes()


def test_what_is_no_study_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="holds no study"):
        open_study(tmp_path)
    with pytest.raises(NotFoundError, match="no folder"):
        open_study(tmp_path / "nowhere")


def test_a_study_of_another_version_is_refused(tmp_path: Path) -> None:
    ledger = create_study(tmp_path / "s", spec_of(), write_study_file(tmp_path))
    check_version(ledger)
    lease = ledger.acquire(1)
    with ledger.writing(lease) as connection:
        changes.advance(connection, 1, {"version": "0.0.9+old"})
    with pytest.raises(SpecError, match=r"begun with emsearch 0\.0\.9\+old, and this is"):
        check_version(ledger)


def test_evaluations_are_even_and_hold_the_rungs() -> None:
    assert evaluation_steps(spec_of()) == (10, 20, 30, 40)
    assert evaluation_steps(spec_of(search={"rungs": [7, 40]})) == (7, 10, 20, 30, 40)
    assert evaluation_steps(spec_of(search={"rungs": [2]})) == (1, 2)


def test_the_forecast_counts_the_trials_that_will_run() -> None:
    assert forecast(spec_of(), SHAPES).trials == 6 * 2 + 3 + 2 * 3


def test_more_training_takes_longer_and_more_workers_less() -> None:
    usual = forecast(spec_of(), SHAPES)
    longer = forecast(spec_of(search={"rungs": [10, 20, 400]}), SHAPES)
    wider = forecast(spec_of(cluster={"max_jobs": 4}), SHAPES)
    assert longer.total_s > usual.total_s > wider.total_s
    assert longer.disk_gb == usual.disk_gb > 0
    kept = forecast(spec_of(training={"keep_plateau": True}), SHAPES)
    assert kept.disk_gb > 1.5 * usual.disk_gb


def test_the_forecast_is_of_trees_within_the_limits() -> None:
    least, median, most = forecast(spec_of(), SHAPES).parameters
    assert least <= median <= most <= 60_000


def test_limits_that_no_tree_meets_are_named() -> None:
    with pytest.raises(SpecError, match="max_parameters"):
        forecast(spec_of(space={"max_parameters": 3}), SHAPES)
