"""Commands that use an ensemble."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["segment"]


def segment(
    ensemble: Annotated[Path, typer.Argument(help="An ensemble's folder.")],
    volume: Annotated[Path, typer.Argument(help="The image to segment.")],
    out: Annotated[Path, typer.Argument(metavar="OUT.zarr", help="Where the labels go.")],
) -> None:
    """Segment a volume of any size with an ensemble; run again, it goes on where it was killed."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from emsearch.inference.stream import segment as segment_volume

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        bar = progress.add_task("blocks", total=None)

        def advance(done: int, of: int) -> None:
            progress.update(bar, completed=done, total=of)

        segment_volume(ensemble, volume, out, advance)
    typer.echo(out)
