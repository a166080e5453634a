"""Commands that look after a study's ledger."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The study's folder.")]


@app.command()
def backup(
    folder: Folder,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The SQLite file to write.")],
) -> None:
    """Write a copy of the ledger as it is at this moment, whether or not the study runs."""
    from emsearch.ledger.backup import back_up
    from emsearch.ledger.place import open_reading

    back_up(open_reading(folder), file)
    typer.echo(file)


@app.command()
def check(folder: Folder) -> None:
    """Verify that the ledger is sound; say what is wrong and what to do."""
    from sqlalchemy.exc import DatabaseError

    from emsearch.ledger.backup import faults
    from emsearch.ledger.engine import address_of
    from emsearch.ledger.mounts import network_warning
    from emsearch.ledger.place import SNAPSHOT, open_reading, url_of

    url, _ = url_of(folder)
    if url.get_backend_name() == "sqlite" and (
        warning := network_warning(Path(url.database or ""))
    ):
        typer.echo(f"warning: {warning}", err=True)
    try:
        found = faults(open_reading(folder))
    except DatabaseError as error:
        found = [f"it cannot be opened: {error.orig}"]
    for fault in found:
        typer.echo(fault)
    if found:
        typer.echo(
            f"Stop the coordinator, move the ledger away, then: emsearch ledger rebuild {folder} "
            f"(a copy of it is {folder / SNAPSHOT})"
        )
        raise typer.Exit(1)
    typer.echo(f"{address_of(url)} is sound")


@app.command()
def rebuild(folder: Folder) -> None:
    """Restore a ledger that is gone from what lies in the study's folder."""
    from emsearch.coordinator.rebuild import rebuild as restore

    restore(folder)
    typer.echo(f"The ledger of {folder} is there again. Go on: emsearch resume {folder}")
