"""What `check` prints: the data, the forecast."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from emsearch.cli.progress import clock
from emsearch.coordinator.forecast import Forecast, forecast
from emsearch.records.spec import StudySpec
from emsearch.volumes.check import VolumeReport, check_dataset
from emsearch.volumes.forecast import forecast_sampling
from emsearch.volumes.plan import Drawn

__all__ = ["print_check"]


def print_check(spec: StudySpec, *, as_json: bool) -> None:
    """Check a study's data and print what the study will take. Raises SpecError with all faults."""
    volumes = check_dataset(spec)
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
    console.print(_volumes(volumes, drawn, spec.dataset.classes))
    for volume in volumes:
        for warning in volume.warnings:
            console.print(f"[yellow]{volume.name}:[/yellow] {warning}", soft_wrap=True)
    console.print(_forecast(spec, taken))
    console.print(f"[green]{spec.study.name} is ready to launch[/green]")


def _plain(taken: Forecast) -> dict[str, Any]:
    return asdict(taken) | {"total_s": taken.total_s}


def _volumes(volumes: Sequence[VolumeReport], drawn: Drawn, classes: tuple[str, ...]) -> Table:
    table = Table(title="Volumes", title_justify="left", box=None, pad_edge=False)
    table.add_column("volume")
    table.add_column("z×y×x", justify="right")
    table.add_column("nm", justify="right")
    table.add_column("split")
    for name in classes:
        table.add_column(name, justify="right")
    for volume in volumes:
        shape = "×".join(str(length) for length in volume.shape_zyx)
        voxel = "×".join(f"{size:g}" for size in volume.voxel_nm)
        for split in volume.counts_K:
            shares = [f"{fraction:.2%}" for fraction in volume.fractions_K(split)]
            table.add_row(volume.name, shape, voxel, split, *shares)
    sampled = [f"{fraction:.2%}" for fraction in drawn.fractions_K]
    table.add_row("", "", "", "as sampled", *sampled)
    table.add_row("", "", "", "in batches", *(f"{seen:.0%}" for seen in drawn.seen_K))
    return table


def _forecast(spec: StudySpec, taken: Forecast) -> Table:
    table = Table(title="\nForecast", title_justify="left", box=None, show_header=False)
    table.add_column(style="dim")
    table.add_column()
    least, median, most = taken.parameters
    fast, middle, slow = taken.step_s
    search, tune = spec.search, spec.tune
    rows = {
        "trials": f"{taken.trials}: {search.candidates} random trees × {search.repeats} seeds, "
        f"the baseline, {tune.survivors} survivors × {tune.trials} recipes",
        "parameters": f"{least:,} to {most:,}, median {median:,}",
        "seconds a step": f"{fast:.3f} to {slow:.3f}, median {middle:.3f}",
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
