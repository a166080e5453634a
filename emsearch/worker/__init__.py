"""Runs the orders of a job's task: `python -m emsearch.worker JOBFILE INDEX`.

An attempt writes into its own folder and the inbox, nowhere else, except for its claim: the file
that says that it is there. Of an order's attempts the latest that made one counts, whoever comes
back from the dead.
"""

from emsearch.worker.run import run_task

__all__ = ["run_task"]
