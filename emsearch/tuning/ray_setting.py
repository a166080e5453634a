"""What Ray Tune is told and given, by whom and of what; Ray itself is not imported here."""

import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from emsearch.records.candidate import Recipe
from emsearch.records.order import TuneOrder

__all__ = [
    "IS_OVER",
    "SCORE",
    "STEP",
    "Machine",
    "Report",
    "Train",
    "Watch",
    "prepare_environment",
]

STEP, SCORE, IS_OVER = "step", "mean_iou", "is_over"
"""What trainings report: how far they are, how good, and whether they said their own end."""

Report = Callable[[Mapping[str, Any]], None]
Train = Callable[[int, Recipe, Report], None]
"""Trains a part, by its place among the order's, with a recipe, in a process of Ray's."""

_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # which does not know silence
    "RAY_AUTH_MODE": "token",  # other users of the node cannot give it work
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_memory_monitor_refresh_ms": "0",  # it looks at the whole node: a job has its own limit
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a training that failed has no score
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}


class Watch(Protocol):
    """Who looks after the trainings, in the process that runs Ray. It can be pickled."""

    def is_leaving(self) -> bool:
        """Return whether nothing more is to be begun."""

    def ended(self, place: int, last: Mapping[str, Any], *, has_died: bool) -> None:
        """Take note that a part runs no more, and of what it last reported."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """What a job has for its trainings."""

    cores: int
    threads: int
    """Of each training."""
    uses_gpus: bool
    scratch: Path
    """Node-local folder with a short path."""

    def share(self, order: TuneOrder, gpus: float) -> tuple[int, dict[str, float]]:
        """Return how many trainings run at a time, and what of cores and GPUs each has."""
        most = order.at_once or len(order.parts)
        if gpus:
            slots = min(int(gpus) * order.at_once_a_gpu, most)
            return slots, {"gpu": min(gpus / slots, 1.0), "cpu": min(1.0, self.cores / slots)}
        slots = max(min(self.cores // self.threads, most), 1)
        return slots, {"cpu": min(float(self.threads), self.cores / slots)}


def prepare_environment() -> None:
    """Set what Ray reads when it is imported, in this process and in those that it starts."""
    os.environ.update(_ENVIRONMENT | {"RAY_AUTH_TOKEN": secrets.token_hex(16)})
