"""The search against its rivals at equal training time: studies, and the tables of their results.

    python experiments/proof/proof.py --minutes 90 --seeds 1,2,3 [--rungs 200,800]
    python experiments/proof/proof.py --table

For each dataset and study seed four studies get the same minutes of training, summed over jobs:
default (the policy of that name), random (random trees, one seed each), long (the baseline given
all the minutes as one training) and seeds (as many baseline seeds as fit, from which an ensemble is
chosen as ours is; a single random tree, which every study has, is among them).
The default study of a seed runs first: how long the baseline takes, and how long its tuning and its
finalists' last seeds take on top of the minutes, is measured there, and the baselines get as much.
The table tells the minutes that each study really trained.

Each finished study leaves a line in `--results`, and is not run again by whoever has that file:
the hours that this takes may be broken anywhere, and be gone on with on another machine. A study
that was killed goes on where its folder is. Choices rest on validation; the test split is looked at
once, when a study ends.
"""

import argparse
import json
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import emsearch
from emsearch.records.score import Split
from emsearch.records.version import code_version

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).with_name("results.jsonl")
DATASETS = ("drosophila-vnc", "lucchi-pp")
ARMS = ("default", "random", "long", "seeds")
KINDS = ("ensemble", "single", "baseline_ensemble", "baseline")
RIVALS = (
    ("ensemble", "random", "ensemble", "random search's ensemble"),
    ("single", "random", "single", "random search's best network, against ours"),
    ("ensemble", "long", "baseline", "the baseline given all the minutes"),
    ("ensemble", "seeds", "ensemble", "the best ensemble of baseline seeds"),
)
"""What of the default study is compared, with which study, what of that, and in words."""
_T_975 = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78}
"""Student's quantile for the mean of so many studies."""

Line = dict[str, Any]
"""What a finished study left: dataset, arm, seed, minutes, trained_minutes, baseline_s, test."""


def main() -> None:
    """Run what is missing, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--minutes", type=float, default=90.0, help="training, summed over jobs")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--rungs", default="", help="steps, such as 200,800; default: the files'")
    parser.add_argument("--datasets", default=",".join(DATASETS))
    parser.add_argument("--folder", type=Path, default=Path("runs/proof"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="run nothing")
    asked = parser.parse_args()
    datasets = asked.datasets.split(",")
    rungs = [int(step) for step in asked.rungs.split(",") if step]
    for dataset in () if asked.table else datasets:
        for seed in map(int, asked.seeds.split(",")):
            for arm in ARMS:
                known = read_results(asked.results)
                if not any(_is(line, dataset, arm, seed, asked.minutes) for line in known):
                    _run(asked, known, (dataset, arm, seed), rungs)
    print("\n".join(tables(read_results(asked.results), datasets)))


def read_results(path: Path) -> list[Line]:
    """Return what finished studies left in a file; nothing where there is none."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def study_of(
    base: dict[str, Any], arm: str, seed: int, minutes: float, baseline_s: float
) -> dict[str, Any]:
    """Return the study file of an arm; `baseline_s` are the seconds of a baseline's training."""
    fitting = max(int(minutes * 60 / baseline_s), 1)
    study = {name: dict(keys) for name, keys in base.items()}
    study["study"] |= {"name": f"{base['study']['name']}-{arm}-{seed}", "seed": seed}
    search = {"rungs": base["search"]["rungs"]}
    if arm in {"default", "random"}:
        # The hours end the search; the number is out of reach. The baseline's seeds are among them.
        search |= {"policy": arm, "trials": 100_000, "gpu_hours": minutes / 60}
        search |= {"goal": "best_networks"}
    else:
        search |= {"policy": "halving", "candidates": 1, "repeats": 1, "keep": 1.0}
        study["tune"] = {"survivors": 0}
    if arm == "long":
        study["ensemble"] = base["ensemble"] | {"size": 1}
        search["rungs"] = [round(base["search"]["rungs"][-1] * fitting)]
    if arm == "seeds":
        study["ensemble"] = base["ensemble"] | {"size": min(fitting, 64)}
    return study | {"search": search}


def to_toml(study: dict[str, Any]) -> str:
    """Return a study as TOML that `emsearch` reads back."""
    return "\n".join(line for name, keys in study.items() for line in _section(name, keys)) + "\n"


