"""Records that a notebook can have as a table."""

from dataclasses import asdict, is_dataclass
from importlib import import_module
from typing import Any, TypeVar

__all__ = ["Records"]

T = TypeVar("T")


class Records(list[T]):
    """A list of records, a dataclass or mapping each."""

    def frame(self) -> Any:
        """Return the records as a pandas DataFrame, a column a field."""
        # Pandas takes longer to import than a leaderboard to read: only who asks pays for it.
        rows = [asdict(one) if is_dataclass(one) else one for one in self]  # type: ignore[arg-type]
        return import_module("pandas").DataFrame(rows)
