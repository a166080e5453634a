"""Commands that ask a study for something."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emsearch.cli.forms import AsCsv, AsJson, AsMarkdown, form_of

if TYPE_CHECKING:
    from emsearch.ledger.leaders import Wanted
    from emsearch.reports.study import Study

__all__ = ["export", "leaderboard", "query", "report", "show", "status", "web"]

Place = Annotated[
    str, typer.Argument(metavar="FOLDER", help="The study's folder, or a database's URL.")
]
Name = Annotated[str | None, typer.Option("--study", help="Which study of the database.")]


def status(
    folder: Place, study: Name = None, as_json: AsJson = False, as_csv: AsCsv = False
) -> None:
    """Say where a study stands: its stage, its trials and attempts by state and cause."""
    from emsearch.reports.listing import print_fields

    with _opened(folder, study) as one:
        print_fields(one.status(), form_of(as_json=as_json, as_csv=as_csv))


def leaderboard(
    folder: Place,
    study: Name = None,
    top: Annotated[int | None, typer.Option(min=1, help="Only the first so many.")] = None,
    by: Annotated[
        str | None,
        typer.Option(help="Rank by this class's IoU, mean_iou_foreground or accuracy."),
    ] = None,
    sort: Annotated[
        str, typer.Option(help="rank, candidate, parameters, memory, failed or date.")
    ] = "rank",
    family: Annotated[list[str] | None, typer.Option(help="Only this family.")] = None,
    origin: Annotated[
        list[str] | None, typer.Option(help="Only baseline, random or tuned ones.")
    ] = None,
    rung: Annotated[int | None, typer.Option(help="Only those scored last at this step.")] = None,
    min_parameters: Annotated[int | None, typer.Option(help="Only networks as large.")] = None,
    max_parameters: Annotated[int | None, typer.Option(help="Only networks as small.")] = None,
    max_memory: Annotated[
        float | None, typer.Option(help="Only what needs no more GB in a training step.")
    ] = None,
    failed: Annotated[
        bool | None, typer.Option("--failed/--not-failed", help="Only those with failed trials.")
    ] = None,
    since: Annotated[
        datetime | None, typer.Option(help="Only with a result since then (UTC).")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(help="Only with no result after then (UTC).")
    ] = None,
    columns: Annotated[
        str | None, typer.Option(help="Columns to print, such as rank,candidate,score.")
    ] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    as_markdown: AsMarkdown = False,
) -> None:
    """List the candidates, best first, with the intervals that their scores lie in.

    A database's URL lists those of all its studies together, by score.
    """
    from emsearch.ledger.leaders import Wanted
    from emsearch.reports.leaderboard import chosen_columns
    from emsearch.reports.listing import Form, print_listing

    wanted = Wanted(
        families=family or (),
        origins=origin or (),
        step=rung,
        least_parameters=min_parameters,
        most_parameters=max_parameters,
        most_memory_gb=max_memory,
        failed=failed,
        since_s=_seconds(since),
        until_s=_seconds(until),
    )
    form = form_of(as_json=as_json, as_csv=as_csv, as_markdown=as_markdown)
    plain = form in {Form.TABLE, Form.MARKDOWN}
    entries, several = _entries(folder, study, top, wanted, by, sort)
    shown = chosen_columns(columns, short=plain, several=several)
    print_listing(entries, form, columns=shown, empty="no such candidate yet")


def _entries(
    folder: str, name: str | None, top: int | None, wanted: "Wanted", by: str | None, sort: str
) -> tuple[list[object], bool]:
    """Return the entries of the study that is named, or of all; and whether these are several."""
    from emsearch.errors import SpecError
    from emsearch.ledger.leaders import Sorting
    from emsearch.reports.leaderboard import merged

    if sort not in list(Sorting):
        raise SpecError(f"--sort {sort!r}: one of {', '.join(Sorting)}")
    studies = _all_opened(folder, name)
    boards = [
        study.leaderboard(top, wanted=wanted, by=by, sorting=Sorting(sort)) for study in studies
    ]
    for study in studies:
        study.close()
    return list(merged(boards, Sorting(sort))[:top]), len(boards) > 1


def show(
    folder: Place,
    study: Name = None,
    candidate: Annotated[int | None, typer.Option(help="Number of a candidate.")] = None,
    trial: Annotated[int | None, typer.Option(help="Number of a trial.")] = None,
    attempt: Annotated[str | None, typer.Option(help="Name of an attempt.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show all that is known of a candidate, of a trial, or of an attempt with its log's end."""
    from dataclasses import asdict

    from emsearch.errors import SpecError
    from emsearch.reports.listing import print_fields
    from emsearch.reports.provenance import made_with

    if [candidate, trial, attempt].count(None) != 2:
        raise SpecError("name one of the three: --candidate N, --trial N or --attempt NAME")
    hidden = () if as_json else ["structure"]
    with _opened(folder, study) as one:
        if attempt is not None:
            print_fields(one.attempt(attempt), form_of(as_json=as_json))
        elif trial is not None:
            card = asdict(one.trial(trial)) | {"made_with": made_with(one.folder, trial)}
            print_fields(card, form_of(as_json=as_json))
        else:
            print_fields(one.candidate(candidate or 0), form_of(as_json=as_json), hidden=hidden)


