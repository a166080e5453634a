"""Commands that look at module trees."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emsearch.cli.forms import AsCsv, AsJson, form_of, three

if TYPE_CHECKING:
    from emsearch.trees.arithmetic import Limits, Target
    from emsearch.trees.node import Tree

__all__ = ["app"]

_MOST = 40_000_000  # parameters

app = typer.Typer(no_args_is_help=True)

Classes = Annotated[int, typer.Option(min=2, help="Classes that the network tells apart.")]
Patch = Annotated[str, typer.Option(help="Training patch, z,y,x in voxels.")]
Voxel = Annotated[str, typer.Option(help="Voxel size, z,y,x in nm.")]
Batch = Annotated[int, typer.Option(min=1, help="Patches in a training step.")]
MaxParameters = Annotated[int, typer.Option(min=1, help="Most parameters.")]
Name = Annotated[
    str, typer.Argument(metavar="TREE", help="A JSON file, a preset, or FAMILY/SEED/NUMBER.")
]


@app.command()
def sample(
    family: Annotated[str, typer.Option(help="Family to draw from.")] = "encoder_decoder_2d",
    count: Annotated[int, typer.Option(min=1, help="How many trees.")] = 5,
    seed: Annotated[int, typer.Option(help="Seed of the study.")] = 0,
    draw: Annotated[Path | None, typer.Option(help="Folder for a picture of each.")] = None,
    classes: Classes = 7,
    patch: Patch = "1,256,256",
    voxel: Voxel = "40,10,10",
    max_parameters: MaxParameters = 40_000_000,
    as_json: AsJson = False,
) -> None:
    """Draw random module trees and print them."""
    from itertools import islice

    from emsearch.trees.draw import to_text
    from emsearch.trees.sample import draw_distinct
    from emsearch.trees.space import make_space

    target = _target(classes, patch, voxel, 1)
    limits = _limits(max_parameters)
    space = make_space([family], {})
    trees = [one.tree for one in islice(draw_distinct(space, seed, target, limits), count)]
    if as_json:
        typer.echo(json.dumps([_listed(tree, target) for tree in trees], indent=1))
    else:
        typer.echo("\n\n".join(to_text(tree) for tree in trees))
    if draw is not None:
        _draw_sheet(trees, target, draw)


@app.command("draw")
def draw_tree(
    tree: Name,
    out: Annotated[Path, typer.Option(help="SVG file to write.")] = Path("tree.svg"),
    diagram: Annotated[
        Path | None, typer.Option(help="SVG file for the network's planes too.")
    ] = None,
    classes: Classes = 7,
    patch: Patch = "1,256,256",
    voxel: Voxel = "40,10,10",
) -> None:
    """Draw a tree, root at the top, and on request the diagram of its network."""
    from emsearch.trees.diagram import to_diagram

    target = _target(classes, patch, voxel, 1)
    found, target = _tree(tree, target)
    _write_svg(found, target, out)
    typer.echo(out)
    if diagram is not None:
        _write(diagram, to_diagram(found, target))
        typer.echo(diagram)


@app.command()
def describe(
    tree: Name,
    classes: Classes = 7,
    patch: Patch = "1,256,256",
    voxel: Voxel = "40,10,10",
    batch: Batch = 1,
    as_json: AsJson = False,
) -> None:
    """Print what a tree's network is and takes."""
    from emsearch.reports.listing import Form, print_fields

    target = _target(classes, patch, voxel, batch)
    record = _described(*_tree(tree, target))
    print_fields(record, Form.JSON if as_json else Form.TABLE)