def _section(name: str, keys: dict[str, Any]) -> Iterator[str]:
    tables = {key: value for key, value in keys.items() if _is_tables(value)}
    yield f"[{name}]"
    yield from (f"{key} = {_value(value)}" for key, value in keys.items() if key not in tables)
    for key, rows in tables.items():
        for row in rows:
            yield f"[[{name}.{key}]]"
            yield from (f"{inner} = {_value(value)}" for inner, value in row.items())


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _run(
    asked: argparse.Namespace, known: Sequence[Line], which: tuple[str, str, int], rungs: list[int]
) -> None:
    """Run or go on with a study, and append its line to the results."""
    dataset, arm, seed = which
    place: Path = asked.folder / f"{dataset}-{arm}-{seed}"
    if not place.exists():
        base = tomllib.loads((ROOT / "experiments" / f"{dataset}.toml").read_text())
        base["search"]["rungs"] = rungs or base["search"]["rungs"]
        for volume in base["dataset"]["volumes"]:
            for key in ("image", "labels"):
                volume[key] = str((ROOT / "experiments" / volume[key]).resolve())
        minutes, baseline_s = asked.minutes, asked.minutes * 60
        if arm in {"long", "seeds"}:
            first = next(x for x in known if _is(x, dataset, "default", seed, asked.minutes))
            minutes, baseline_s = first["trained_minutes"], first["baseline_s"]
        place.parent.mkdir(parents=True, exist_ok=True)
        file = place.with_suffix(".toml")
        file.write_text(to_toml(study_of(base, arm, seed, minutes, baseline_s)))
        words = ["launch", str(file), "--folder", str(place)]
    else:
        words = ["resume", str(place)]
    command = [sys.executable, "-c", "from emsearch.cli import main; main()", *words]
    subprocess.run(command, check=True)
    line = {"dataset": dataset, "arm": arm, "seed": seed, "minutes": asked.minutes}
    with asked.results.open("a") as file_of_lines:
        file_of_lines.write(json.dumps(line | _outcome(place)) + "\n")


def _is(line: Line, dataset: str, arm: str, seed: int, minutes: float) -> bool:
    names = ("dataset", "arm", "seed", "minutes")
    return tuple(line[name] for name in names) == (dataset, arm, seed, minutes)


def _outcome(place: Path) -> Line:
    """Return what a finished study came to; test scores are means over those of a kind."""
    with emsearch.open_study(place) as study:
        trained = study.query("SELECT SUM(train_s) AS s FROM trials")[0]["s"]
        baseline = study.query(
            "SELECT AVG(t.train_s) AS s FROM trials t JOIN candidates c ON c.id = t.candidate_id "
            "WHERE c.origin = 'baseline' AND t.state = 'completed'"
        )[0]["s"]
        test: dict[str, list[float]] = {}
        for one in study.standings():
            if (score := one.score(Split.TEST)) is not None:
                test.setdefault(one.kind, []).append(score.mean_iou)
    return {
        "trained_minutes": trained / 60,
        "baseline_s": baseline,
        "test": {kind: fmean(scores) for kind, scores in test.items()},
        "version": code_version(),
        "date": time.strftime("%Y-%m-%d"),
    }


def tables(lines: Sequence[Line], datasets: Sequence[str]) -> Iterator[str]:
    """Yield both tables: test mean IoU of each study, and how far ours is ahead, seed by seed."""
    yield "| dataset | study | network | studies | training minutes | test mean IoU |"
    yield "|---|---|---|---:|---:|---:|"
    for dataset in datasets:
        for arm in ARMS:
            own = [line for line in lines if (line["dataset"], line["arm"]) == (dataset, arm)]
            for kind in KINDS:
                scores = [line["test"][kind] for line in own if kind in line["test"]]
                if scores:
                    minutes = fmean(line["trained_minutes"] for line in own)
                    yield (
                        f"| {dataset} | {arm} | {kind.replace('_', ' ')} | {len(scores)} "
                        f"| {minutes:.0f} | {_interval(scores)} |"
                    )
    yield ""
    yield "| dataset | default's | ahead of | seeds | by |"
    yield "|---|---|---|---:|---:|"
    for dataset in datasets:
        for kind, arm, other, words in RIVALS:
            gains = _gains([line for line in lines if line["dataset"] == dataset], kind, arm, other)
            if gains:
                yield f"| {dataset} | {kind} | {words} | {len(gains)} | {_interval(gains)} |"


def _gains(lines: Sequence[Line], kind: str, arm: str, other: str) -> list[float]:
    """Return by how much a kind of the default study is ahead of another study's, by seed."""
    ours = {(x["seed"], x["minutes"]): x["test"].get(kind) for x in lines if x["arm"] == "default"}
    theirs = {(x["seed"], x["minutes"]): x["test"].get(other) for x in lines if x["arm"] == arm}
    both = [(ours[key], theirs[key]) for key in sorted(ours.keys() & theirs.keys())]
    return [one - two for one, two in both if one is not None and two is not None]


def _interval(scores: Sequence[float]) -> str:
    """Return the mean with its 95 % interval over studies."""
    if len(scores) < 2:
        return f"{scores[0]:.3f}"
    half = _T_975.get(len(scores), 2.2) * stdev(scores) / len(scores) ** 0.5
    return f"{fmean(scores):.3f} ± {half:.3f}"


if __name__ == "__main__":
    main()
