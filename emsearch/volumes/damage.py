"""What libraries raise on damaged bytes, told as one error of ours."""

from collections.abc import Iterator
from contextlib import contextmanager

from emsearch.errors import EmsearchError, SpecError

__all__ = ["REMEDY", "naming"]

REMEDY = "copy the file again, or save it again where it was made"


@contextmanager
def naming(what: str) -> Iterator[None]:
    """Raise SpecError with `what` could not be read, whatever a library raises on it.

    Our own errors name it already, and too little memory is not the file's fault: they pass.
    """
    try:
        yield
    except (EmsearchError, MemoryError):
        raise
    except Exception as error:  # decoders raise what they like: zlib.error, AssertionError, ...
        raise SpecError(f"{what} cannot be read: {_said(error)}; {_remedy(error)}") from error


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__


def _remedy(error: Exception) -> str:
    """Return what to do; a number from the operating system tells of no fault in the bytes."""
    if isinstance(error, OSError) and error.errno:
        return "look at the file's rights and at its disk, and run again"
    return f"the file seems to be damaged or cut short: {REMEDY}"
