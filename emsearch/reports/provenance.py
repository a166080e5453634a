"""What a trial was made with, as its attempts noted it."""

from pathlib import Path
from typing import Any

from emsearch.records.files import read_json
from emsearch.records.order import trial_folder

__all__ = ["made_with"]


def made_with(study: Path, trial: int) -> dict[str, Any]:
    """Return seed, code, libraries, device and checksums of the data of a trial's last attempt.

    Empty where no attempt has begun. An attempt that completed the trial counts before all others.
    """
    attempts = study / trial_folder(trial) / "attempts"
    notes = list(attempts.glob("*/provenance.json"))
    if not notes:
        return {}
    note = max(
        notes, key=lambda path: (path.with_name("result.json").exists(), path.stat().st_mtime)
    )
    found: dict[str, Any] = read_json(note)
    return found