def query(
    folder: Place,
    statement: Annotated[str, typer.Argument(help="A SELECT on the ledger's tables.")],
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    as_markdown: AsMarkdown = False,
) -> None:
    """Ask the ledger in SQL. It is opened for reading alone."""
    from emsearch.ledger.place import open_reading
    from emsearch.reports.listing import print_listing
    from emsearch.reports.query import query as ask
    from emsearch.reports.study import place_of

    ledger = open_reading(place_of(_unrevealing(folder)))
    _tell(ledger.note())
    rows = ask(ledger, statement)
    print_listing(rows, form_of(as_json=as_json, as_csv=as_csv, as_markdown=as_markdown))


def export(
    folder: Place,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write the tables to.")],
    study: Name = None,
    file_format: Annotated[str, typer.Option("--format", help="parquet or csv.")] = "parquet",
) -> None:
    """Write a study's tables as Parquet or CSV files, one a table."""
    from emsearch.errors import SpecError

    if file_format not in {"parquet", "csv"}:
        raise SpecError(f"--format {file_format!r}: parquet or csv")
    with _opened(folder, study) as one:
        for path in one.export(out, file_format):
            typer.echo(path)


def report(folder: Place, study: Name = None) -> None:
    """Write the study's report: one HTML file that needs nothing else."""
    with _opened(folder, study) as one:
        typer.echo(one.report())


def web(
    folder: Place,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on this host.")] = 8017,
) -> None:
    """Serve the study's pages, or those of all studies of a database, live and read-only."""
    from emsearch.ledger.place import open_reading
    from emsearch.reports.study import place_of
    from emsearch.reports.web import address, new_token, serve, tunnel

    where = place_of(_unrevealing(folder))
    ledger, token = open_reading(where), new_token()
    _tell(ledger.note())
    typer.echo(f"{address(port, token)}\nFrom another computer, first: {tunnel(port)}")
    serve(ledger, where if isinstance(where, Path) else None, port, token)


def _opened(place: str, name: str | None) -> "Study":
    from emsearch.reports.study import open_study

    study = open_study(_unrevealing(place), name)
    _tell(study.note())
    return study


def _all_opened(place: str, name: str | None) -> list["Study"]:
    from emsearch.reports.study import open_studies

    if name is not None:
        return [_opened(place, name)]
    studies = open_studies(_unrevealing(place))
    _tell(next((study.note() for study in studies), ""))
    return studies


def _unrevealing(place: str) -> str:
    """Return what was named, unless it shows a password to all who list this host's processes."""
    from emsearch.errors import SpecError
    from emsearch.ledger.engine import parse_url, without_password

    if "://" in place and without_password(url := parse_url(place)) != url:
        raise SpecError(
            "a command's words are seen by every user of this host: put the password into "
            "~/.pgpass, or the whole URL into EMSEARCH_DATABASE, and name the database without it"
        )
    return place


def _tell(note: str) -> None:
    """Say on the error stream what a reader should know, so that a pipe stays clean."""
    if note:
        typer.echo(note, err=True)


def _seconds(at: datetime | None) -> float | None:
    return None if at is None else at.replace(tzinfo=UTC).timestamp()
