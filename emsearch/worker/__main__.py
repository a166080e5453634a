"""Run the task whose job file and index are the arguments."""

import sys
from pathlib import Path

from emsearch.worker.run import run_task

run_task(Path(sys.argv[1]), int(sys.argv[2]))
