"""New candidates for a study: random trees, the baseline, and recipes for survivors."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Connection

from emsearch.coordinator.actions import Try
from emsearch.errors import SpecError
from emsearch.ledger import changes, queries, searches
from emsearch.ledger.rows import AnyRow, Rows
from emsearch.records.candidate import Candidate, Origin, Recipe
from emsearch.records.chance import seed_of
from emsearch.records.spec import StudySpec
from emsearch.records.trial import OVER, TrialState
from emsearch.trees.arithmetic import Limits, Target, memory_gb, step_s
from emsearch.trees.baseline import baseline
from emsearch.trees.fit import find_misfit
from emsearch.trees.mutate import cross, mutate
from emsearch.trees.node import Tree
from emsearch.trees.plan import Plan, digest_of
from emsearch.trees.sample import draw_new
from emsearch.trees.space import make_space
from emsearch.trees.tally import tally_of
from emsearch.tuning.optuna_tuner import Tried, Tuner
from emsearch.tuning.space import Shape, shapes_near

__all__ = ["Drawing", "limits_of", "target_of"]

_RECIPE = TypeAdapter(Recipe)
_BASELINE = 0
_BREEDINGS = 5  # tries to breed a tree that is new


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
        self._tuners: dict[int, Tuner] = {}

    def draw(self, connection: Connection, count: int) -> None:
        """Add `count` random candidates that are new to the study, and the baseline if missing."""
        known = self._known(connection)
        free = searches.highest_candidate(connection, self._study) + 1
        number = queries.last_draw(connection, self._study)[1]
        redrawn: Counter[str] = Counter()
        fresh = draw_new(
            self._space,
            self._spec.study.seed,
            self._target,
            self._limits,
            first=number + 1,
            known=known,
        )
        drawn: list[_Drawn] = []
        for found in islice(fresh, count):
            redrawn.update(_limit(reason) for reason in found.redrawn)
            redrawn.update(f"made smaller: {_limit(reason)}" for reason in found.mended)
            redrawn["drawn before"] += found.number - number - 1
            number = found.number
            candidate = _random(free + len(drawn), found.tree, self._spec)
            drawn.append(_Drawn(candidate, found.plan, number))
        self._add(connection, drawn)
        changes.record_decision(connection, self._study, "redrawn", dict(+redrawn), time.time())

    def attempt(self, connection: Connection, action: Try) -> dict[str, Any]:
        """Add the training that was decided on, of a new candidate or of a known one; return facts.

        Where no bred tree is new and fits, a random one is drawn instead.
        """
        if action.candidate is not None:
            return self._again(connection, action.candidate, action.until_step)
        known = self._known(connection)
        number = searches.highest_candidate(connection, self._study) + 1
        bred = self._bred(connection, action.parents, number, known) if action.parents else None
        if bred is None:
            self.draw(connection, 1)
            return {"candidate": number, "parents": []}
        candidate = Candidate(
            number=number,
            tree=bred,
            recipe=self._spec.training.recipe(),
            origin=Origin.BRED,
            parent=action.parents[0],
        )
        self._add(connection, [_Drawn(candidate, bred.plan())])
        return {"candidate": number, "parents": list(action.parents)}

    def _known(self, connection: Connection) -> set[str]:
        """Return the digests of the study's trees; the baseline is added where it is missing."""
        known = searches.tree_digests(connection, self._study)
        return known or {self._add_baseline(connection)}

    def _bred(
        self, connection: Connection, parents: Sequence[int], number: int, known: set[str]
    ) -> Tree | None:
        rows = {row.number: row for row in queries.candidates(connection, self._study, *parents)}
        trees = [Tree.from_dict(rows[parent].structure) for parent in parents]
        for attempt in range(_BREEDINGS):
            seed = seed_of(self._spec.study.seed, "breed", number, attempt)
            try:
                bred = self._breed(trees, seed)
            except SpecError:  # nothing of the kind fits: the next seed, or a random tree
                continue
            if bred.digest() not in known:
                return bred
        return None

    def _breed(self, trees: Sequence[Tree], seed: int) -> Tree:
        if len(trees) == 1 or trees[0].family != trees[1].family:
            return mutate(self._space, trees[0], seed, self._target, self._limits).tree
        pair = (trees[0], trees[1])
        return cross(self._space, pair, seed, self._target, self._limits).tree

    def _again(self, connection: Connection, number: int, until_step: int) -> dict[str, Any]:
        row = queries.candidates(connection, self._study, number)[0]
        repeats = searches.repeats_of(connection, row.id)
        recipe = _RECIPE.validate_python(row.recipe)
        trial = changes.NewTrial(
            candidate_id=row.id,
            repeat=repeats,
            seed=seed_of(self._spec.study.seed, row.digest, recipe.digest(), repeats),
            until_step=until_step,
            expected_s=self._spec.training.seconds(until_step, row.step_s),
        )
        changes.add_trials(connection, self._study, [trial])
        return {"candidate": number, "repeat": repeats}

    def tune(self, connection: Connection, survivor: int, count: int) -> None:
        """Add `count` candidates with a survivor's tree and recipes that the tuner asks for."""
        row = queries.candidates(connection, self._study, survivor)[0]
        rows = queries.tuned(connection, self._study, survivor)
        recipes = self._tuner(connection, row, rows).ask(count)
        self.add_tuned(connection, row, self.next_tuned(connection, survivor), recipes)

    def add_tuned(
        self, connection: Connection, survivor: AnyRow, first: int, recipes: Sequence[Recipe]
    ) -> list[int]:
        """Add candidates with a survivor's tree, numbered from `first`; return their rows."""
        tree = Tree.from_dict(survivor.structure)
        tuned = [
            Candidate(
                number=first + place,
                tree=tree,
                recipe=recipe,
                origin=Origin.TUNED,
                parent=survivor.number,
            )
            for place, recipe in enumerate(recipes)
        ]
        plan = tree.plan()
        return self._add(connection, [_Drawn(candidate, plan) for candidate in tuned])

    def _tuner(self, connection: Connection, row: AnyRow, rows: Rows) -> Tuner:
        """Return a survivor's tuner, told all that is known by now; it is built where none is."""
        tried = [
            Tried(
                recipe=_RECIPE.validate_python(one.recipe),
                score=one.score if one.state == TrialState.COMPLETED else None,
                is_under_way=TrialState(one.state) not in OVER,
            )
            for one in rows
        ]
        tuner = self._tuners.get(row.number)
        if tuner is not None:
            for one in tried:
                tuner.tell(one)
            return tuner
        base = _RECIPE.validate_python(row.recipe)
        own = [
            trial.score
            for trial in queries.trials_of(connection, self._study, TrialState.COMPLETED)
            if trial.candidate == row.number
        ]
        tuner = Tuner(
            base,
            [Tried(recipe=base, score=sum(own) / len(own)), *tried],
            seed=seed_of(self._spec.study.seed, row.digest, "tune"),
            shapes=self.shapes(Tree.from_dict(row.structure), base),
        )
        self._tuners[row.number] = tuner
        return tuner

    def shapes(self, tree: Tree, base: Recipe) -> list[Shape]:
        """Return the batches and patches near the survivor's own that its tree and memory allow."""
        plan = tree.plan()
        fitting = []
        for shape in shapes_near(base):
            target = replace(self._target, batch_size=shape[0], patch_zyx=shape[1:])
            if find_misfit(plan, target, self._limits) is None:
                fitting.append(shape)
        return fitting

    def carry_on(self, connection: Connection, trial: int, step: int, until_step: int) -> None:
        """Send a paused trial on to the next rung, or one that stopped for want of budget."""
        values = {"until_step": until_step}
        if any(
            changes.move_trial(connection, trial, state, TrialState.WAITING, values)
            for state in (TrialState.PAUSED, TrialState.STOPPED)
        ):
            step_s = queries.step_s(connection, trial)
            before = queries.last_of_trial(connection, trial)
            order: dict[str, Any] = {
                "trial_id": trial,
                "until_step": until_step,
                "expected_s": step_s * (until_step - step),
                "memory_gb": before.memory_gb,
                "memory_factor": before.memory_factor,
                "micro_batch": before.micro_batch,
            }
            changes.add_order(connection, self._study, "train", order)

    def next_tuned(self, connection: Connection, survivor: int) -> int:
        """Return the number of the next candidate that is tuned from a survivor."""
        # Numbers follow the survivors' order, not the order in which workers finished.
        chosen = queries.decisions(connection, self._study, "survivors")[-1].facts
        place: int = chosen["survivors"].index(survivor)
        known = queries.tuned(connection, self._study, survivor)
        first = int(chosen["first"])
        now = [one for one in known if one.candidate >= first]  # others: before it was extended
        return first + place * self._spec.tune.trials + len(now)

    def _add_baseline(self, connection: Connection) -> str:
        tree = baseline(self._target, self._limits)
        candidate = Candidate(
            number=_BASELINE,
            tree=tree,
            recipe=self._spec.training.recipe(),
            origin=Origin.BASELINE,
        )
        self._add(connection, [_Drawn(candidate, tree.plan())])
        return tree.digest()

    def _add(self, connection: Connection, drawn: Sequence["_Drawn"]) -> list[int]:
        """Add candidates and their trials; return the candidates' rows."""
        fresh = [
            changes.NewCandidate(
                candidate=one.candidate,
                digest=digest_of(one.plan),
                recipe_digest=one.candidate.recipe.digest(),
                arithmetic=arithmetic_of(one.plan, self._target, self._limits),
                draw=one.number,
            )
            for one in drawn
        ]
        rows = changes.add_candidates(connection, self._study, fresh)
        trials = [
            trial for row, one in zip(rows, fresh, strict=True) for trial in self._trials(row, one)
        ]
        changes.add_trials(connection, self._study, trials)
        return rows

    def _trials(self, row: int, fresh: changes.NewCandidate) -> Iterator[changes.NewTrial]:
        repeats, until_step = self._extent(fresh.candidate.origin)
        names = fresh.digest, fresh.recipe_digest
        for repeat in range(repeats):
            yield changes.NewTrial(
                candidate_id=row,
                repeat=repeat,
                seed=seed_of(self._spec.study.seed, *names, repeat),
                until_step=until_step,
                expected_s=self._spec.training.seconds(until_step, fresh.arithmetic["step_s"]),
                memory_gb=fresh.arithmetic["memory_gb"],
            )

    def _extent(self, origin: Origin) -> tuple[int, int]:
        """Return how many seeds a new candidate is trained with, and until which step at first."""
        search = self._spec.search
        horizon = search.rungs[-1]
        is_at_once = search.policy == "halving"
        return {
            Origin.BASELINE: (max(search.baselines, self._spec.ensemble.size), horizon),
            Origin.RANDOM: (search.repeats if is_at_once else 1, search.rungs[0]),
            Origin.BRED: (1, search.rungs[0]),
            Origin.TUNED: (1, horizon),
        }[origin]


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A candidate to add."""

    candidate: Candidate
    plan: Plan
    """What its tree comes to."""
    number: int | None = None
    """Its tree's place in the study's row of random trees."""


def arithmetic_of(plan: Plan, target: Target, limits: Limits) -> dict[str, Any]:
    """Return the columns of `trees` that follow from the arithmetic of what a tree comes to."""
    tally = tally_of(plan, target.channels, target.classes, target.patch_zyx)
    return {
        "parameters": tally.parameters,
        "flops": tally.flops,
        "memory_gb": memory_gb(tally, target.batch_size),
        "step_s": step_s(tally, target.batch_size, limits),
    }


def _limit(reason: str) -> str:
    """Return the limit that a reason names, without what the tree at hand needs."""
    return reason.split(";", maxsplit=1)[0]


def _random(number: int, tree: Tree, spec: StudySpec) -> Candidate:
    recipe = spec.training.recipe()
    return Candidate(number=number, tree=tree, recipe=recipe, origin=Origin.RANDOM)
