"""Where a coordinator runs that outlives the shell that started it."""

from enum import StrEnum

__all__ = ["Under"]


class Under(StrEnum):
    """What keeps a detached coordinator running."""

    SLURM = "slurm"  # a small job of its own, which the cluster puts back when it is ended
    NOHUP = "nohup"  # a process of this host
    TMUX = "tmux"  # a terminal of this host that can be attached to
