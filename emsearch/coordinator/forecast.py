"""What a study will take, in time and on disk, before anything is submitted.

The trees are the very ones that the study will draw, so that only speed and the choice of the
survivors are estimates.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from math import ceil, inf, prod
from statistics import fmean

from emsearch.coordinator.draw import limits_of, target_of
from emsearch.coordinator.orders import evaluation_steps
from emsearch.records.sections import FINALIST_SEEDS, VolumeSection, z_range
from emsearch.records.spec import StudySpec
from emsearch.trees.arithmetic import Facts, describe, facts_of
from emsearch.trees.baseline import baseline
from emsearch.trees.sample import draw_distinct
from emsearch.trees.space import make_space

__all__ = ["Forecast", "forecast"]

_START_S = 3.0  # a job's interpreter and libraries
_TILE_OVERHEAD = 1.3  # halos of tiles that are read twice
_BYTES = 4  # of a weight
_CHECKPOINT_COPIES = 4  # weights, their average, and the optimizer's two moments
_SHAPE_SAMPLE = 200  # trees looked at: the mean does not need more


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """Hours of one worker and disk that a study takes; stages one after another."""

    baseline_s: float
    search_s: float
    tune_s: float
    ensemble_s: float
    workers: int
    disk_gb: float
    trials: int
    parameters: tuple[int, int, int]
    """Least, median, most of the random trees."""
    step_s: tuple[float, float, float]
    """Least, median, most predicted seconds of a training step."""
    redrawn: int
    """Trees that did not fit the limits and were drawn again."""

    @property
    def total_s(self) -> float:
        """Seconds from launch to end with all workers busy."""
        searching = (self.baseline_s + self.search_s + self.tune_s) / self.workers
        return searching + self.ensemble_s


def forecast(spec: StudySpec, shapes_zyx: Sequence[tuple[int, int, int]]) -> Forecast:
    """Return what a study of volumes of these shapes takes. Raises SpecError where no tree fits."""
    target, limits = target_of(spec), limits_of(spec)
    space = make_space(spec.space.families, spec.space.ranges)
    count = min(spec.search.candidates, _SHAPE_SAMPLE)
    draws = list(islice(draw_distinct(space, spec.study.seed, target, limits), count))
    facts = [facts_of(one.plan, target) for one in draws]
    fixed = describe(baseline(target, limits), target)
    batch = spec.training.batch_size
    steps = sorted(one.step_s(batch, limits) for one in facts)
    parameters = sorted(one.parameters for one in facts)
    costs = _Costs(spec, shapes_zyx)
    return Forecast(
        baseline_s=costs.baseline(fixed),
        search_s=costs.search(facts),
        tune_s=costs.tune(facts),
        ensemble_s=costs.ensemble(facts),
        workers=spec.cluster.max_jobs,
        disk_gb=costs.disk_bytes([*facts, fixed]) / 1e9,
        trials=costs.trials(),
        parameters=(parameters[0], parameters[len(parameters) // 2], parameters[-1]),
        step_s=(steps[0], steps[len(steps) // 2], steps[-1]),
        redrawn=sum(len(one.redrawn) for one in draws),
    )


class _Costs:
    def __init__(self, spec: StudySpec, shapes_zyx: Sequence[tuple[int, int, int]]) -> None:
        self._spec = spec
        self._limits = limits_of(spec)
        self._shapes = shapes_zyx
        self._evaluate_at = evaluation_steps(spec)
        pairs = list(zip(spec.dataset.volumes, shapes_zyx, strict=True))
        self._validation_vx = sum(_voxels(one, shape, ["validation"]) for one, shape in pairs)
        self._scored_vx = sum(_voxels(one, shape, ["validation", "test"]) for one, shape in pairs)

    def trials(self) -> int:
        search, tune = self._spec.search, self._spec.tune
        return self._baselines() + search.trainings + tune.survivors * tune.trials

    def baseline(self, facts: Facts) -> float:
        return self._baselines() * self._training(facts, 0, self._spec.search.rungs[-1])

    def search(self, facts: Sequence[Facts]) -> float:
        search = self._spec.search
        trainings, first, total = search.trainings, 0, 0.0
        for rung in search.rungs:
            each = fmean(self._training(one, first, rung) for one in facts)
            total += trainings * each
            trainings, first = ceil(trainings * search.keep), rung
        if search.policy == "halving":
            return total
        last = fmean(self._training(one, 0, search.rungs[-1]) for one in facts)
        seconds = 3600.0 * (search.gpu_hours or inf)
        walls = 3600.0 * self._spec.cluster.max_jobs * (search.wall_hours or inf)
        return min(total, seconds, walls) + search.finalists * (FINALIST_SEEDS - 1) * last

    def tune(self, facts: Sequence[Facts]) -> float:
        tune = self._spec.tune
        each = fmean(self._training(one, 0, self._spec.search.rungs[-1]) for one in facts)
        return tune.survivors * tune.trials * each

    def ensemble(self, facts: Sequence[Facts]) -> float:
        section = self._spec.ensemble
        members = min(section.pool, self.trials()) + self._baselines()
        return _START_S + members * fmean(self._forward(one, self._scored_vx) for one in facts)

    def disk_bytes(self, facts: Sequence[Facts]) -> float:
        search = self._spec.search
        weights = fmean(one.parameters for one in facts) * _BYTES
        kept = search.trainings if len(search.rungs) > 1 else 0
        if self._spec.training.keep_plateau:
            kept += self.trials()  # at most: those that stop early have none
        copies = (kept + self._spec.cluster.max_jobs) * _CHECKPOINT_COPIES + self.trials()
        volumes = sum(2 * prod(shape) for shape in self._shapes)
        return weights * copies + volumes

    def _baselines(self) -> int:
        return max(self._spec.search.baselines, self._spec.ensemble.size)

    def _training(self, facts: Facts, first: int, end: int) -> float:
        evaluations = sum(first < step <= end for step in self._evaluate_at)
        training = self._spec.training
        step_s = facts.step_s(training.batch_size, self._limits)
        stepping = training.seconds(end - first, step_s)
        return _START_S + stepping + evaluations * self._forward(facts, self._validation_vx)

    def _forward(self, facts: Facts, voxels: int) -> float:
        # A third of a training step is forward; prediction reads tiles that overlap.
        patch = prod(self._spec.training.patch_zyx)
        return _TILE_OVERHEAD * voxels / patch * facts.step_s(1, self._limits) / 3


def _voxels(volume: VolumeSection, shape_zyx: tuple[int, int, int], splits: list[str]) -> int:
    ranges = [z_range(text) for split in splits if (text := getattr(volume, split))]
    return sum(end - first for first, end in ranges) * shape_zyx[1] * shape_zyx[2]
