"""How much training a study has still to do: of live trials, of promotions, of tuning."""

import math
import time
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise

from sqlalchemy import Connection

from emsearch.ledger import extensions, queries
from emsearch.ledger.rows import AnyRow, Rows
from emsearch.records.candidate import Origin
from emsearch.records.sections import FINALIST_SEEDS, SearchSection
from emsearch.records.spec import StudySpec
from emsearch.records.trial import ENDED, OVER, Stage, TrialState

__all__ = ["remaining_s", "steps_left"]

_SEARCHED = frozenset({Origin.RANDOM, Origin.BRED})


def steps_left(connection: Connection, study: AnyRow, spec: StudySpec, work: Rows) -> int:
    """Return the training steps to come; `work` is what `listings.work` says of the study."""
    stage = Stage(study.stage)
    if stage in ENDED or stage == Stage.COMBINING:
        return 0
    if stage == Stage.TUNING:
        return _owed(work) + _untuned(connection, study, spec)
    recipes = spec.tune.survivors * spec.tune.trials * spec.search.rungs[-1]
    if spec.search.policy == "halving":
        return _halving(work, spec) + recipes
    return _asynchronous(connection, study, spec, work) + recipes


def remaining_s(work: Rows, left: int, spec: StudySpec) -> float | None:
    """Return the time for `left` steps, each as long as those measured were; None before."""
    if left == 0:
        return 0.0
    a_step_s = _step_s(work)
    return None if a_step_s is None else a_step_s * left / spec.cluster.max_jobs


def _step_s(work: Rows) -> float | None:
    measured = [row for row in work if row.state != TrialState.FAILED and row.train_s > 0]
    steps: int = sum(row.steps for row in measured)
    train_s: float = sum(row.train_s for row in measured)
    return train_s / steps if steps else None


def _owed(work: Rows) -> int:
    """Return the steps that live trials have still to take to where they are bound for."""
    live = (row for row in work if row.state not in OVER)
    return sum(int(row.until_step * row.trials - row.steps) for row in live)


def _baselines(spec: StudySpec) -> int:
    """Return the steps of the baseline's trainings."""
    return max(spec.search.baselines, spec.ensemble.size) * spec.search.rungs[-1]


def _halving(work: Rows, spec: StudySpec) -> int:
    search = spec.search
    if not work:  # nothing is drawn yet
        first = {search.rungs[0]: search.candidates * search.repeats}
        begun = first[search.rungs[0]] * search.rungs[0] + _baselines(spec)
        return begun + _promised(first, search)
    on_the_way: Counter[int] = Counter()
    for row in work:
        if row.origin == Origin.RANDOM and row.state not in OVER:
            on_the_way[row.until_step] += row.trials
    return _owed(work) + _promised(on_the_way, search)


def _promised(trials_by_rung: Mapping[int, int], search: SearchSection) -> int:
    """Return the steps that promotions will add to trials on their way to a rung."""
    promised = promoted = 0
    for rung, following in pairwise(search.rungs):
        compared = (trials_by_rung.get(rung, 0) + promoted) / search.repeats
        promoted = math.ceil(compared * search.keep) * search.repeats
        promised += promoted * (following - rung)
    return promised


def _asynchronous(connection: Connection, study: AnyRow, spec: StudySpec, work: Rows) -> int:
    """Return what the budget leaves: trainings climb the rungs in parts, unless hours end first."""
    search = spec.search
    trainings, before, total = search.trainings, 0, 0
    for rung in search.rungs:
        total += trainings * (rung - before)
        trainings, before = math.ceil(trainings * search.keep), rung
    last_seeds = FINALIST_SEEDS - 1  # each has one full training before the budget is spent
    total += search.finalists * last_seeds * search.rungs[-1]
    total += 0 if work else _baselines(spec)
    searched = [row for row in work if row.origin in _SEARCHED]
    done: int = sum(row.steps for row in searched)
    ahead = min(total - done, _within_hours(connection, study, spec, work))
    others = [row for row in work if row.origin not in _SEARCHED]
    return round(max(ahead, _owed(searched))) + _owed(others)


def _within_hours(connection: Connection, study: AnyRow, spec: StudySpec, work: Rows) -> float:
    """Return the steps that the hours which are left allow; infinite where none are counted."""
    search, a_step_s = spec.search, _step_s(work)
    if a_step_s is None:
        return math.inf
    left_s = math.inf
    if search.gpu_hours is not None:
        spent_s = sum(row.train_s for row in work if row.origin != Origin.TUNED)
        left_s = 3600 * search.gpu_hours - spent_s
    if search.wall_hours is not None:
        idle_s = extensions.last_extension(connection, study.id).idle_s
        elapsed_s = time.time() - study.created_s - idle_s
        left_s = min(left_s, (3600 * search.wall_hours - elapsed_s) * spec.cluster.max_jobs)
    return max(left_s, 0.0) / a_step_s


def _untuned(connection: Connection, study: AnyRow, spec: StudySpec) -> int:
    """Return the steps of the recipes that the survivors have still to be given."""
    chosen = queries.decisions(connection, study.id, "survivors")[-1].facts["survivors"]
    asked = [len(queries.tuned(connection, study.id, survivor)) for survivor in chosen]
    missing = sum(max(spec.tune.trials - count, 0) for count in asked)
    return missing * spec.search.rungs[-1]
