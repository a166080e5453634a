"""The command line: each command parses, calls one function, prints."""

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command that the arguments name; an error of a user's is one line, and exit 1."""
    from emsearch.cli.app import app
    from emsearch.errors import EmsearchError

    try:
        app()
    except EmsearchError as error:
        print(f"emsearch: {error}", file=sys.stderr)  # noqa: T201 - the user's line
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
