"""The bottom figure of the group's poster of 2019, made anew on public data by one command.

python experiments/poster.py --networks 100 --steps 250 --picture poster.jpg

Random 2-D encoder-decoder networks are drawn and trained on ssTEM of a fruit-fly larva's nerve cord
(drosophila_vnc). Below: data, human labels, best single network and best ensemble side by side, on
a test section; above: the trees of the first five networks. Everything is chosen on validation.

A run that is killed, or that leaves after --minutes, goes on where it was: run it again. The
study's own ensemble is not looked at: it may hold baselines, and the figure compares random
networks alone.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pydantic import TypeAdapter

from emsearch.ensembles.overlay import PALETTE, paint
from emsearch.ensembles.run import run_ensemble
from emsearch.inference.box import Box
from emsearch.inference.device import pick_device
from emsearch.inference.ensemble import load_network
from emsearch.inference.part import parts_of
from emsearch.inference.score import Ballot, judge
from emsearch.ledger import queries
from emsearch.ledger.store import open_ledger
from emsearch.records.candidate import Origin, Recipe
from emsearch.records.dataset import Dataset
from emsearch.records.event import Outcome
from emsearch.records.order import EnsembleOrder, Member, tree_of
from emsearch.records.score import Split
from emsearch.records.trial import Cause
from emsearch.trees.draw import to_svg
from emsearch.trees.node import Tree

STUDY = """
[study]
name = "poster"
seed = 2019
[dataset]
classes = ["intracellular", "membrane", "mitochondria", "synapse", "glia"]
voxel_nm = [50, 4.6, 4.6]
[[dataset.volumes]]
image = "{data}/image.tif"
labels = "{data}/labels.tif"
train = "0:14"
validation = "14:16"
test = "16:20"
[space]
families = ["encoder_decoder_2d"]
max_parameters = 600_000
max_step_s = 0.12
gflops = 200
gbytes_s = 3.2
[training]
patch_zyx = [1, 128, 128]
batch_size = 4
learning_rate = 3e-3
augmentation = 0.5
evaluations = 1
[search]
policy = "halving"
candidates = {networks}
repeats = 1
rungs = [{steps}]
[tune]
survivors = 0
trials = 0
[ensemble]
size = 1
pool = 2
[cluster]
max_jobs = {jobs}
"""
PATCH = (1, 128, 128)
_SIDE = 512  # pixels of a panel
_GAP = 12
_LARGEST = 1.25  # trees are shown so much larger than they are drawn, at most
_FINE = 3  # trees are painted so much larger first
_NAMES = ("Data", "Human", "Best single network", "Best ensemble")


@dataclass(kw_only=True)
class Quiet:
    """A post for an order that this script carries out itself."""

    study: Path

    @property
    def folder(self) -> Path:
        """Where overlays go."""
        return self.study / "work"

    def evaluated(self, facts: Mapping[str, Any]) -> None:
        """Nothing is trained here."""

    def progress(self, done: int, of: int) -> None:
        """Say how far it is."""
        print(f"\rasked {done} of {of} networks", end="", flush=True)

    def stop_cause(self) -> Cause | None:
        """Never leave."""
        return None

    def holds_claim(self) -> bool:
        """Nobody else is there."""
        return True


def train(folder: Path, text: str, minutes: float) -> bool:
    """Train the networks for so many minutes at most; return whether all are trained."""
    if folder.exists():
        arguments = ["resume", str(folder)]
    else:
        folder.parent.mkdir(parents=True, exist_ok=True)
        file = folder.with_suffix(".toml")
        file.write_text(text)
        arguments = ["launch", str(file), "--folder", str(folder)]
    code = "from emsearch.cli import main; main()"
    process = subprocess.Popen([sys.executable, "-c", code, *arguments])
    try:
        process.wait(timeout=60 * minutes)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        process.wait()
        return False
    except KeyboardInterrupt:
        process.wait()
        raise
    return process.returncode == 0


def combine(study: Path) -> tuple[EnsembleOrder, Outcome]:
    """Return the order to combine the random networks alone, and what came of it."""
    ledger = open_ledger(study / "ledger.sqlite")
    with ledger.reading() as connection:
        row = queries.study(connection)
        dataset = TypeAdapter(Dataset).validate_python(row.dataset)
        trials = queries.member_trials(connection, row.id)
    ledger.close()
    recipes = TypeAdapter(Recipe)
    members = tuple(
        Member(
            trial=trial.id,
            candidate=trial.candidate,
            tree=trial.structure,
            weights=str((study / trial.weights).resolve()),
            patch_zyx=recipes.validate_python(trial.recipe).patch_zyx,
            score=trial.score,
        )
        for trial in trials
        if trial.origin == Origin.RANDOM
    )
    volumes = tuple(
        replace(volume, zarr=str((study / volume.zarr).resolve())) for volume in dataset.volumes
    )
    order = EnsembleOrder(
        pool=members,
        baselines=(),
        size=8,
        dataset=replace(dataset, volumes=volumes),
        study="poster",
    )
    post = Quiet(study=study / "poster")  # beside the study's own ensemble
    post.folder.mkdir(parents=True, exist_ok=True)
    return order, run_ensemble(order, post)


def draw(study: Path, picture: Path) -> None:
    """Draw the figure."""
    order, outcome = combine(study)
    entries = {entry["kind"]: entry for entry in outcome.facts["entries"]}
    first = sorted(order.pool, key=lambda member: member.candidate)[:5]
    trees = rows_of_trees([Tree.from_dict(member.tree) for member in first], len(order.pool))
    panels = row_of_panels(order, entries)
    single, best = (entries[kind]["test"]["mean_iou"] for kind in ("single", "ensemble"))
    gain = next(e["ensemble_gain"]["test"] for e in entries.values() if e["kind"] == "single")
    members = len(entries["ensemble"]["members"])
    said = (
        f"Above: module trees of 5 of {len(order.pool)} random 2-D encoder-decoder networks. "
        f"Below: a test section of drosophila_vnc. Test mean IoU: best single network "
        f"{single:.3f}, best ensemble ({members} networks) {best:.3f}; gain "
        f"{gain['difference']:+.3f}, 90 % interval {gain['low']:+.3f} to {gain['high']:+.3f}."
    )
    sheet = stacked([trees, panels, legend(order.dataset.classes, panels.width)])
    picture.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(picture, quality=88)
    print(f"\n{picture}\n{said}")


def row_of_panels(order: EnsembleOrder, entries: Mapping[str, Any]) -> Image.Image:
    """Return data, human labels, best single network and best ensemble side by side."""
    ballots = {
        name: Ballot(
            weights={one["trial"]: one["weight"] for one in entries[kind]["members"]},
            is_majority=entries[kind]["combine"] == "majority",
        )
        for name, kind in ((_NAMES[2], "single"), (_NAMES[3], "ensemble"))
    }
    members = {member.trial: member for member in order.pool}
    classes = len(order.dataset.classes)
    device = pick_device("auto")
    predictors = {
        trial: load_network(
            tree_of(members[trial]), Path(members[trial].weights), classes, PATCH, device
        )
        for trial in {trial for ballot in ballots.values() for trial in ballot.weights}
    }
    (part, *_) = parts_of(order.dataset, Path(), Split.TEST)
    z, y, x = part.region.start_zyx
    y, x = (part.volume_zyx[1] - _SIDE) // 2, (part.volume_zyx[2] - _SIDE) // 2
    section = Box(start_zyx=(z + 1, y, x), stop_zyx=(z + 2, y + _SIDE, x + _SIDE))
    verdict = judge(part, section, predictors, ballots)
    grey_YX = grey_of(part.reader(section)[0])
    labels = [part.truth(section)[0], *(verdict.labels(name)[0] for name in ballots)]
    pictures = [grey_YX[..., None].repeat(3, 2), *(paint(grey_YX, one) for one in labels)]
    row = Image.new("RGB", (len(pictures) * (_SIDE + _GAP) - _GAP, _SIDE + 40), "white")
    pen = ImageDraw.Draw(row)
    for place, (name, one) in enumerate(zip(_NAMES, pictures, strict=True)):
        left = place * (_SIDE + _GAP)
        pen.text((left + _SIDE / 2, 18), name, "black", ImageFont.load_default(26), "mm")
        row.paste(Image.fromarray(one), (left, 40))
    return row


def grey_of(image_YX: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return an image stretched to 0 to 255."""
    low, high = np.percentile(image_YX, (0.5, 99.5))
    grey: NDArray[np.uint8] = (255 * ((image_YX - low) / (high - low)).clip(0, 1)).astype(np.uint8)
    return grey


