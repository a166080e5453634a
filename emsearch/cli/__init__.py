"""The command line: each command parses, calls one function, prints."""

import sys
import traceback

__all__ = ["main"]

_OUR_FAULT = 70
"""The exit code of an error that is no user's: sysexits.h calls it EX_SOFTWARE."""


def main() -> None:
    """Run the command that the arguments name; an error of a user's is one line, and exit 1.

    Any other error keeps its traceback and ends with exit code 70: a coordinator's job is put back
    by it.
    """
    from emsearch.errors import EmsearchError

    try:
        from emsearch.cli.app import app

        app()
    except EmsearchError as error:
        print(f"emsearch: {error}", file=sys.stderr)  # noqa: T201 - the user's line
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception:  # noqa: BLE001 - whatever it is
        traceback.print_exc()
        sys.exit(_OUR_FAULT)
