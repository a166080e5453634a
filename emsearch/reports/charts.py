"""The charts that pages show of a study."""

from collections.abc import Sequence

from sqlalchemy import Connection

from emsearch.ledger import listings, times
from emsearch.ledger.rows import AnyRow
from emsearch.records.candidate import Origin
from emsearch.reports.cards import TrialCard
from emsearch.reports.figures import Chart, Point, Series, curves, scatter, short
from emsearch.reports.leaderboard import Entry

__all__ = ["learning_curves", "pareto", "scores_by_size", "scores_by_time", "trial_curve"]


def learning_curves(
    connection: Connection, study_id: int, candidates: Sequence[int], rungs: Sequence[int] = ()
) -> Chart | None:
    """Return the curves of the trials of these candidates, None where none was scored.

    At each rung stands how many of all trials were compared there.
    """
    by_trial: dict[int, list[AnyRow]] = {}
    for row in listings.curves_of(connection, study_id, candidates):
        by_trial.setdefault(row.trial, []).append(row)
    if not by_trial:
        return None
    series = [
        Series(
            points=tuple((float(row.step), row.mean_iou) for row in rows),
            kind=rows[0].origin,
            title=f"candidate {rows[0].candidate}, trial {trial}: {rows[-1].mean_iou:.3f} "
            f"at step {rows[-1].step}",
        )
        for trial, rows in by_trial.items()
    ]
    series.sort(key=lambda one: one.kind == Origin.BASELINE)  # drawn last, it lies on top
    counts = times.trials_at(connection, study_id, rungs)
    marks = [(float(rung), f"{counts[rung]} trials") for rung in rungs if rung in counts]
    label = "Mean IoU on validation of each trial over its training steps, with the rungs"
    return curves(series, label, rungs=marks)


def trial_curve(card: TrialCard) -> Chart | None:
    """Return the curve of one trial, None where it was never scored."""
    points = tuple((float(line.step), line.mean_iou) for line in card.evaluations)
    if not points:
        return None
    title = f"trial {card.trial}: {points[-1][1]:.3f} at step {card.evaluations[-1].step}"
    series = Series(points=points, kind=card.origin, title=title)
    return curves([series], f"Mean IoU on validation of trial {card.trial}")


def pareto(points: Sequence[Point]) -> tuple[tuple[float, float], ...]:
    """Return the points that no other both undercuts and outscores, from left to right."""
    front: list[tuple[float, float]] = []
    for one in sorted(points, key=lambda one: (one.x, -one.y)):
        if not front or one.y > front[-1][1]:
            front.append((one.x, one.y))
    return tuple(front)


def scores_by_size(entries: Sequence[Entry]) -> Chart | None:
    """Return the entries' scores against their parameters, None where none was scored."""
    points = [
        _point(entry, float(entry.parameters), f"{short(entry.parameters)} parameters")
        for entry in entries
        if entry.score is not None
    ]
    return _front(points, "parameters")


def scores_by_time(connection: Connection, study_id: int, entries: Sequence[Entry]) -> Chart | None:
    """Return the entries' scores against the seconds that training took to them."""
    took_s = times.seconds_to(connection, study_id)
    points = [
        _point(entry, seconds, f"{seconds:.3g} s")
        for entry in entries
        if entry.score is not None
        and (seconds := took_s.get((entry.candidate, entry.step), 0.0)) > 0
    ]
    return _front(points, "seconds of training")


def _point(entry: Entry, x: float, cost: str) -> Point:
    assert entry.score is not None  # noqa: S101 - only such entries are drawn
    return Point(
        x=x,
        y=entry.score,
        low=entry.score_low,
        high=entry.score_high,
        kind=entry.origin,
        title=f"candidate {entry.candidate}: {entry.score:.3f}, {cost}, step {entry.step}",
    )


def _front(points: list[Point], x_label: str) -> Chart | None:
    if not points:
        return None
    points.sort(key=lambda one: one.kind == Origin.BASELINE)
    label = f"Score of each candidate with its interval against {x_label}, with the front"
    return scatter(points, x_label, "score (mean IoU, validation)", label, front=pareto(points))
