"""Commands that ask a study for something."""

from pathlib import Path
from typing import Annotated

import typer

from emsearch.cli.forms import AsCsv, AsJson, AsMarkdown, form_of

__all__ = ["leaderboard", "query", "report", "show", "status", "web"]

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The study's folder.")]


def status(folder: Folder, as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """Say where a study stands: its stage, its trials and attempts by state and cause."""
    from emsearch.reports.listing import print_fields
    from emsearch.reports.study import open_study

    with open_study(folder) as study:
        print_fields(study.status(), form_of(as_json=as_json, as_csv=as_csv))


def leaderboard(
    folder: Folder,
    top: Annotated[int | None, typer.Option(min=1, help="Only the best so many.")] = None,
    by: Annotated[str | None, typer.Option(help="Rank by this class's IoU.")] = None,
    family: Annotated[list[str] | None, typer.Option(help="Only this family.")] = None,
    max_parameters: Annotated[int | None, typer.Option(help="Only networks as small.")] = None,
    failed: Annotated[
        bool | None, typer.Option("--failed/--not-failed", help="Only those with failed trials.")
    ] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    as_markdown: AsMarkdown = False,
) -> None:
    """List the candidates, best first, with the intervals that their scores lie in."""
    from emsearch.ledger.listings import Wanted
    from emsearch.reports.leaderboard import COLUMNS
    from emsearch.reports.listing import Form, print_listing
    from emsearch.reports.study import open_study

    wanted = Wanted(families=family or (), most_parameters=max_parameters, failed=failed)
    with open_study(folder) as study:
        entries = study.leaderboard(top, wanted=wanted, by=by)
    form = form_of(as_json=as_json, as_csv=as_csv, as_markdown=as_markdown)
    columns = COLUMNS if form in {Form.TABLE, Form.MARKDOWN} else ()
    print_listing(entries, form, columns=columns, empty="no such candidate yet")


def show(
    folder: Folder,
    candidate: Annotated[int | None, typer.Option(help="Number of a candidate.")] = None,
    trial: Annotated[int | None, typer.Option(help="Number of a trial.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show all that is known of a candidate or of a trial."""
    from emsearch.errors import SpecError
    from emsearch.reports.listing import print_fields
    from emsearch.reports.study import open_study

    if (candidate is None) == (trial is None):
        raise SpecError("name one of the two: --candidate N or --trial N")
    with open_study(folder) as study:
        card = study.trial(trial) if trial is not None else study.candidate(candidate or 0)
        print_fields(card, form_of(as_json=as_json), hidden=() if as_json else ["structure"])


def query(
    folder: Folder,
    statement: Annotated[str, typer.Argument(help="A SELECT on the ledger's tables.")],
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    as_markdown: AsMarkdown = False,
) -> None:
    """Ask the ledger in SQL. It is opened for reading alone."""
    from emsearch.reports.listing import print_listing
    from emsearch.reports.study import open_study

    with open_study(folder) as study:
        rows = study.query(statement)
    print_listing(rows, form_of(as_json=as_json, as_csv=as_csv, as_markdown=as_markdown))


def report(folder: Folder) -> None:
    """Write the study's report: one HTML file that needs nothing else."""
    from emsearch.reports.study import open_study

    with open_study(folder) as study:
        typer.echo(study.report())


def web(
    folder: Folder,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on this host.")] = 8017,
) -> None:
    """Serve the study's pages, live and read-only, to whoever knows the address."""
    from emsearch.coordinator.folder import ledger_of
    from emsearch.reports.web import address, new_token, serve, tunnel

    ledger, token = ledger_of(folder), new_token()
    typer.echo(f"{address(port, token)}\nFrom another computer, first: {tunnel(port)}")
    serve(ledger, folder, port, token)
