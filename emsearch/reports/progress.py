"""How good the best was by then, against what had been spent: trainings, and hours."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from emsearch.ledger import times
from emsearch.ledger.rows import AnyRow
from emsearch.records.candidate import Origin
from emsearch.reports.figures import Chart, Series, curves

__all__ = ["Progress", "read_progress"]

_LINES = (("random", "best network of the search"), ("baseline", "best of the baseline's seeds"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Charts of the best score so far."""

    by_trainings: Chart
    by_hours: Chart


def read_progress(connection: Connection, study_id: int, horizon: int) -> Progress | None:
    """Return the best scores at the horizon so far, against trainings and hours.

    Hours are a GPU's where jobs held any, else those that trainings ran together. None where no
    trial has come to the horizon.
    """
    results = times.results_in_time(connection, study_id)
    if not any(row.step == horizon for row in results):
        return None
    begun = _first_results(results)
    attempts = times.attempts_in_time(connection, study_id)
    on_gpus = any(row.gpus for row in attempts)
    spans = [(row.started_s, row.ended_s, row.gpus if on_gpus else 1.0) for row in attempts]

    def trainings(at_s: float) -> float:
        return float(bisect_right(begun, at_s))

    def hours(at_s: float) -> float:
        spent = (max(min(ended, at_s) - start, 0.0) * share for start, ended, share in spans)
        return float(sum(spent)) / 3600

    unit = "GPU-hours" if on_gpus else "hours of training"
    return Progress(
        by_trainings=_chart(results, horizon, trainings, "trainings"),
        by_hours=_chart(results, horizon, hours, unit),
    )


def _first_results(results: Sequence[AnyRow]) -> list[float]:
    """Return when each trial was first scored, first to last."""
    first: dict[int, float] = {}
    for row in results:
        first.setdefault(row.trial, row.at_s)
    return sorted(first.values())


def _chart(
    results: Sequence[AnyRow], horizon: int, spent: Callable[[float], float], unit: str
) -> Chart:
    end = spent(results[-1].at_s)
    series = []
    for kind, title in _LINES:
        own = [
            row
            for row in results
            if row.step == horizon and (row.origin == Origin.BASELINE) == (kind == "baseline")
        ]
        if points := _stairs(own, spent, end):
            text = f"{title}: {points[-1][1]:.3f} after {end:.3g} {unit}"
            series.append(Series(points=points, kind=kind, title=text))
    return curves(series, f"Best mean IoU on validation so far against {unit}", x_label=unit)


def _stairs(
    rows: Sequence[AnyRow], spent: Callable[[float], float], end: float
) -> tuple[tuple[float, float], ...]:
    """Return the corners of a line that rises where a row is better than all before it."""
    corners: list[tuple[float, float]] = []
    for row in rows:
        if not corners or row.mean_iou > corners[-1][1]:
            at = spent(row.at_s)
            corners += [(at, corners[-1][1])] if corners else []
            corners.append((at, row.mean_iou))
    return (*corners, (end, corners[-1][1])) if corners else ()
