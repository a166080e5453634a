"""The command that trains a trial again."""

from pathlib import Path
from typing import Annotated

import typer

from emsearch.cli.forms import AsJson, form_of

__all__ = ["replay"]


def replay(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The study's folder.")],
    trial: Annotated[int, typer.Option(help="Number of a completed trial.")],
    as_json: AsJson = False,
) -> None:
    """Train a completed trial again, here, and compare; exits with 1 where it differs."""
    from tempfile import TemporaryDirectory

    from emsearch.reports.listing import print_fields
    from emsearch.training.replay import replay as train_again

    with TemporaryDirectory(prefix="emsearch-replay-") as scratch:
        found = train_again(folder.resolve(), trial, Path(scratch))
    print_fields(found, form_of(as_json=as_json))
    if not found.is_equal:
        raise typer.Exit(1)
