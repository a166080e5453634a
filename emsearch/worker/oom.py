"""Whether the kernel killed some of a job for want of memory: it tells the cgroup alone."""

import re
from pathlib import Path

__all__ = ["oom_kills"]

_KILLS = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)


def oom_kills(own: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> int:
    """Return how many processes of this one's cgroup were killed for want of memory.

    0 where that cannot be known. `own` names the cgroup of each controller, below `root`: version 2
    counts in memory.events, version 1 in memory.oom_control.
    """
    try:
        rows = (line.split(":", 2) for line in own.read_text().splitlines())
        paths = {controllers: path.lstrip("/") for _, controllers, path in rows}
        if "memory" in paths:
            return _count(root / "memory" / paths["memory"] / "memory.oom_control")
        return _count(root / paths[""] / "memory.events")
    except (OSError, ValueError, KeyError):
        return 0


def _count(file: Path) -> int:
    found = _KILLS.search(file.read_text())
    return int(found[1]) if found else 0
