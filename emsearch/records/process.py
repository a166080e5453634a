"""Which process: a name that a recycled process number does not share."""

import errno
import os
import socket

import psutil

__all__ = ["SHORTAGES", "host_of", "is_alive", "process_name"]

SHORTAGES = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE})
"""Of an OSError: this host has no processes, memory or descriptors left; it passes by itself."""

_CLOCK_SLACK_S = 5.0  # the boot time that psutil adds to moves when the host's clock is set


def process_name(pid: int | None = None) -> str:
    """Return host/pid/start of a process, by default of this one. Raises psutil.NoSuchProcess."""
    process = psutil.Process(os.getpid() if pid is None else pid)
    return f"{socket.gethostname()}/{process.pid}/{process.create_time():.2f}"


def host_of(name: str) -> str:
    """Return the host in a process's name."""
    return name.split("/", maxsplit=1)[0]


def is_alive(name: str) -> bool:
    """Return whether the process of that name runs on this host; a zombie does not."""
    host, pid, started = name.split("/")
    if host != socket.gethostname():
        return False
    try:
        process = psutil.Process(int(pid))
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return abs(process.create_time() - float(started)) < _CLOCK_SLACK_S
    except psutil.NoSuchProcess:
        return False
