from pathlib import Path

from sqlalchemy import update

from emsearch.ledger.tables import JobRow
from emsearch.records.trial import Stage
from emsearch.reports.charts import scores_by_time
from emsearch.reports.leaderboard import leaderboard
from emsearch.reports.page import read_page
from emsearch.reports.progress import read_progress
from tests.reports.conftest import RUNGS, AStudy


def heights(points: str) -> list[float]:
    return [float(point.split(",")[1]) for point in points.split()]


def test_the_best_so_far_never_falls_and_ends_where_the_last_result_came_in(
    tmp_path: Path,
) -> None:
    study = AStudy(folder=tmp_path / "s")
    ledger = study.make()
    with ledger.reading() as connection:
        progress = read_progress(connection, 1, RUNGS[-1])
        assert progress is not None
        for chart in (progress.by_trainings, progress.by_hours):
            assert [line.kind for line in chart.lines] == ["random", "baseline"]
            for line in chart.lines:
                ys = heights(line.points)
                assert ys == sorted(ys, reverse=True)  # upwards, in a picture
            assert chart.lines[0].x == chart.lines[1].x
        assert progress.by_trainings.x_label == "trainings"
        assert progress.by_hours.x_label == "hours of training"
    ledger.close()


def test_hours_are_a_gpus_where_jobs_held_any(tmp_path: Path) -> None:
    ledger = AStudy(folder=tmp_path / "s").make()
    with ledger.writing(ledger.acquire(1)) as connection:
        connection.execute(update(JobRow).values(gpus=1.0))
        progress = read_progress(connection, 1, RUNGS[-1])
        assert progress is not None
        assert progress.by_hours.x_label == "GPU-hours"
    ledger.close()


def test_before_a_full_training_there_is_no_best(tmp_path: Path) -> None:
    ledger = AStudy(folder=tmp_path / "s").make(stage=Stage.SEARCHING)
    with ledger.reading() as connection:
        assert read_progress(connection, 1, 10 * RUNGS[-1]) is None
    ledger.close()


def test_scores_against_time_name_what_trainings_took(tmp_path: Path) -> None:
    ledger = AStudy(folder=tmp_path / "s").make()
    with ledger.reading() as connection:
        entries = leaderboard(connection, 1)
        chart = scores_by_time(connection, 1, entries)
    ledger.close()
    assert chart is not None
    assert chart.x_label == "seconds of training"
    assert len(chart.marks) == sum(entry.score is not None for entry in entries)
    assert chart.front


def test_the_page_shows_curves_of_every_rung_with_their_trials(tmp_path: Path) -> None:
    study = AStudy(folder=tmp_path / "s")
    ledger = study.make()
    with ledger.reading() as connection:
        page = read_page(connection, study.folder)
    ledger.close()
    assert page.curves is not None
    assert [rung.text.split()[1] for rung in page.curves.rungs] == ["trials"] * len(RUNGS)
    last = {line.x for line in page.curves.lines}
    assert len(last) == len(RUNGS)  # some ended at each
    assert page.influences is not None
    assert page.influences.step == RUNGS[0]