@app.command()
def families(as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """List the families that a study may draw from, and the presets."""
    from emsearch.reports.listing import print_listing
    from emsearch.trees.families import FAMILIES
    from emsearch.trees.presets import PRESETS
    from emsearch.trees.space import MIXED

    mixed = {"name": MIXED, "sort": "family", "about": "any of the families above"}
    rows = [{"name": n, "sort": "family", "about": f.about} for n, f in FAMILIES.items()]
    presets = [{"name": n, "sort": "preset", "about": p.about} for n, p in PRESETS.items()]
    print_listing([*rows, mixed, *presets], form_of(as_json=as_json, as_csv=as_csv))


@app.command()
def settings(
    family: Annotated[str, typer.Argument(help="Family whose ranges are shown.")],
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List what can be set in a tree, what is allowed, and what a family draws from at roots."""
    from emsearch.reports.listing import print_listing
    from emsearch.trees.families import find_family
    from emsearch.trees.settings import SETTINGS

    drawn = {range_.name: range_.words for range_ in find_family(family).ranges}
    rows = [
        {
            "setting": name,
            "about": setting.about,
            "allowed": setting.allowed,
            "default": setting.meaning(setting.default),
            "drawn": drawn.get(name, ""),
        }
        for name, setting in SETTINGS.items()
    ]
    print_listing(rows, form_of(as_json=as_json, as_csv=as_csv))


def _described(tree: "Tree", target: "Target") -> dict[str, Any]:
    from dataclasses import asdict

    from emsearch.trees.arithmetic import describe as describe_tree

    facts = describe_tree(tree, target)
    memory = {"memory_gb": facts.memory_gb(target.batch_size)}
    return {"digest": tree.digest(), "family": tree.family} | asdict(facts) | memory


def _listed(tree: "Tree", target: "Target") -> dict[str, Any]:
    known = _described(tree, target)
    keys = ("digest", "family", "parameters")
    return {key: known[key] for key in keys} | {"tree": tree.to_dict()}


def _draw_sheet(trees: "list[Tree]", target: "Target", folder: Path) -> None:
    """Write a picture of each tree, and one of all of them."""
    from emsearch.trees.svg import sheet

    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{tree.digest()}.svg" for tree in trees]
    for tree, path in zip(trees, paths, strict=True):
        _write_svg(tree, target, path)
    _write(folder / "sheet.svg", sheet([path.read_text(encoding="utf-8") for path in paths]))
    for path in [*paths, folder / "sheet.svg"]:
        typer.echo(path, err=True)


def _write_svg(tree: "Tree", target: "Target", path: Path) -> None:
    from emsearch.trees.arithmetic import describe as describe_tree
    from emsearch.trees.draw import to_svg

    _write(path, to_svg(tree, describe_tree(tree, target)))


def _write(path: Path, text: str) -> None:
    from emsearch.records.files import replacing

    with replacing(path) as scratch:
        scratch.write_text(text, encoding="utf-8")


def _tree(name: str, target: "Target") -> "tuple[Tree, Target]":
    """Return the tree that a name stands for, and its target. Raises NotFoundError, SpecError."""
    from dataclasses import replace

    from emsearch.errors import NotFoundError, SpecError
    from emsearch.records.files import read_json
    from emsearch.trees.node import Tree
    from emsearch.trees.presets import PRESETS
    from emsearch.trees.sample import draw
    from emsearch.trees.space import make_space

    if Path(name).is_file():
        try:
            found = read_json(Path(name))
        except ValueError as error:
            raise SpecError(f"{name} is no JSON: {error}") from error
        if not isinstance(found, dict):
            raise SpecError(f"{name} holds no tree; give one entry of `tree sample --json`")
        return Tree.from_dict(found.get("tree", found)), target
    if name in PRESETS:
        preset = PRESETS[name]
        fitting = replace(target, channels=preset.channels)
        return preset.make(fitting, _limits(_MOST)), fitting
    family, *numbers = name.split("/")
    if len(numbers) == 2 and all(number.isdigit() for number in numbers):
        seed, number = map(int, numbers)
        return draw(make_space([family], {}), seed, number, target, _limits(_MOST)).tree, target
    raise NotFoundError(
        f"no tree {name!r}; give a JSON file, a preset ({', '.join(PRESETS)}), or "
        "FAMILY/SEED/NUMBER such as encoder_decoder_2d/0/3"
    )


def _limits(max_parameters: int) -> "Limits":
    from emsearch.trees.arithmetic import Limits

    return Limits(max_parameters=max_parameters)


def _target(classes: int, patch: str, voxel: str, batch: int) -> "Target":
    from emsearch.trees.arithmetic import Target

    return Target(
        classes=classes,
        patch_zyx=three(patch, int, "--patch"),
        voxel_nm=three(voxel, float, "--voxel"),
        batch_size=batch,
    )
