"""Commands that look at volumes and make them."""

from pathlib import Path
from typing import Annotated

import typer

from emsearch.cli.forms import AsJson, three

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)


@app.command()
def info(
    volume: Annotated[Path, typer.Argument(help="An image or labels, in any known format.")],
    as_json: AsJson = False,
) -> None:
    """Print a volume's shape, type, voxel size and range of values."""
    from math import prod

    from emsearch.reports.listing import Form, print_fields
    from emsearch.volumes.formats import open_array

    stack = open_array(volume)
    sections = (stack.read(z, z + 1) for z in range(stack.shape_zyx[0]))
    ranges = [(section.min().item(), section.max().item()) for section in sections]
    record = {
        "volume": str(volume),
        "shape_zyx": list(stack.shape_zyx),
        "dtype": str(stack.dtype),
        "voxel_nm": stack.voxel_nm and list(stack.voxel_nm),
        "megavoxels": round(prod(stack.shape_zyx) / 1e6, 3),
        "lowest": min(low for low, _ in ranges),
        "highest": max(high for _, high in ranges),
    }
    print_fields(record, Form.JSON if as_json else Form.TABLE)


@app.command("import")
def import_files(
    image: Annotated[Path, typer.Argument(help="The image.")],
    labels: Annotated[Path, typer.Argument(help="Its labels: class numbers.")],
    out: Annotated[Path, typer.Argument(metavar="OUT.zarr", help="Where it goes.")],
    classes: Annotated[str, typer.Option(help="Names of the label values 0, 1, ..., by comma.")],
    voxel: Annotated[str, typer.Option(help="Voxel size z,y,x in nm.")],
) -> None:
    """Write an image and its labels as one OME-Zarr volume."""
    from emsearch.records.order import ImportOrder
    from emsearch.volumes.importing import import_volume

    task = ImportOrder(
        name=out.stem,
        image=str(image.resolve()),
        labels=str(labels.resolve()),
        classes=tuple(classes.split(",")),
        voxel_nm=three(voxel, float, "--voxel"),
    )
    import_volume(task, out.resolve().parent, out.resolve())
    typer.echo(out)


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="Name of public data, such as platelets.")],
    folder: Annotated[Path, typer.Argument(help="Where it goes.")],
) -> None:
    """Download public labelled data and check it against its checksum."""
    from emsearch.volumes.catalogue import fetch as fetch_data

    for path in fetch_data(name, folder):
        typer.echo(path)


@app.command()
def phantom(
    folder: Annotated[Path, typer.Argument(help="Folder for image.tif and labels.tif.")],
    shape: Annotated[str, typer.Option(help="Size z,y,x in voxels.")] = "24,256,256",
    seed: Annotated[int, typer.Option(help="The same seed gives the same volume.")] = 0,
) -> None:
    """Make a labelled EM phantom: cells, membranes, mitochondria, granules."""
    import tifffile

    from emsearch.records.files import replacing
    from emsearch.volumes.phantom import phantom as make_phantom

    arrays = make_phantom(three(shape, int, "--shape"), seed)
    folder.mkdir(parents=True, exist_ok=True)
    for name, array_ZYX in zip(("image.tif", "labels.tif"), arrays, strict=True):
        with replacing(folder / name) as scratch:
            tifffile.imwrite(scratch, array_ZYX, compression="deflate", photometric="minisblack")
        typer.echo(folder / name)
