"""New candidates for a study: random trees, the baseline, and recipes for survivors."""

import time
from collections import Counter
from itertools import islice
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Connection

from emsearch.ledger import changes, queries
from emsearch.records.candidate import Candidate, Origin, Recipe
from emsearch.records.chance import seed_of
from emsearch.records.spec import StudySpec
from emsearch.records.trial import TrialState
from emsearch.trees.arithmetic import Limits, Target, describe
from emsearch.trees.baseline import baseline
from emsearch.trees.node import Tree
from emsearch.trees.sample import draw_new
from emsearch.trees.space import make_space
from emsearch.tuning.optuna_tuner import Tried, ask

__all__ = ["Drawing", "limits_of", "target_of"]

_RECIPE = TypeAdapter(Recipe)
_BASELINE = 0


def target_of(spec: StudySpec) -> Target:
    """Return what the study's networks are for."""
    return Target(
        classes=len(spec.dataset.classes),
        patch_zyx=spec.training.patch_zyx,
        batch_size=spec.training.batch_size,
        voxel_nm=spec.dataset.known_voxel_nm(),
    )


def limits_of(spec: StudySpec) -> Limits:
    """Return what the study's networks may cost."""
    space = spec.space
    return Limits(
        max_parameters=space.max_parameters,
        max_memory_gb=space.max_memory_gb,
        max_step_s=space.max_step_s,
        gflops=space.gflops,
        gbytes_s=space.gbytes_s,
    )


class Drawing:
    """Adds candidates and their trials to the ledger."""

    def __init__(self, study_id: int, spec: StudySpec) -> None:
        self._study = study_id
        self._spec = spec
        self._target = target_of(spec)
        self._limits = limits_of(spec)
        self._space = make_space(spec.space.families, spec.space.ranges)

    def draw(self, connection: Connection, count: int) -> None:
        """Add `count` random candidates that are new to the study, and the baseline if missing."""
        known = {row.digest for row in queries.candidates(connection, self._study)}
        if not known:
            known.add(self._add_baseline(connection))
        drawn, number = queries.last_draw(connection, self._study)
        redrawn: Counter[str] = Counter()
        fresh = draw_new(
            self._space,
            self._spec.study.seed,
            self._target,
            self._limits,
            first=number + 1,
            known=known,
        )
        for found in islice(fresh, count):
            redrawn.update(_limit(reason) for reason in found.redrawn)
            redrawn.update(f"made smaller: {_limit(reason)}" for reason in found.mended)
            redrawn["drawn before"] += found.number - number - 1
            number = found.number
            drawn += 1
            self._add(connection, _random(drawn, found.tree, self._spec), number)
        changes.record_decision(connection, self._study, "redrawn", dict(+redrawn), time.time())

    def tune(self, connection: Connection, survivor: int, count: int) -> None:
        """Add `count` candidates with a survivor's tree and recipes that the tuner asks for."""
        row = queries.candidates(connection, self._study, survivor)[0]
        base = _RECIPE.validate_python(row.recipe)
        own = [
            trial.score
            for trial in queries.trials_of(connection, self._study, TrialState.COMPLETED)
            if trial.candidate == survivor
        ]
        rows = queries.tuned(connection, self._study, survivor)
        tried = [Tried(recipe=base, score=sum(own) / len(own))]
        tried += [
            Tried(recipe=_RECIPE.validate_python(one.recipe), score=one.score) for one in rows
        ]
        seed = seed_of(self._spec.study.seed, row.digest, "tune")
        recipes = ask(base, tried, count, seed)
        first = self._first_tuned(connection, survivor) + len(rows)
        tree = Tree.from_dict(row.structure)
        for place, recipe in enumerate(recipes):
            candidate = Candidate(
                number=first + place,
                tree=tree,
                recipe=recipe,
                origin=Origin.TUNED,
                parent=survivor,
            )
            self._add(connection, candidate, None)

    def carry_on(self, connection: Connection, trial: int, step: int, until_step: int) -> None:
        """Send a paused trial on to the next rung."""
        values = {"until_step": until_step}
        moved = changes.move_trial(connection, trial, TrialState.PAUSED, TrialState.WAITING, values)
        if moved:
            step_s = queries.step_s(connection, trial)
            order: dict[str, Any] = {
                "trial_id": trial,
                "until_step": until_step,
                "expected_s": step_s * (until_step - step),
            }
            changes.add_order(connection, self._study, "train", order)

    def _first_tuned(self, connection: Connection, survivor: int) -> int:
        # Numbers follow the survivors' order, not the order in which workers finished.
        survivors = queries.decisions(connection, self._study, "survivors")[-1].facts["survivors"]
        place = int(survivors.index(survivor))
        return 1 + self._spec.search.candidates + place * self._spec.tune.trials

    def _add_baseline(self, connection: Connection) -> str:
        tree = baseline(self._target, self._limits)
        candidate = Candidate(
            number=_BASELINE,
            tree=tree,
            recipe=self._spec.training.recipe(),
            origin=Origin.BASELINE,
        )
        self._add(connection, candidate, None)
        return tree.digest()

    def _add(self, connection: Connection, candidate: Candidate, draw_number: int | None) -> None:
        arithmetic = arithmetic_of(candidate.tree, self._target, self._limits)
        row = changes.add_candidate(connection, self._study, candidate, arithmetic, draw_number)
        repeats, until_step = self._extent(candidate.origin)
        for repeat in range(repeats):
            changes.add_trial(
                connection,
                self._study,
                row,
                repeat=repeat,
                seed=_trial_seed(self._spec.study.seed, candidate, repeat),
                until_step=until_step,
                expected_s=self._spec.training.seconds(until_step, arithmetic["step_s"]),
            )

    def _extent(self, origin: Origin) -> tuple[int, int]:
        """Return how many seeds a new candidate is trained with, and until which step at first."""
        search = self._spec.search
        horizon = search.rungs[-1]
        return {
            Origin.BASELINE: (max(search.repeats, self._spec.ensemble.size), horizon),
            Origin.RANDOM: (search.repeats, search.rungs[0]),
            Origin.TUNED: (1, horizon),
        }[origin]


def arithmetic_of(tree: Tree, target: Target, limits: Limits) -> dict[str, Any]:
    """Return the columns of `trees` that follow from a tree's arithmetic."""
    facts = describe(tree, target)
    return {
        "parameters": facts.parameters,
        "flops": facts.flops,
        "memory_gb": facts.memory_gb(target.batch_size),
        "step_s": facts.step_s(target.batch_size, limits),
    }


def _limit(reason: str) -> str:
    """Return the limit that a reason names, without what the tree at hand needs."""
    return reason.split(";", maxsplit=1)[0]


def _random(number: int, tree: Tree, spec: StudySpec) -> Candidate:
    recipe = spec.training.recipe()
    return Candidate(number=number, tree=tree, recipe=recipe, origin=Origin.RANDOM)


def _trial_seed(study_seed: int, candidate: Candidate, repeat: int) -> int:
    return seed_of(study_seed, candidate.tree.digest(), candidate.recipe.digest(), repeat)
