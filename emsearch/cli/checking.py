"""What `check` prints: the data, the forecast."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from emsearch.cli.progress import clock
from emsearch.coordinator.forecast import Forecast, forecast
from emsearch.records.score import Split
from emsearch.records.sections import SearchSection
from emsearch.records.spec import StudySpec
from emsearch.volumes.check import VolumeReport, check_dataset
from emsearch.volumes.forecast import forecast_sampling
from emsearch.volumes.realised import Drawn
from emsearch.volumes.voxels import with_voxel_sizes

__all__ = ["print_check", "too_rare"]

_CPU_GFLOPS = 1_000.0  # more than any core reaches
_SELDOM = 0.5  # part of the batches


def print_check(spec: StudySpec, *, as_json: bool) -> None:
    """Check a study's data and print what the study will take. Raises SpecError with all faults."""
    volumes = check_dataset(spec)
    spec = with_voxel_sizes(spec)
    taken = forecast(spec, [volume.shape_zyx for volume in volumes])
    drawn = forecast_sampling(spec)
    if as_json:
        content = {
            "volumes": [asdict(volume) for volume in volumes],
            "sampling": asdict(drawn),
            "forecast": _plain(taken),
        }
        print(json.dumps(content, indent=1))  # noqa: T201 - the command's output
        return
    console = Console()
    console.print(_volumes(volumes))
    console.print(_splits(volumes))
    console.print(_classes(volumes, drawn, spec.dataset.classes))
    for line in too_rare(spec.dataset.classes, drawn):
        console.print(f"[yellow]sampling:[/yellow] {line}", soft_wrap=True)
    for volume in volumes:
        for warning in volume.warnings:
            console.print(f"[yellow]{volume.name}:[/yellow] {warning}", soft_wrap=True)
    console.print(_forecast(spec, taken))
    if spec.training.device != "cpu" and spec.space.gflops > _CPU_GFLOPS and not _has_gpu():
        console.print(
            "[yellow]This host shows no GPU.[/yellow] If the study is to run on CPUs, set "
            "space.gflops and space.gbytes_s to theirs, or the forecast is far too short.",
            soft_wrap=True,
        )
    console.print(f"[green]{spec.study.name} is ready to launch[/green]")


def _has_gpu() -> bool:
    return any(Path("/dev").glob("nvidia[0-9]*"))


def _plain(taken: Forecast) -> dict[str, Any]:
    return asdict(taken) | {"total_s": taken.total_s}


def _volumes(volumes: Sequence[VolumeReport]) -> Table:
    table = Table(title="Volumes", title_justify="left", box=None, pad_edge=False)
    for name in ("volume", "z×y×x", "nm", "type", "range"):
        table.add_column(name, no_wrap=True)
    for volume in volumes:
        shape = "×".join(str(length) for length in volume.shape_zyx)
        voxel = "×".join(f"{size:g}" for size in volume.voxel_nm)
        grey = f"{volume.low:g} to {volume.high:g}"
        table.add_row(volume.name, shape, voxel, volume.dtype, grey)
    return table


def _splits(volumes: Sequence[VolumeReport]) -> Table:
    """Return how many slices and annotated voxels each split has, over all volumes."""
    table = Table(title="\nSplits", title_justify="left", box=None, pad_edge=False)
    table.add_column("split")
    for name in ("volumes", "slices", "annotated voxels"):
        table.add_column(name, justify="right", no_wrap=True)
    for split in Split:
        parts = [volume for volume in volumes if split in volume.counts_K]
        slices = sum(volume.slices[split] for volume in parts)
        voxels = sum(sum(volume.counts_K[split]) for volume in parts)
        table.add_row(split, str(len(parts)), f"{slices:,}", f"{voxels:,}")
    return table


def too_rare(classes: Sequence[str], drawn: Drawn) -> Iterator[str]:
    """Yield a line for each class that fewer than half of the batches will show."""
    for name, seen in zip(classes, drawn.seen_K, strict=True):
        if seen < _SELDOM:
            yield (
                f"{name} will be in {seen:.0%} of the batches only, too few to learn it from; give "
                "a larger training.batch_size or patch_zyx, or leave the class out"
            )


def _classes(volumes: Sequence[VolumeReport], drawn: Drawn, classes: tuple[str, ...]) -> Table:
    """Return how much each class takes of every split, and of what training will be shown."""
    title = "\nClasses, by split, and as training will be shown them"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("class")
    columns = {
        f"{volume.name} {split}" if len(volumes) > 1 else str(split): volume.fractions_K(split)
        for volume in volumes
        for split in volume.counts_K
    }
    for name in (*columns, "sampled", "in batches"):
        table.add_column(name, justify="right", no_wrap=True)
    for number, name in enumerate(classes):
        shares = [f"{fractions_K[number]:.2%}" for fractions_K in columns.values()]
        sampled = (f"{drawn.fractions_K[number]:.2%}", f"{drawn.seen_K[number]:.0%}")
        table.add_row(name, *shares, *sampled)
    return table


def _searched(search: SearchSection) -> str:
    if search.policy == "halving":
        return f"{search.candidates} random trees × {search.repeats} seeds"
    return f"{search.trainings} trainings as the policy {search.policy} chooses"


def _forecast(spec: StudySpec, taken: Forecast) -> Table:
    table = Table(title="\nForecast", title_justify="left", box=None, show_header=False)
    table.add_column(style="dim")
    table.add_column()
    least, median, most = taken.parameters
    fast, middle, slow = taken.step_s
    search, tune = spec.search, spec.tune
    rows = {
        "trials": f"{taken.trials}: {_searched(search)}, "
        f"the baseline, {tune.survivors} × {tune.trials} recipes",
        "parameters": f"{least:,} to {most:,}, median {median:,}",
        "seconds a step": f"{fast:.3g} to {slow:.3g}, median {middle:.3g}",
        "reckoned for": f"{spec.space.gflops:g} GFLOP/s and {spec.space.gbytes_s:g} GB/s a job "
        "(space.gflops, space.gbytes_s; one core of a server: 200 and 3.2)",
        "redrawn": f"{taken.redrawn} trees that did not fit the limits",
        "baseline": clock(taken.baseline_s / taken.workers),
        "search": clock(taken.search_s / taken.workers),
        "tuning": clock(taken.tune_s / taken.workers),
        "ensemble": clock(taken.ensemble_s),
        "time": f"{clock(taken.total_s)} with {taken.workers} jobs at a time",
        "disk": f"{taken.disk_gb:.2f} GB at most",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table
