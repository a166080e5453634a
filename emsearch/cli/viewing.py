"""Commands that look at a segmentation: objects, amounts, pictures."""

from pathlib import Path
from typing import Annotated

import typer

from emsearch.cli.forms import AsCsv, AsJson, form_of

__all__ = ["instances", "measure", "view"]

Labels = Annotated[
    Path, typer.Argument(metavar="LABELS.zarr", help="A segmentation that segment wrote.")
]


def instances(
    labels: Labels,
    out: Annotated[Path, typer.Argument(metavar="OUT.zarr", help="Where the objects go.")],
    classes: Annotated[
        list[str], typer.Option("--class", help="Whose objects; may be said repeatedly.")
    ],
    min_voxels: Annotated[int, typer.Option(help="Leave smaller ones out.", min=1)] = 1,
    max_voxels: Annotated[int | None, typer.Option(help="Leave larger ones out.")] = None,
    watershed: Annotated[bool, typer.Option(help="Cut objects that touch at their necks.")] = False,
    apart_nm: Annotated[
        float, typer.Option(help="Watershed: middles nearer to each other are one.")
    ] = 100.0,
    halo: Annotated[
        int, typer.Option(help="Watershed: context in voxels; more than an object's radius.")
    ] = 48,
) -> None:
    """Find the objects of classes: voxels that touch, or a watershed; block by block."""
    from emsearch.cli.segmenting import Blocks
    from emsearch.inference.instances import Wish, find_instances

    wish = Wish(
        classes=tuple(classes),
        min_voxels=min_voxels,
        max_voxels=max_voxels,
        is_watershed=watershed,
        apart_nm=apart_nm,
        halo_vx=halo,
    )
    with Blocks() as blocks:
        counts = find_instances(labels, out, wish, blocks.tell)
    for name, count in counts.items():
        typer.echo(f"{name}: {count} objects")
    typer.echo(out)


def measure(
    labels: Labels,
    objects: Annotated[
        Path | None, typer.Option("--instances", help="What instances wrote of them.")
    ] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Say what part of a volume each class takes, and in how many objects."""
    from emsearch.inference.labelled import measure as measure_labels
    from emsearch.reports.listing import print_listing

    print_listing(measure_labels(labels, objects), form_of(as_json=as_json, as_csv=as_csv))


def view(
    labels: Labels,
    image: Annotated[Path | None, typer.Argument(help="The image that was segmented.")] = None,
    neuroglancer: Annotated[
        Path | None, typer.Option(metavar="STATE.json", help="Write a state for neuroglancer.")
    ] = None,
    url: Annotated[
        str, typer.Option(help="Where the folder that LABELS.zarr lies in is served.")
    ] = "http://localhost:8000",
    png: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write overlays of sections as PNG.")
    ] = None,
    sections: Annotated[int, typer.Option(help="How many overlays.", min=1)] = 3,
) -> None:
    """Look at a segmentation: in napari, in neuroglancer, or as pictures."""
    from emsearch.inference.labelled import open_labels

    found = open_labels(labels)
    if neuroglancer is not None:
        from emsearch.ensembles.neuroglancer import how_to_serve, neuroglancer_state, why_not
        from emsearch.records.files import write_json

        write_json(neuroglancer, neuroglancer_state(found, image, url), indent=1)
        if image is not None and (why := why_not(found, image)):
            typer.echo(f"emsearch: {why}", err=True)
        typer.echo(f"{neuroglancer}\n{how_to_serve(found, url)}")
    if png is not None:
        from emsearch.ensembles.overlay import write_sections

        for path in write_sections(found, image, png, sections):
            typer.echo(path)
    if neuroglancer is None and png is None:
        _napari(labels, image)


def _napari(labels: Path, image: Path | None) -> None:
    """Open napari. Raises SpecError that says how to get it."""
    from importlib.util import find_spec

    from emsearch.errors import SpecError

    if find_spec("napari") is None:
        raise SpecError(
            "napari is not installed; run: pip install 'emsearch[view]', or say --png FOLDER for "
            "pictures, or --neuroglancer STATE.json for a browser"
        )
    from emsearch.cli.napari_viewer import show

    show(labels, image)
