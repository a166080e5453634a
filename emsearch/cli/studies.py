"""Commands that begin a study or carry it on."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from emsearch.ledger.store import Ledger
    from emsearch.records.spec import StudySpec

__all__ = ["check", "init", "launch", "resume"]

StudyFile = Annotated[Path, typer.Argument(metavar="FILE", help="The study file (TOML).")]
Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The study's folder.")]


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
) -> None:
    """Begin a study and stay with it until it ends; `resume` goes on where it was left."""
    from emsearch.coordinator.folder import create_study
    from emsearch.coordinator.forecast import forecast
    from emsearch.records.spec import read_spec
    from emsearch.volumes.check import check_dataset

    spec = read_spec(file)
    shapes_zyx = [volume.shape_zyx for volume in check_dataset(spec)]
    forecast(spec, shapes_zyx)  # refuses a space in which no study can be drawn
    place = folder or Path("runs") / spec.study.name
    _run(create_study(place, spec, file), spec, place)


def resume(folder: Folder) -> None:
    """Go on with a study that was left, stopped or killed."""
    from emsearch.coordinator.folder import open_study

    ledger, spec = open_study(folder)
    _run(ledger, spec, folder)


def _run(ledger: "Ledger", spec: "StudySpec", folder: Path) -> None:
    from emsearch.cli.ending import print_ending
    from emsearch.cli.progress import Progress
    from emsearch.coordinator.serve import serve
    from emsearch.execution.local import LocalExecutor
    from emsearch.records.trial import Stage
    from emsearch.reports.pages import write_report

    executor = LocalExecutor(folder / "jobs", spec.cluster.threads)
    try:
        with Progress(ledger) as progress:
            stage = serve(ledger, executor, folder, spec, progress.show)
    except KeyboardInterrupt:
        typer.echo(f"\nLeft with every checkpoint kept. Go on: emsearch resume {folder}", err=True)
        raise
    page = write_report(ledger, folder)
    print_ending(ledger, folder, page)
    if stage != Stage.FINISHED:
        raise typer.Exit(1)
