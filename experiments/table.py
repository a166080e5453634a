"""What a finished study came to, as the Markdown table of experiments/README.md.

python experiments/table.py runs/drosophila-vnc
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

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
    """Print the table of the study in a folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    with emsearch.open_study(parser.parse_args().folder) as study:
        spec = json.loads(study.query("SELECT spec FROM studies")[0]["spec"])
        for line in rows(study.standings(), spec["dataset"]["classes"]):
            print("| " + " | ".join(line) + " |")


if __name__ == "__main__":
    main()
