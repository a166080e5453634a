"""Which emsearch this is: orders are carried out by the version that wrote them."""

import shutil
import subprocess
from functools import cache
from pathlib import Path

import emsearch

__all__ = ["code_version"]


@cache
def code_version() -> str:
    """Return the version, with the last commit of the package where it runs from a checkout."""
    package = Path(emsearch.__file__).parent
    if shutil.which("git") is None or not (package.parent / ".git").exists():
        return emsearch.__version__
    command = ["git", "-C", str(package), "log", "-1", "--format=%h", "--", "."]
    commit = subprocess.run(  # noqa: S603
        command, capture_output=True, text=True, check=False
    ).stdout.strip()
    return f"{emsearch.__version__}+{commit}" if commit else emsearch.__version__
