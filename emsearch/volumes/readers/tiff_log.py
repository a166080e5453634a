"""What tifffile says while it opens a file: kept from the user, and searched for damage."""

import logging
import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from emsearch.errors import SpecError
from emsearch.volumes.damage import REMEDY

__all__ = ["listening", "require_vital_tags"]

_LOGGER = logging.getLogger("tifffile")
# Size, bits, compression, colours, description, predictor, number format, and where strips and
# tiles lie: a tag of others may be odd, but without these tifffile guesses.
_VITAL = {256, 257, 258, 259, 262, 270, 273, 277, 278, 279, 284, 317, 322, 323, 324, 325, 339}
_MANY = 5  # different tags that are odd in a sound file; a list of tags that slipped has hundreds
_COMPLAINT = re.compile(r"TiffTag (\d+) @")
_FOREIGN = "coercing invalid ASCII"  # text that is neither UTF-8 nor cp1252, such as Shift-JIS


@contextmanager
def listening() -> Iterator[list[str]]:
    """Yield what tifffile logs in this thread; of one damaged file that may be thousands of lines.

    None of them is shown.
    """
    heard: list[str] = []
    mine = threading.get_ident()

    def hear(record: logging.LogRecord) -> bool:
        if record.thread == mine:
            heard.append(record.getMessage())
        return record.thread != mine

    _LOGGER.addFilter(hear)
    try:
        yield heard
    finally:
        _LOGGER.removeFilter(hear)


def require_vital_tags(path: Path, heard: Iterable[str]) -> None:
    """Raise SpecError where tifffile passed over a tag that reading rests on, or over many."""
    doubtful = [said for said in heard if _FOREIGN not in said]
    odd = {int(found[1]): said for said in doubtful if (found := _COMPLAINT.search(said))}
    worst = next((tag for tag in odd if tag in _VITAL or len(odd) > _MANY), None)
    if worst is not None:
        raise SpecError(f"{path} is damaged: {odd[worst]}; {REMEDY}")
