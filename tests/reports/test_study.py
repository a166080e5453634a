import subprocess
import sys
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


def test_records_become_a_pandas_frame(study: Study) -> None:
    with study:
        frame = study.leaderboard(3).frame()
        assert list(frame["rank"]) == [1, 2, 3]
        assert frame["score"].dtype == float
        assert list(study.query("SELECT 1 AS one").frame()["one"]) == [1]


def test_opening_a_study_spares_pandas_and_pyarrow() -> None:
    code = (
        "import sys, emsearch; emsearch.open_study; "
        "sys.exit(any(name in sys.modules for name in ('pandas', 'pyarrow', 'alembic', 'torch')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_study_refuses_to_be_written_to(study: Study) -> None:
    with study, pytest.raises(SpecError, match="the ledger refuses"):
        study.query("DELETE FROM studies")


def test_a_folder_without_a_study_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no folder"):
        open_study(tmp_path / "nowhere")
    with pytest.raises(NotFoundError, match=r"there is no ledger\.sqlite in it"):
        open_study(tmp_path)
