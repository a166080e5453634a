"""What the coordinator may do, as data: `decide` returns these and `act` carries them out."""

from dataclasses import dataclass, field
from enum import StrEnum

from emsearch.coordinator.view import Ended, Job
from emsearch.execution.executor import Ending
from emsearch.records.trial import Stage

__all__ = [
    "Action",
    "Advance",
    "Ask",
    "Bury",
    "Combine",
    "Delegate",
    "Draw",
    "Exclude",
    "Follow",
    "Import",
    "Pause",
    "Promote",
    "Recover",
    "Restart",
    "Settle",
    "Stop",
    "Submit",
    "Tell",
    "Try",
    "Waive",
]


class Follow(StrEnum):
    """What follows from an attempt's end."""

    DONE = "done"  # the order is carried out
    AGAIN = "again"  # from the last checkpoint
    ELSEWHERE = "elsewhere"  # again, on another node
    ROOMIER = "roomier"  # again, with more memory of the host
    ALONE = "alone"  # again, with the whole memory of the device
    SMALLER = "smaller"  # again, with half of the patches in the device's memory at once
    FAIL = "fail"  # the order is given up
    NOTHING = "nothing"  # another attempt is in charge


@dataclass(frozen=True, kw_only=True, slots=True)
class Settle:
    """Draw the consequences of an attempt's end."""

    ended: Ended
    follow: Follow


@dataclass(frozen=True, kw_only=True, slots=True)
class Bury:
    """End a task that is gone, with the attempts that it took along unheard."""

    job: Job
    endings: tuple[Ending, ...]
    """How each of its runs ended, first to last."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Restart:
    """Begin new attempts where the cluster has put a task back into its queue."""

    job: Job
    endings: tuple[Ending, ...]
    """How the runs ended that are over, first to last."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Exclude:
    """Submit nothing more to a node."""

    node: str
    candidates: tuple[int, ...]
    """That failed there, and nowhere else."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tell:
    """Let users know why orders wait."""

    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Recover:
    """Find a job that was committed to; its orders wait again where it never was submitted."""

    token: str
    tasks: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Stop:
    """Tell jobs to leave their checkpoints and end."""

    jobs: tuple[Job, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Submit:
    """Submit a job whose tasks each run orders."""

    tasks: tuple[tuple[int, ...], ...]
    """The orders of each task."""
    needs_gpu: bool = True
    memory_factor: float = 1.0
    """Times the usual memory of the host."""
    exclude: tuple[str, ...] = ()
    """Nodes to keep away from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Import:
    """Order the import of all volumes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Draw:
    """Draw random trees, and the baseline before the first; each with its trials."""

    count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Promote:
    """Compare the candidates that wait at a rung: some go on, some stop."""

    rung: int
    until_step: int
    go_on: tuple[int, ...]
    """Trials."""
    stop: tuple[int, ...]
    """Trials."""
    means: tuple[tuple[int, float], ...] = field(default=())
    """Candidates with the scores that the comparison rested on, best first."""
    is_for_want: bool = False
    """Whether those that stop do so for want of budget: more of it, and they may go on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Try:
    """Train a candidate with one more seed; a new one is drawn, or bred from its parents."""

    candidate: int | None
    """None: a new one."""
    until_step: int
    trainings: int
    """Trainings that the decision rested on, finished or not."""
    parents: tuple[int, ...] = ()
    """One to mutate, two to cross; none: a random tree."""
    means: tuple[tuple[int, float], ...] = ()
    """The leading candidates then, with what they were ranked by."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """Ask the tuner for recipes for a survivor."""

    survivor: int
    count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Delegate:
    """Order a survivor to be tuned in one job, which chooses the recipes of `count` trials."""

    survivor: int
    count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Waive:
    """Give up the trials of a survivor that its job, which is over, chose no recipe for."""

    survivor: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Combine:
    """Order the selection of the ensemble."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Advance:
    """Go on to another stage."""

    stage: Stage
    survivors: tuple[int, ...] = ()
    """Candidates to tune, where tuning begins."""
    why: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pause:
    """Submit nothing more until somebody has looked."""

    why: str


Action = (Pause | Settle | Bury | Restart | Recover | Stop | Exclude | Tell | Submit) | (
    Import | Draw | Promote | Try | Ask | Delegate | Waive | Combine | Advance
)
