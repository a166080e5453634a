"""`python -m emsearch.cli` is the command line of this very Python."""

from emsearch.cli import main

main()
