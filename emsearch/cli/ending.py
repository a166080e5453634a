"""What a study ends with: the leaderboard, the ensemble beside its rivals, the report."""

from pathlib import Path

from rich.console import Console
from rich.markup import escape

from emsearch.ledger import listings, queries
from emsearch.ledger.rows import AnyRow
from emsearch.ledger.store import Ledger
from emsearch.records.trial import Stage
from emsearch.reports.leaderboard import COLUMNS, leaderboard
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
        word = {Stage.FAILED: "failed", Stage.CANCELLED: "was cancelled"}.get(
            Stage(study.stage), "is paused"
        )
        console.print(f"\n[red]The study {word}:[/red] {escape(study.paused_why)}", soft_wrap=True)
        console.print(f"Mend what is wrong, then: emsearch resume {folder}", soft_wrap=True)
    if rivals:
        console.print()
        print_listing([_scored(rival) for rival in rivals], title="Mean IoU")
        console.print(f"\nensemble  {folder / 'ensembles' / 'best'}", soft_wrap=True)
    console.print(f"report    {page}", soft_wrap=True)


def _scored(rival: AnyRow) -> dict[str, object]:
    return {
        "network": rival.name,
        "validation": _mean(rival.validation),
        "test": _mean(rival.test),
    }


def _mean(score: dict[str, float] | None) -> float | None:
    return None if score is None else score["mean_iou"]
