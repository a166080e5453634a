"""Commands that use an ensemble."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

import typer

from emsearch.cli.forms import three

if TYPE_CHECKING:
    from emsearch.inference.crew import Crew
    from emsearch.records.order import SegmentOrder

__all__ = ["segment"]

_LINE_EVERY_S = 20.0


def segment(
    ensemble: Annotated[Path, typer.Argument(help="An ensemble's folder.")],
    volume: Annotated[Path, typer.Argument(help="The image to segment.")],
    out: Annotated[Path, typer.Argument(metavar="OUT.zarr", help="Where the labels go.")],
    probabilities: Annotated[bool, typer.Option(help="Write them too, in 255ths.")] = False,
    flips: Annotated[bool, typer.Option(help="Average over mirror images: slower.")] = False,
    axes: Annotated[
        Literal["z", "zyx"], typer.Option(help="Axes along which 2-D networks see sections.")
    ] = "z",
    blend: Annotated[
        Literal["gaussian", "distance"],
        typer.Option(help="Weights of overlapping windows, where a network needs those."),
    ] = "gaussian",
    voxel: Annotated[
        str, typer.Option(help="Voxel size z,y,x in nm, where the file does not say.")
    ] = "",
    allow_missing: Annotated[
        bool, typer.Option(help="Take chunks that a Zarr volume lacks for empty, not for lost.")
    ] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:N or auto.")] = "auto",
    executor: Annotated[
        Literal["here", "local", "slurm"],
        typer.Option(help="In this process, over processes or GPUs of this host, or on Slurm."),
    ] = "here",
    jobs: Annotated[int, typer.Option(help="How many share the blocks.", min=1)] = 2,
    profile: Annotated[
        str, typer.Option(help="Of the Slurm cluster: a name or a file, as in a study file.")
    ] = "generic",
) -> None:
    """Segment a volume of any size with an ensemble; run again, it goes on where it was killed."""
    from emsearch.inference.output import notes_on
    from emsearch.records.order import SegmentOrder

    task = SegmentOrder(
        ensemble=str(ensemble.resolve()),
        volume=str(volume.resolve()),
        out=str(out.resolve()),
        device=device,
        probabilities=probabilities,
        flips=flips,
        axes=axes,
        blend=blend,
        voxel_nm=three(voxel, float, "--voxel") if voxel else None,
        allow_missing=allow_missing,
    )
    for note in notes_on(task):
        typer.echo(f"emsearch: {note}", err=True)
    if executor == "here":
        _here(task)
    else:
        _shared(task, executor, jobs, profile)
    typer.echo(out)


def _here(task: "SegmentOrder") -> None:
    from emsearch.inference.stream import segment as segment_volume

    with Blocks() as blocks:
        segment_volume(task, blocks.tell, blocks.say)


def _shared(task: "SegmentOrder", executor: str, jobs: int, profile: str) -> None:
    from emsearch.inference.sharing import share

    crew = _on_slurm(task, jobs, profile) if executor == "slurm" else _on_this_host(task, jobs)
    with Blocks() as blocks, _ending_in_order():
        share(task, crew, blocks.tell, blocks.say)


def _on_slurm(task: "SegmentOrder", jobs: int, profile: str) -> "Crew":
    from emsearch.execution.slurm import SlurmExecutor
    from emsearch.inference.crew import SLURM, Crew, work_folder
    from emsearch.records.profile import profile_path, read_profile

    how = read_profile(profile)
    return Crew(
        executor=SlurmExecutor(work_folder(Path(task.out)) / "jobs", how),
        name=SLURM,
        devices=[task.device] * jobs,
        threads=int(how.sbatch.get("cpus-per-task", 1)),
        profile=str(profile_path(profile)),
    )


def _on_this_host(task: "SegmentOrder", jobs: int) -> "Crew":
    from emsearch.execution.gpus import gpus_here
    from emsearch.execution.local import LocalExecutor
    from emsearch.inference.crew import Crew, work_folder

    devices = _spread(task.device, jobs, len(gpus_here(os.environ)))
    threads = max(len(os.sched_getaffinity(0)) // jobs, 1)
    executor = LocalExecutor(work_folder(Path(task.out)) / "jobs", threads)
    return Crew(executor=executor, name="local", devices=devices, threads=threads)


def _spread(device: str, jobs: int, gpus: int) -> list[str]:
    """Return a device for each job: the GPUs in turn, by their place among those to be used."""
    if device not in {"auto", "cuda"} or not gpus:
        return [device] * jobs
    return [f"cuda:{turn % gpus}" for turn in range(jobs)]


@contextmanager
def _ending_in_order() -> Iterator[None]:
    """Within it a SIGTERM or a closed terminal is as Ctrl-C: what was begun is called off."""

    def leave(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Blocks:
    """Shows blocks done and the time that is left: a bar in a terminal, now and then a line else.

    The time is reckoned from the blocks of this run alone: those that were there took none of it.
    """

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self._console = Console(stderr=True)
        columns = (
            TextColumn("blocks"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
        )
        self._bar = Progress(*columns, console=self._console, transient=True)
        self._task = self._bar.add_task("", total=None)
        self._began_s = time.monotonic()
        self._said_s = self._began_s
        self._there: int | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, *_error: object) -> None:
        if self._console.is_terminal:
            self._bar.stop()

    def tell(self, done: int, of: int) -> None:
        """Show that so many blocks are done."""
        left = self._left(done, of)
        if self._console.is_terminal:
            self._bar.update(self._task, completed=done, total=of, description=left)
            return
        now = time.monotonic()
        if now - self._said_s > _LINE_EVERY_S:
            self._said_s = now
            self._console.print(f"{done} of {of} blocks, {left}", highlight=False)

    def say(self, words: str) -> None:
        """Print a line above the bar."""
        self._console.print(f"emsearch: {words}", highlight=False, markup=False, soft_wrap=True)

    def _left(self, done: int, of: int) -> str:
        from emsearch.cli.progress import clock

        if self._there is None:
            self._there, self._began_s = done, time.monotonic()
        made = done - self._there
        if not made:
            return "reckoning" if done < of else ""
        return f"{clock((time.monotonic() - self._began_s) / made * (of - done))} left"
