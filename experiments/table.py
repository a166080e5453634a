"""What a finished study came to, as the Markdown tables of experiments/README.md.

python experiments/table.py runs/drosophila-vnc

First the mean IoU of the ensemble and its rivals, then what the ensemble gains over each of them
with 90 % bootstrap intervals over places in the volume, then how sure its probabilities are.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import emsearch
from emsearch.records.score import Score, Split
from emsearch.reports.standings import Standing


def rows(found: Sequence[Standing], classes: Sequence[str]) -> list[list[str]]:
    """Return the table: a line for each rival and split."""
    head = ["network", "seeds or members", "split", "mean IoU", *classes]
    lines = [head, ["---"] * 2 + ["---"] + ["---:"] * (1 + len(classes))]
    for split in (Split.VALIDATION, Split.TEST):
        baselines = [one.score(split) for one in found if one.kind == "baseline"]
        scored = [score for score in baselines if score is not None]
        if scored:
            lines.append(_means("baseline, mean of its seeds", scored, split))
        for one in found:
            score = one.score(split)
            if one.kind != "baseline" and score is not None:
                lines.append(_line(one, score, split))
    return lines


def gain_rows(
    facts: Mapping[str, Mapping[str, Any]], classes: Sequence[str], split: Split
) -> list[list[str]]:
    """Return the table of the ensemble's gains over its rivals, whose facts are given by name."""
    head = ["the ensemble over", "mean IoU", *classes]
    lines = [head, ["---"] + ["---:"] * (1 + len(classes))]
    for name, told in facts.items():
        gain = told.get("ensemble_gain", {}).get(split)
        if gain is not None:
            lines.append([name, *(_interval(one) for one in (gain, *gain["iou_K"]))])
    return lines


def sureness(facts: Mapping[str, Mapping[str, Any]], split: Split) -> list[str]:
    """Return a sentence for each ensemble: members' disagreement and calibration."""
    said = []
    for name, told in facts.items():
        differ = told.get("disagreement", {}).get(split)
        errors = told.get("calibration", {}).get(split)
        if differ is not None and errors is not None:
            said.append(
                f"{name} on {split}: two members differ on {differ:.1%} of the voxels; expected "
                f"calibration error {errors['error']:.3f}, {errors['tempered_error']:.3f} at "
                f"temperature {told['temperature']:.2f}."
            )
    return said


def _interval(gain: Mapping[str, float] | None) -> str:
    if gain is None:
        return "–"
    return f"{gain['difference']:+.3f} ({gain['low']:+.3f} to {gain['high']:+.3f})"


def _line(one: Standing, score: Score, split: Split) -> list[str]:
    values = [f"**{score.mean_iou:.3f}**", *(_number(iou) for iou in score.iou_K)]
    return [one.name, str(len(one.members)), split, *values]


def _means(name: str, scores: Sequence[Score], split: Split) -> list[str]:
    mean = sum(score.mean_iou for score in scores) / len(scores)
    spread = max(score.mean_iou for score in scores) - min(score.mean_iou for score in scores)
    columns = zip(*(score.iou_K for score in scores), strict=True)
    known = [[iou for iou in column if iou is not None] for column in columns]
    by_class = [_number(sum(column) / len(column) if column else None) for column in known]
    said = f"**{mean:.3f}** (range {spread:.3f})"
    return [name, str(len(scores)), split, said, *by_class]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def main() -> None:
    """Print the tables of the study in a folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    with emsearch.open_study(parser.parse_args().folder) as study:
        spec = json.loads(study.query("SELECT spec FROM studies")[0]["spec"])
        classes = spec["dataset"]["classes"]
        entries = study.query("SELECT name, facts FROM ensembles ORDER BY id")
        facts = {entry["name"]: json.loads(entry["facts"]) for entry in entries}
        _print(rows(study.standings(), classes))
        for split in (Split.TEST, Split.VALIDATION):
            if len(gains := gain_rows(facts, classes, split)) > 2:  # head and rule
                print(f"\nGains on {split}, with 90 % bootstrap intervals over places:\n")
                _print(gains)
        print("", *sureness(facts, Split.TEST), sep="\n")


def _print(lines: Sequence[Sequence[str]]) -> None:
    for line in lines:
        print("| " + " | ".join(line) + " |")


if __name__ == "__main__":
    main()
