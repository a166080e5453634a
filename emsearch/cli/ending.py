"""What a study ends with: the leaderboard, the ensemble beside its rivals, the report."""

from pathlib import Path

from rich.console import Console

from emsearch.cli.asking import COLUMNS
from emsearch.ledger import listings, queries
from emsearch.ledger.store import Ledger
from emsearch.reports.leaderboard import leaderboard
from emsearch.reports.listing import print_listing

__all__ = ["print_ending"]

_TOP = 10


def print_ending(ledger: Ledger, folder: Path, page: Path) -> None:
    """Print what a study came to, and where it lies."""
    with ledger.reading() as connection:
        study = queries.study(connection)
        entries = leaderboard(connection, study.id, _TOP)
        rivals = listings.ensembles(connection, study.id)
    print_listing(entries, columns=COLUMNS, empty="no candidate was trained")
    console = Console()
    if study.paused_why:
        console.print(f"\n[red]The study failed:[/red] {study.paused_why}", soft_wrap=True)
    if rivals:
        console.print()
        print_listing([_scored(rival) for rival in rivals], title="Mean IoU")
        console.print(f"\nensemble  {folder / 'ensembles' / 'best'}", soft_wrap=True)
    console.print(f"report    {page}", soft_wrap=True)


def _scored(rival: object) -> dict[str, object]:
    row = rival
    return {
        "network": row.name,  # type: ignore[attr-defined]
        "validation": _mean(row.validation),  # type: ignore[attr-defined]
        "test": _mean(row.test),  # type: ignore[attr-defined]
    }


def _mean(score: dict[str, float] | None) -> float | None:
    return None if score is None else score["mean_iou"]
