"""Commands that ask a study for something."""

from pathlib import Path
from typing import Annotated

import typer

from emsearch.cli.forms import AsCsv, AsJson, form_of

__all__ = ["leaderboard", "report", "show", "status"]

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The study's folder.")]

COLUMNS = (
    "rank",
    "candidate",
    "family",
    "origin",
    "parameters",
    "step",
    "trials",
    "failed",
    "score",
    "score_low",
    "score_high",
)


def status(folder: Folder, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """Say where a study stands: its stage, its trials and attempts by state and cause."""
    from emsearch.coordinator.folder import ledger_of
    from emsearch.ledger import queries
    from emsearch.reports.listing import print_fields
    from emsearch.reports.status import status as status_of

    with ledger_of(folder).reading() as connection:
        where = status_of(connection, queries.study(connection).id)
    print_fields(where, form_of(as_json=as_json, as_csv=as_csv))


def leaderboard(
    folder: Folder,
    top: Annotated[int | None, typer.Option(min=1, help="Only the best so many.")] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List the candidates, best first, with the intervals that their scores lie in."""
    from emsearch.coordinator.folder import ledger_of
    from emsearch.ledger import queries
    from emsearch.reports.leaderboard import leaderboard as leaderboard_of
    from emsearch.reports.listing import Form, print_listing

    with ledger_of(folder).reading() as connection:
        entries = leaderboard_of(connection, queries.study(connection).id, top)
    form = form_of(as_json=as_json, as_csv=as_csv)
    columns = COLUMNS if form == Form.TABLE else ()
    print_listing(entries, form, columns=columns, empty="no candidate has been drawn yet")


def show(
    folder: Folder,
    candidate: Annotated[int | None, typer.Option(help="Number of a candidate.")] = None,
    trial: Annotated[int | None, typer.Option(help="Number of a trial.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show all that is known of a candidate or of a trial."""
    from emsearch.coordinator.folder import ledger_of
    from emsearch.errors import SpecError
    from emsearch.ledger import queries
    from emsearch.reports.cards import candidate_card, trial_card
    from emsearch.reports.listing import print_fields

    if (candidate is None) == (trial is None):
        raise SpecError("name one of the two: --candidate N or --trial N")
    with ledger_of(folder).reading() as connection:
        study_id = queries.study(connection).id
        card: object
        if trial is not None:
            card = trial_card(connection, study_id, trial)
        else:
            card = candidate_card(connection, study_id, candidate or 0)
    print_fields(card, form_of(as_json=as_json, as_csv=False))


def report(folder: Folder) -> None:
    """Write the study's report: one HTML file that needs nothing else."""
    from emsearch.coordinator.folder import ledger_of
    from emsearch.reports.pages import write_report

    typer.echo(write_report(ledger_of(folder), folder))
