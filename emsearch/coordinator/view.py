"""All that a decision rests on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from emsearch.execution.executor import JobReport, Limits
from emsearch.records.job import TaskName
from emsearch.records.profile import profile_of, wall_s_of
from emsearch.records.spec import StudySpec
from emsearch.records.trial import Cause, OrderState, Stage, TrialState

__all__ = [
    "ALIKE",
    "Ended",
    "Job",
    "Plan",
    "TrialView",
    "Tuning",
    "View",
    "Waiting",
    "Window",
]

ALIKE = 5
"""Orders that failed in a row with the same words, after which it is not the trials' fault."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What the study file fixes."""

    candidates: int
    rungs: tuple[int, ...]
    keep: float
    survivors: int
    tune_trials: int
    tune_batch: int
    max_jobs: int
    min_job_s: float
    policy: str = "halving"
    goal: str = "best_networks"
    trials: int = 0
    """Trainings of an asynchronous search."""
    gpu_hours: float | None = None
    wall_hours: float | None = None
    finalists: int = 3
    seed: int = 0
    """The study's."""
    tune_engine: str = "optuna"
    orders_at_once: int = 1
    """Orders that share a task's device."""
    gpu_memory_gb: float | None = None
    """Of that device."""
    wall_s: float | None = None
    """Longest that a task may run."""

    @classmethod
    def of(cls, spec: StudySpec) -> "Plan":
        """Return the plan that a study file and its cluster's profile ask for.

        Raises NotFoundError and SpecError for the profile.
        """
        profile = profile_of(spec)
        return cls(
            candidates=spec.search.candidates,
            rungs=spec.search.rungs,
            keep=spec.search.keep,
            survivors=spec.tune.survivors,
            tune_trials=spec.tune.trials,
            tune_batch=spec.tune.batch,
            tune_engine=spec.tune.engine,
            max_jobs=spec.cluster.max_jobs,
            min_job_s=spec.cluster.min_job_s,
            policy=spec.search.policy,
            goal=spec.search.goal,
            trials=spec.search.trainings,
            gpu_hours=spec.search.gpu_hours,
            wall_hours=spec.search.wall_hours,
            finalists=spec.search.finalists,
            seed=spec.study.seed,
            orders_at_once=profile.orders_at_once if profile else 1,
            gpu_memory_gb=profile.gpu_memory_gb if profile else None,
            wall_s=wall_s_of(profile.sbatch.get("time")) if profile else None,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """An order that no job carries."""

    number: int
    expected_s: float
    memory_gb: float = 0.0
    """Predicted memory of the device."""
    needs_gpu: bool = True
    memory_factor: float = 1.0
    """Times the usual memory of the host."""
    avoid: tuple[str, ...] = ()
    """Nodes on which it failed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A task of a job that is not known to be over."""

    number: int
    """Its row."""
    name: TaskName
    handle: str | None
    """None: committed to, but perhaps never submitted."""
    report: JobReport | None
    """None where it has no handle."""
    created_s: float = 0.0
    restarts: int = 0
    """How often the cluster has put it back, as far as has been drawn upon."""
    is_stopped: bool = False
    """It has been told to end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """An ended attempt whose consequences have not been drawn."""

    attempt: int
    order: int
    order_state: OrderState
    kind: str
    trial: int | None
    cause: Cause
    had_started: bool
    is_latest: bool
    """Whether the order has no later attempt."""
    causes_before: tuple[Cause, ...]
    """Of the order's earlier attempts that had started: errors since the study was last resumed,
    and what was nobody's fault since an attempt last got further."""
    is_task_open: bool = False
    """Whether the cluster has not told yet what became of the task that it ran in."""
    micro_batch: int = 1
    """Patches in the device's memory at once; read only where that was too small."""
    shared_gb: float = 0.0
    """Memory of the device, where others may have had a part of it; 0 where it was alone there."""
    memory_factor: float = 1.0
    """Times the usual memory of the host."""
    node: str = ""
    failed_there_alone: tuple[int, ...] = ()
    """Candidates that failed on its node and nowhere else; read only where it is one of them."""
    detail: str
    result: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialView:
    """A trial of the search."""

    number: int
    candidate: int
    is_baseline: bool
    state: TrialState
    until_step: int
    score: float | None
    cause: Cause | None = None
    """Why it failed."""
    scores: tuple[tuple[int, float], ...] = ()
    """Rungs with their scores; read for an asynchronous search only."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tuning:
    """How far the tuning of a survivor is."""

    survivor: int
    asked: int
    unfinished: int
    is_delegated: bool = False
    """Whether an order is under way that carries its trials out in one job."""
    unchosen: int = 0
    """Trials whose recipes such an order was to choose, and has not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """What the cluster takes now."""

    limits: Limits = field(default_factory=Limits)
    is_open: bool = True
    """Whether it may be given jobs: not shortly after it refused one."""
    refused: str = ""
    """What it said when it last refused one; empty since it took one."""
    silence: str = ""
    """Why it is not told to end jobs now: it has just been, and did not answer."""
    recover_after_s: float = 0.0
    """Age at which a job without a handle is looked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """All that a decision may rest on, read at one moment."""

    now_s: float
    """Seconds since the epoch."""
    stage: Stage
    is_paused: bool
    plan: Plan
    is_halted: bool = False
    """Running jobs are to end, too."""
    jobs: tuple[Job, ...] = ()
    excluded: tuple[str, ...] = ()
    """Nodes that get no more jobs."""
    window: Window = field(default_factory=Window)
    waits_why: str = ""
    """What users are told of why orders wait."""
    waiting: tuple[Waiting, ...] = ()
    ended: tuple[Ended, ...] = ()
    failure: str = ""
    """What the last order to be given up failed with; empty where none was."""
    imports: tuple[OrderState, ...] = ()
    """Of the volumes; empty until their imports have been ordered."""
    candidates_drawn: int = 0
    live: tuple[TrialView, ...] = ()
    """Trials without a verdict. Of successive halving only those at the lowest rung that any is
    bound for; while some are on the way there, one of these stands for all."""
    completed: tuple[TrialView, ...] = ()
    """Trials at the horizon; read only when the search has come to its end."""
    history: tuple[TrialView, ...] = ()
    """All trials of an asynchronous search; read only when a slot is free."""
    spent_s: float = 0.0
    """Seconds of training so far, where the history is read."""
    begun_s: float = 0.0
    """When the study was launched."""
    tunings: tuple[Tuning, ...] = ()
    combining: tuple[OrderState, ...] = ()
    """Of the ensemble's orders."""
    is_inbox_full: bool = False
    """More has been said than was read: what a dead job said may be among it."""
    alike: str = ""
    """What the last orders all failed with, where that is one and the same; else empty."""
