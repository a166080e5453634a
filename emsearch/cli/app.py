"""All commands, by name."""

from typing import Annotated

import typer

from emsearch.cli.asking import export, leaderboard, query, report, show, status, web
from emsearch.cli.ensembles import app as ensembles
from emsearch.cli.ledgers import app as ledgers
from emsearch.cli.replaying import replay
from emsearch.cli.segmenting import segment
from emsearch.cli.steering import cancel, doctor, extend, pause, watch
from emsearch.cli.studies import check, init, launch, resume
from emsearch.cli.trees import app as trees
from emsearch.cli.viewing import instances, measure, view
from emsearch.cli.volumes import app as volumes

__all__ = ["app"]

app = typer.Typer(
    name="emsearch",
    help="Find, train and ensemble segmentation networks for electron-microscopy volumes.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        from emsearch.records.version import code_version

        typer.echo(f"emsearch {code_version()}")
        raise typer.Exit


@app.callback()
def _common(
    _show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print and exit.")
    ] = False,
) -> None:
    """Find, train and ensemble segmentation networks for electron-microscopy volumes."""


COMMANDS = (
    *(doctor, init, check, launch, resume, watch, pause, cancel, extend),
    *(status, leaderboard, show, query, export, report, web),
    *(segment, instances, measure, view, replay),
)
for command in COMMANDS:
    app.command()(command)
app.add_typer(ensembles, name="ensemble", help="Look at ensembles and export them.")
app.add_typer(ledgers, name="ledger", help="Look after a ledger: backup, check, rebuild.")
app.add_typer(trees, name="tree", help="Look at module trees: sample, draw, describe.")
app.add_typer(
    volumes, name="volumes", help="Look at volumes and get them: info, import, fetch, phantom."
)
