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
    labels: Annotated[Path | None, typer.Argument(help="The image's labels.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print a volume's shape, voxel size and range, its labels' fractions and shift."""
    from dataclasses import asdict

    from emsearch.reports.listing import Form, print_fields
    from emsearch.volumes.describe import volume_facts
    from emsearch.volumes.formats import open_array

    facts = volume_facts(open_array(volume), None if labels is None else open_array(labels))
    print_fields({"volume": str(volume)} | asdict(facts), Form.JSON if as_json else Form.TABLE)


@app.command("import")
def import_files(
    image: Annotated[Path, typer.Argument(help="The image.")],
    labels: Annotated[Path, typer.Argument(help="Its labels: class numbers.")],
    out: Annotated[Path, typer.Argument(metavar="OUT.zarr", help="Where it goes.")],
    classes: Annotated[str, typer.Option(help="Names of the label values 0, 1, ..., by comma.")],
    voxel: Annotated[
        str | None, typer.Option(help="Voxel size z,y,x in nm; default: what the image says.")
    ] = None,
) -> None:
    """Write an image and its labels as one OME-Zarr volume."""
    from emsearch.errors import SpecError
    from emsearch.records.order import ImportOrder
    from emsearch.volumes.formats import open_array
    from emsearch.volumes.importing import import_volume

    voxel_nm = open_array(image).voxel_nm if voxel is None else three(voxel, float, "--voxel")
    if voxel_nm is None:
        raise SpecError(f"{image} does not say its voxel size; give --voxel z,y,x in nm")

    task = ImportOrder(
        name=out.stem,
        image=str(image.resolve()),
        labels=str(labels.resolve()),
        classes=tuple(classes.split(",")),
        voxel_nm=voxel_nm,
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
