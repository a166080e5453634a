"""States of trials and attempts, and the moves between them: the documentation of both."""

from enum import StrEnum

__all__ = [
    "ENDED",
    "MENDABLE",
    "MOVES",
    "OVER",
    "AttemptState",
    "Cause",
    "OrderState",
    "Stage",
    "TrialState",
]


class TrialState(StrEnum):
    """Where one training of one candidate with one seed stands."""

    WAITING = "waiting"  # an order for it is to be written
    RUNNING = "running"  # an order for it is with the cluster
    PAUSED = "paused"  # reached a rung; waits to be compared
    COMPLETED = "completed"  # reached the horizon
    STOPPED = "stopped"  # compared at a rung and not promoted
    FAILED = "failed"  # cannot be trained, for a reason of its own


MOVES: dict[TrialState, frozenset[TrialState]] = {
    TrialState.WAITING: frozenset({TrialState.RUNNING, TrialState.STOPPED}),
    TrialState.RUNNING: frozenset(
        {TrialState.WAITING, TrialState.PAUSED, TrialState.COMPLETED, TrialState.FAILED}
    ),
    TrialState.PAUSED: frozenset({TrialState.WAITING, TrialState.STOPPED}),
    TrialState.COMPLETED: frozenset(),
    TrialState.STOPPED: frozenset({TrialState.WAITING}),  # promoted after all
    TrialState.FAILED: frozenset({TrialState.WAITING}),  # retried by hand
}

OVER = frozenset({TrialState.COMPLETED, TrialState.STOPPED, TrialState.FAILED})
"""States that are a verdict."""


class OrderState(StrEnum):
    """Where something that a worker is to do stands."""

    WAITING = "waiting"  # for a job
    RUNNING = "running"  # in a job
    DONE = "done"  # carried out
    FAILED = "failed"  # given up


class Stage(StrEnum):
    """What a study is about to do."""

    IMPORTING = "importing"  # volumes become Zarr
    SEARCHING = "searching"  # random trees and the baseline climb the rungs
    TUNING = "tuning"  # survivors' recipes
    COMBINING = "combining"  # an ensemble is selected and scored
    FINISHED = "finished"
    FAILED = "failed"  # an order without which it cannot go on was given up
    CANCELLED = "cancelled"  # by the user


ENDED = frozenset({Stage.FINISHED, Stage.FAILED, Stage.CANCELLED})
"""Stages in which a study asks for nothing more."""


class AttemptState(StrEnum):
    """Where one try to carry an order out stands."""

    SUBMITTING = "submitting"  # committed to the ledger, perhaps not yet known to the cluster
    QUEUED = "queued"  # known to the cluster
    RUNNING = "running"  # its worker said so
    ENDED = "ended"  # with a cause


class Cause(StrEnum):
    """Why an attempt ended."""

    COMPLETED = "completed"  # the order is carried out
    PAUSED = "paused"  # the trial reached its rung
    PREEMPTED = "preempted"  # asked to make room; it left a checkpoint
    TIMEOUT = "timeout"  # the job's time ran out
    GPU_OUT_OF_MEMORY = "gpu_out_of_memory"
    HOST_OUT_OF_MEMORY = "host_out_of_memory"
    NODE_FAILURE = "node_failure"
    DIVERGED = "diverged"  # loss or weights not finite
    COLLAPSED = "collapsed"  # one class everywhere
    ERROR = "error"  # an exception that is none of the above
    CANCELLED = "cancelled"  # by the user
    LOST = "lost"  # its process is gone and said nothing


MENDABLE = frozenset({Cause.ERROR, Cause.HOST_OUT_OF_MEMORY, Cause.LOST})
"""Causes of failure that may lie in the environment: `resume` tries these trials again."""
