"""Commands that begin a study or carry it on."""

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emsearch.records.under import Under

if TYPE_CHECKING:
    from emsearch.ledger.store import Ledger
    from emsearch.records.spec import StudySpec

__all__ = ["check", "init", "launch", "resume"]

StudyFile = Annotated[Path, typer.Argument(metavar="FILE", help="The study file (TOML).")]
Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The study's folder.")]
Detach = Annotated[
    bool, typer.Option("--detach", help="Leave the coordinator running, and return.")
]
UnderOption = Annotated[
    Under | None,
    typer.Option(help="Detached: as a Slurm job (default on Slurm), under nohup or tmux."),
]


_TOLD = "The study goes on: its coordinator was told."


def init(
    data: Annotated[list[Path], typer.Argument(metavar="DATA...", help="Images and labels.")],
    out: Annotated[Path, typer.Option(help="The study file to write.")] = Path("study.toml"),
    name: Annotated[str, typer.Option(help="The study's name.")] = "study",
) -> None:
    """Write a commented study file that fits the data: patch, families, splits."""
    from emsearch.errors import StateError
    from emsearch.records.files import replacing
    from emsearch.volumes.fingerprint import fingerprint

    if out.exists():
        raise StateError(f"{out} exists; give another --out, or remove it")
    text = fingerprint(data, name)
    with replacing(out) as scratch:
        scratch.write_text(text, encoding="utf-8")
    typer.echo(out)


def check(
    file: StudyFile,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check a study file and its data; say what the study will take. Writes nothing."""
    from emsearch.cli.checking import print_check
    from emsearch.records.spec import read_spec

    print_check(read_spec(file), as_json=as_json)


def launch(
    file: StudyFile,
    folder: Annotated[
        Path | None, typer.Option(help="Where the study goes; default runs/NAME.")
    ] = None,
    detach: Detach = False,
    under: UnderOption = None,
) -> None:
    """Begin a study and stay with it until it ends; with --detach, give the shell back."""
    from emsearch.coordinator.folder import create_study
    from emsearch.coordinator.forecast import forecast
    from emsearch.records.spec import read_spec
    from emsearch.volumes.check import check_dataset
    from emsearch.volumes.voxels import with_voxel_sizes

    spec = read_spec(file)
    shapes_zyx = [volume.shape_zyx for volume in check_dataset(spec)]
    spec = with_voxel_sizes(spec)
    forecast(spec, shapes_zyx)  # refuses a space in which no study can be drawn
    place = folder or Path("runs") / spec.study.name
    if _resumed_elsewhere(place):
        return
    ledger = create_study(place, spec, file)
    if warning := _warning(ledger):
        typer.echo(f"warning: {warning}", err=True)
    if detach or under:
        _detach(ledger, spec, place, under)
    else:
        _attend(ledger, spec, place)


def _warning(ledger: "Ledger") -> str:
    from emsearch.ledger.mounts import network_warning

    return network_warning(ledger.file) if ledger.url.get_backend_name() == "sqlite" else ""


def resume(
    folder: Folder,
    detach: Detach = False,
    under: UnderOption = None,
    unattended: Annotated[bool, typer.Option("--unattended", hidden=True)] = False,
) -> None:
    """Go on with a study that was left, stopped, paused, cancelled or killed."""
    from emsearch.coordinator.folder import open_study

    if not unattended and _resumed_elsewhere(folder):
        return
    ledger, spec = open_study(folder)
    if detach or under:
        _detach(ledger, spec, folder, under)
    else:
        _attend(ledger, spec, folder, unattended=unattended)


def _detach(ledger: "Ledger", spec: "StudySpec", folder: Path, under: "Under | None") -> None:
    """Hand the study to a coordinator that outlives the shell."""
    from emsearch.coordinator.detach import detach
    from emsearch.ledger.engine import forget_passwords

    if spec.cluster.executor == "slurm":
        forget_passwords(os.environ)  # its coordinator's job finds the password in ~/.pgpass
    if not _resumed_by_holder(ledger, folder):
        typer.echo(detach(ledger, spec, folder.resolve(), under))
    typer.echo(f"Look at it from any host that sees the folder: emsearch watch {folder}")


def _attend(ledger: "Ledger", spec: "StudySpec", folder: Path, *, unattended: bool = False) -> None:
    """Coordinate a study here until it ends."""
    from emsearch.cli.ending import print_ending
    from emsearch.cli.progress import Progress
    from emsearch.coordinator.executors import executor_of
    from emsearch.coordinator.serve import Manner, serve
    from emsearch.ledger.engine import forget_passwords
    from emsearch.ledger.store import LEASE_S
    from emsearch.records.trial import Stage
    from emsearch.reports.pages import write_report

    if not unattended and _resumed_by_holder(ledger, folder):
        return
    forget_passwords(os.environ)  # the ledger is open; jobs would inherit what is left
    is_local = spec.cluster.executor == "local"
    try:
        with Progress(ledger) as progress:
            manner = Manner(
                resumes=not unattended,
                takes_jobs_along=is_local and not unattended,
                remake=None if is_local else partial(executor_of, folder=folder),
                patience_s=2 * LEASE_S if unattended else 0.0,
                on_cycle=progress.show,
            )
            stage = serve(ledger, executor_of(spec, folder), folder, spec, manner)
    except KeyboardInterrupt:
        left = "Left with every checkpoint kept." if is_local else "Left; its jobs go on."
        typer.echo(f"\n{left} Go on: emsearch resume {folder}", err=True)
        raise
    page = write_report(ledger, folder)
    print_ending(ledger, folder, page)
    if stage != Stage.FINISHED:
        raise typer.Exit(1)


def _resumed_by_holder(ledger: "Ledger", folder: Path) -> bool:
    """Have the coordinator of a paused study go on, where it has one; False where it has none.

    Raises LeaseError where the study is held and not paused.
    """
    from emsearch.coordinator.holder import wake

    if not wake(ledger, folder):
        return False
    typer.echo(_TOLD)
    return True


def _resumed_elsewhere(folder: Path) -> bool:
    """Have a coordinator on another host go on, where one answers; the ledger stays untouched."""
    from emsearch.coordinator.holder import wake_elsewhere

    if not wake_elsewhere(folder, lambda whom: typer.echo(f"Asking it to go on: {whom}.")):
        return False
    typer.echo(_TOLD)
    return True