def rows_of_trees(trees: Sequence[Tree], count: int) -> Image.Image:
    """Return trees in two rows, all at one scale, under how many networks there are."""
    width = len(_NAMES) * (_SIDE + _GAP) - _GAP
    pictures = [painted(to_svg(tree, None)) for tree in trees]
    first = min(
        range(1, len(pictures) + 1),
        key=lambda cut: max(widest(pictures[:cut]), widest(pictures[cut:])),
    )
    halves = [half for half in (pictures[:first], pictures[first:]) if half]
    scale = min(_LARGEST / _FINE, *(width / widest(half) for half in halves))
    title = Image.new("RGB", (width, 40), "white")
    words = f"{len(trees)} of {count} random networks"
    ImageDraw.Draw(title).text((width / 2, 18), words, "black", ImageFont.load_default(26), "mm")
    return stacked([title, *(row_of(half, width, scale) for half in halves)])


def widest(pictures: Sequence[Image.Image]) -> int:
    """Return how wide pictures are side by side."""
    return sum(picture.width + 2 * _FINE * _GAP for picture in pictures)


def row_of(pictures: Sequence[Image.Image], width: int, scale: float) -> Image.Image:
    """Return pictures side by side, at a scale, spread over a width."""
    smaller = [
        picture.resize(
            (round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS
        )
        for picture in pictures
    ]
    spare = (width - sum(picture.width for picture in smaller)) / len(smaller)
    row = Image.new("RGB", (width, max(picture.height for picture in smaller)), "white")
    left = spare / 2
    for picture in smaller:
        row.paste(picture, (int(left), 0))
        left += picture.width + spare
    return row


def painted(svg: str) -> Image.Image:
    """Return the pixels of an SVG document of `emsearch.trees.svg`: boxes, lines and text."""
    root = ET.fromstring(svg)  # noqa: S314 - we wrote it
    size = [int(_FINE * float(root.get(name, 0))) for name in ("width", "height")]
    sheet = Image.new("RGB", (size[0], size[1]), "white")
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(11 * _FINE)
    for shape in root:
        kind, colour = shape.tag.rpartition("}")[2], shape.get("fill", "")
        if kind == "rect" and "%" not in shape.get("width", ""):
            x, y, width, height = (
                _FINE * float(shape.get(name, 0)) for name in ("x", "y", "width", "height")
            )
            pen.rounded_rectangle((x, y, x + width, y + height), 3 * _FINE, colour, "#555555", 2)
        elif kind == "text":
            place = (_FINE * float(shape.get("x", 0)), _FINE * float(shape.get("y", 0)))
            words = (shape.text or "").replace("\u00d7", "x")  # which the font lacks
            pen.text(place, words, colour, font, "ls")
        elif kind == "path":
            pen.line(points_of(shape.get("d", "")), "#777777", 2 * _FINE)
    return sheet


def points_of(steps: str) -> list[tuple[float, float]]:
    """Return the corners of a path of moves (M), horizontal (H) and vertical (V) lines."""
    points: list[tuple[float, float]] = []
    for letter, numbers in re.findall(r"([MHV])([^MHV]*)", steps):
        values = [_FINE * float(number) for number in numbers.split()]
        x, y = points[-1] if points else (0.0, 0.0)
        match letter:
            case "M":
                points.append((values[0], values[1]))
            case "H":
                points.append((values[0], y))
            case _:
                points.append((x, values[0]))
    return points


def legend(classes: Sequence[str], width: int) -> Image.Image:
    """Return the classes in their colours."""
    row = Image.new("RGB", (width, 40), "white")
    pen = ImageDraw.Draw(row)
    font = ImageFont.load_default(22)
    left = 4.0
    for number, name in enumerate(classes):
        if number:
            pen.rectangle((left, 10, left + 20, 30), tuple(PALETTE[number].tolist()))
            pen.text((left + 28, 20), name, "black", font, "lm")
            left += 60 + pen.textlength(name, font)
    return row


def stacked(rows: Sequence[Image.Image]) -> Image.Image:
    """Return pictures below each other."""
    height = sum(row.height + _GAP for row in rows)
    sheet = Image.new("RGB", (max(row.width for row in rows), height), "white")
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height + _GAP
    return sheet


def main() -> None:
    """Train, combine, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--networks", type=int, default=100)
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--minutes", type=float, default=1e6, help="leave after these")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/drosophila_vnc"))
    parser.add_argument("--folder", type=Path, default=Path("runs/poster"))
    parser.add_argument("--picture", type=Path, default=Path("poster.jpg"))
    asked = parser.parse_args()
    text = STUDY.format(
        data=asked.data.resolve(), networks=asked.networks, steps=asked.steps, jobs=asked.jobs
    )
    if not train(asked.folder, text, asked.minutes):
        sys.exit("not all networks are trained: run again to go on")
    draw(asked.folder, asked.picture)


if __name__ == "__main__":
    main()
