"""Commands that steer a study that runs, from any host that sees its folder."""

from pathlib import Path
from typing import Annotated

import typer

from emsearch.cli.forms import AsCsv, AsJson, form_of

__all__ = ["cancel", "doctor", "extend", "pause", "watch"]

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The study's folder.")]


def pause(
    folder: Folder,
    drain: Annotated[
        bool, typer.Option("--drain", help="Let running jobs come to their ends.")
    ] = False,
) -> None:
    """Have a study submit nothing more and its jobs leave their checkpoints; `resume` goes on."""
    from emsearch.coordinator.holder import ask
    from emsearch.records.command import CommandKind

    typer.echo(ask(folder, CommandKind.PAUSE, {"halt": not drain}))


def cancel(folder: Folder) -> None:
    """End a study where it is: its jobs leave their checkpoints. `resume` can take it up again."""
    from emsearch.coordinator.holder import ask
    from emsearch.records.command import CommandKind

    typer.echo(ask(folder, CommandKind.CANCEL))


def extend(
    folder: Folder,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The changed study file.")],
) -> None:
    """Change the budget, cluster or ensemble of a study that runs, or have a finished one go on.

    Its budget may change while it searches and again when it is finished.
    """
    from emsearch.coordinator.holder import extend as extended

    typer.echo(extended(folder, file))


def watch(
    folder: Folder,
    every: Annotated[float, typer.Option(min=0.5, help="Seconds between two looks.")] = 2.0,
) -> None:
    """Show how far a study is until it ends or pauses; Ctrl-C leaves the study alone."""
    from emsearch.cli.progress import follow

    if not follow(folder, every):
        raise typer.Exit(1)


def doctor(
    folder: Annotated[Path, typer.Option(help="Where studies go.")] = Path("runs"),
    profile: Annotated[
        str | None, typer.Option(help="A cluster's profile: a name in slurm/ or a path.")
    ] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Check the environment: Python, torch, GPU, disk, ledger, Slurm; say what is missing."""
    from emsearch.coordinator.doctor import Health, examine
    from emsearch.reports.listing import print_listing

    findings = examine(folder, profile)
    print_listing(findings, form_of(as_json=as_json, as_csv=as_csv))
    if any(one.health == Health.ILL for one in findings):
        raise typer.Exit(1)
