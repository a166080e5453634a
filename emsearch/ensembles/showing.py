"""Pictures of what an ensemble and its rivals make of a split, for the report.

Axes: Y X pixels in array order.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from emsearch.ensembles.count import Entry
from emsearch.ensembles.overlay import write_overlay
from emsearch.ensembles.worst import Worst
from emsearch.inference.box import Box
from emsearch.inference.part import Part
from emsearch.inference.predict import Predictor
from emsearch.inference.score import judge

__all__ = ["WORST", "draw_overlays"]

WORST = "-worst"
"""Ends the name of the picture of the place where the ensemble is wrong most."""

_SECTIONS = 2  # shown of each volume
_SHOWN = ("baseline", "single", "ensemble")
_TITLES = {"single": "best single"}


def draw_overlays(
    parts: Sequence[Part],
    worst: Worst,
    entries: Sequence[Entry],
    predictors: Mapping[int, Predictor],
    place: tuple[Path, Sequence[str]],
) -> list[Path]:
    """Write sections spread over each volume, and the worst place; return the pictures' paths.

    `place` is the folder to write to, and the names of the classes. Beside the truth stand the
    first baseline, the best single network and the ensemble.
    """
    ballots = {}
    for kind in _SHOWN:
        if (entry := next((one for one in entries if one.kind == kind), None)) is not None:
            ballots[_TITLES.get(kind, kind)] = entry.ballot
    shown = [(part, box, "") for part in parts for box in _sections(part.region)]
    if worst.where is not None:
        shown.append((*worst.where, WORST))
    folder, classes = place
    paths = []
    for part, box, ending in shown:
        name = f"{part.volume.record.name}-z{box.start_zyx[0]:04d}{ending}.png"
        paths.append(folder / name)
        verdict = judge(part, box, predictors, ballots)
        panels = {"truth": part.truth(box)[0]}
        panels |= {title: verdict.labels(title)[0] for title in ballots}
        write_overlay(paths[-1], part.reader(box)[0], panels, classes)
    return paths


def _sections(region: Box) -> list[Box]:
    """Return single sections, spread evenly."""
    first, depth = region.start_zyx[0], region.shape_zyx[0]
    count = min(_SECTIONS, depth)
    places = [first + depth * (2 * turn + 1) // (2 * count) for turn in range(count)]
    return [
        Box(start_zyx=(z, *region.start_zyx[1:]), stop_zyx=(z + 1, *region.stop_zyx[1:]))
        for z in places
    ]
