from dataclasses import asdict
from pathlib import Path

import pytest

from emsearch.errors import NotFoundError, SpecError
from emsearch.ledger.store import Ledger
from emsearch.records.trial import Stage
from emsearch.reports.study import Study, open_study


@pytest.fixture
def study(ledger: Ledger, folder: Path) -> Study:
    assert ledger
    return open_study(str(folder))


def test_a_study_is_read_by_its_folder(study: Study) -> None:
    with study:
        assert study.name == "vnc"
        assert study.status().stage == Stage.FINISHED
        best = study.leaderboard(1)[0]
        assert study.candidate(best.candidate).tree == best.tree
        assert study.trial(1).candidate == 0
        assert study.standings()[0].kind == "ensemble"
        assert study.query("SELECT count(*) AS n FROM studies") == [{"n": 1}]
        assert study.report().name == "report.html"


def test_records_are_plain_enough_for_a_frame(study: Study) -> None:
    with study:
        rows = [asdict(entry) for entry in study.leaderboard()]
    assert all(
        isinstance(value, str | int | float | None) for row in rows for value in row.values()
    )


def test_a_study_refuses_to_be_written_to(study: Study) -> None:
    with study, pytest.raises(SpecError, match="the ledger refuses"):
        study.query("DELETE FROM studies")


def test_a_folder_without_a_study_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no folder"):
        open_study(tmp_path / "nowhere")
    with pytest.raises(NotFoundError, match="no ledger"):
        open_study(tmp_path)
