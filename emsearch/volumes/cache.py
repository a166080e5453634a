"""Volumes on a node's own disk: read once from the shared one, however often patches are drawn."""

import os
import shutil
from pathlib import Path
from uuid import uuid4

__all__ = ["near"]


def near(study: Path, zarr: str) -> Path:
    """Return the folder of a study's volume, on the node's own disk where the job has one.

    The job's script names that disk in EMSEARCH_SCRATCH. A copy is whole or absent; where it does
    not fit, the shared one is read.
    """
    shared = study / zarr
    scratch = os.environ.get("EMSEARCH_SCRATCH", "")
    if not scratch or not shared.is_dir():
        return shared
    stamp = shared.stat().st_mtime_ns  # a volume that was imported again is another
    copy = Path(scratch) / "emsearch-volumes" / f"{shared.stem}-{stamp}.zarr"
    if copy.is_dir():
        return copy
    part = copy.with_name(f".{copy.name}.{uuid4().hex}")
    try:
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(shared, part)
        part.rename(copy)
    except OSError:  # full, or another order of the job was quicker
        shutil.rmtree(part, ignore_errors=True)
        return copy if copy.is_dir() else shared
    return copy
