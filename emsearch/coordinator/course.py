"""How far a study is, for those who watch it."""

from dataclasses import dataclass
from math import ceil
from statistics import fmean

from sqlalchemy import Connection

from emsearch.ledger import listings, queries
from emsearch.ledger.store import Ledger
from emsearch.records.candidate import Origin
from emsearch.records.spec import StudySpec, parse_spec
from emsearch.records.trial import OVER, Stage, TrialState

__all__ = ["Course", "read_course"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Course:
    """Where a study is on its way; seconds are predicted seconds of one worker."""

    name: str
    stage: str
    trials: dict[str, int]
    """How many are in each state."""
    done_s: float
    total_s: float
    best: str
    """The leading candidate and its score; empty while there is none."""


def read_course(ledger: Ledger) -> Course:
    """Return how far the ledger's study is."""
    with ledger.reading() as connection:
        study = queries.study(connection)
        done_s, total_s = _work(connection, study.id, parse_spec(study.spec), study.stage)
        leader = next(iter(listings.ranked(connection, study.id, most=1)), None)
        return Course(
            name=study.name,
            stage=study.stage,
            trials=listings.counts(connection, study.id)["trials"],
            done_s=done_s,
            total_s=max(total_s, done_s),
            best=""
            if leader is None or leader.score is None
            else f"{leader.score:.3f} (candidate {leader.candidate}, step {leader.step})",
        )


def _work(
    connection: Connection, study_id: int, spec: StudySpec, stage: str
) -> tuple[float, float]:
    """Return predicted seconds of training done, and of the whole study."""
    step_s = {row.number: row.step_s for row in queries.candidates(connection, study_id)}
    if not step_s:
        return 0.0, 0.0
    done = total = 0.0
    for trial in queries.trials_of(connection, study_id):
        over = TrialState(trial.state) in OVER
        done += step_s[trial.candidate] * trial.step
        total += step_s[trial.candidate] * (trial.step if over else trial.until_step)
    if stage in {Stage.FINISHED, Stage.FAILED}:
        return done, done
    return done, total + _to_come(connection, study_id, spec, fmean(step_s.values()))


def _to_come(connection: Connection, study_id: int, spec: StudySpec, mean_s: float) -> float:
    """Return the seconds of promotions and recipes that have not been decided yet."""
    search, tune = spec.search, spec.tune
    trials = queries.trials_of(connection, study_id)
    random = [trial for trial in trials if trial.origin == Origin.RANDOM]
    furthest = max((trial.until_step for trial in random), default=search.rungs[0])
    count = len({trial.candidate for trial in random if trial.until_step == furthest})
    to_come, at = 0.0, furthest
    for rung in (rung for rung in search.rungs if rung > furthest):
        count = ceil(count * search.keep)
        to_come += count * search.repeats * (rung - at) * mean_s
        at = rung
    asked = sum(trial.origin == Origin.TUNED for trial in trials)
    recipes = tune.survivors * tune.trials - asked
    return float(to_come + recipes * search.rungs[-1] * mean_s)
