"""Find, train and ensemble segmentation networks for electron-microscopy volumes.

emsearch.open_study("runs/vnc").leaderboard(5)
emsearch.load_ensemble("runs/vnc/ensembles/best").segment(image_ZYX)
"""

from importlib import import_module
from typing import Any

__all__ = ["__version__", "load_ensemble", "open_study"]

__version__ = "0.1.0"

_FRONT = {
    "load_ensemble": "emsearch.inference.ensemble",
    "open_study": "emsearch.reports.study",
}
"""What a notebook wants, by module: imported when it is asked for, since one of them is torch."""


def __getattr__(name: str) -> Any:
    if name in _FRONT:
        return getattr(import_module(_FRONT[name]), name)
    raise AttributeError(f"module 'emsearch' has no attribute {name!r}")
