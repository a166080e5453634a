"""Commands that look at volumes and make them."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)


@app.command()
def phantom(
    folder: Annotated[Path, typer.Argument(help="Folder for image.tif and labels.tif.")],
    shape: Annotated[str, typer.Option(help="Size z,y,x in voxels.")] = "24,256,256",
    seed: Annotated[int, typer.Option(help="The same seed gives the same volume.")] = 0,
) -> None:
    """Make a labelled EM phantom: cells, membranes, mitochondria, granules."""
    from emsearch.cli.forms import three
    from emsearch.volumes.phantom import write_phantom

    for path in write_phantom(folder, three(shape, int, "--shape"), seed):
        typer.echo(path)
