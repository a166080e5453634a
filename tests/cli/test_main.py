"""How the command line ends."""

import subprocess
import sys

import pytest

_PROGRAM = """
import sys
import emsearch.cli.app as commands
from emsearch.cli import main
from emsearch.errors import SpecError

def app():
    raise eval(sys.argv[1])

commands.app = app
main()
"""


@pytest.mark.parametrize(
    ("error", "code", "has_traceback"),
    [
        ("SpecError('no study at /x')", 1, False),
        ("KeyboardInterrupt()", 130, False),
        ("ValueError('a fault of ours')", 70, True),
        ("SystemExit(2)", 2, False),
    ],
)
def test_whose_fault_an_error_is_shows_in_the_exit_code(
    error: str, code: int, *, has_traceback: bool
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, error], capture_output=True, text=True, check=False
    )
    assert done.returncode == code
    assert ("Traceback" in done.stderr) == has_traceback
