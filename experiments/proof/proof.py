"""The search against its rivals at equal training time: studies, and the table of their results.

    python experiments/proof/proof.py --minutes 90 --seeds 1,2,3 --folder runs/proof
    python experiments/proof/proof.py --folder runs/proof --table

For each dataset and study seed four studies get the same minutes of training, summed over jobs:
default (the policy of that name), random (random trees, one seed each), long (the baseline given
all the minutes as one training) and seeds (as many baseline seeds as fit, and their ensemble).
The default study of a seed runs first: how long the baseline takes, and how long its tuning and its
finalists' last seeds take on top of the minutes, is measured there, and the baselines get as much.
The table tells the minutes that each study really trained.
Killed at any instant, the same command goes on; finished studies are left alone. Choices rest on
validation; the test split is looked at once, when a study ends.
"""

import argparse
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import emsearch
from emsearch.records.score import Split

ROOT = Path(__file__).resolve().parents[2]
DATASETS = ("drosophila-vnc", "lucchi-pp")
ARMS = ("default", "random", "long", "seeds")
_T_975 = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78}
"""Student's quantile for the mean of so many studies."""


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--minutes", type=float, default=90.0, help="training, summed over jobs")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--datasets", default=",".join(DATASETS))
    parser.add_argument("--folder", type=Path, default=Path("runs/proof"))
    parser.add_argument("--table", action="store_true", help="run nothing")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    for dataset in asked.datasets.split(","):
        for seed in map(int, asked.seeds.split(",")):
            for arm in () if asked.table else ARMS:
                _run(asked.folder, dataset, arm, seed, asked.minutes)
    print("\n".join(table(asked.folder, asked.datasets.split(","))))


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


def _run(folder: Path, dataset: str, arm: str, seed: int, minutes: float) -> None:
    place = folder / f"{dataset}-{arm}-{seed}"
    if _is_finished(place):
        return
    words = ["resume", str(place)]
    if not place.exists():
        base = tomllib.loads((ROOT / "experiments" / f"{dataset}.toml").read_text())
        for volume in base["dataset"]["volumes"]:
            for key in ("image", "labels"):
                volume[key] = str((ROOT / "experiments" / volume[key]).resolve())
        baseline_s = minutes * 60
        if arm in {"long", "seeds"}:
            first = folder / f"{dataset}-default-{seed}"
            baseline_s, minutes = _baseline_s(first), _minutes(first)
        file = folder / f"{place.name}.toml"
        file.write_text(to_toml(study_of(base, arm, seed, minutes, baseline_s)))
        words = ["launch", str(file), "--folder", str(place)]
    command = [sys.executable, "-c", "from emsearch.cli import main; main()", *words]
    subprocess.run(command, check=True)


def _is_finished(place: Path) -> bool:
    if not place.exists():
        return False
    with emsearch.open_study(place) as study:
        return bool(study.query("SELECT stage FROM studies")[0]["stage"] == "finished")


def _baseline_s(place: Path) -> float:
    with emsearch.open_study(place) as study:
        rows = study.query(
            "SELECT AVG(t.train_s) AS s FROM trials t JOIN candidates c ON c.id = t.candidate_id "
            "WHERE c.origin = 'baseline' AND t.state = 'completed'"
        )
    return float(rows[0]["s"])


def _minutes(place: Path) -> float:
    with emsearch.open_study(place) as study:
        return float(study.query("SELECT SUM(train_s) AS s FROM trials")[0]["s"]) / 60


def table(folder: Path, datasets: Sequence[str]) -> list[str]:
    """Return the table: mean over study seeds of the test mean IoU, with a 95 % interval."""
    lines = [
        "| dataset | study | network | studies | training minutes | test mean IoU |",
        "|---|---|---|---:|---:|---:|",
    ]
    for dataset in datasets:
        for arm in ARMS:
            found: dict[str, list[float]] = {}
            places = sorted(folder.glob(f"{dataset}-{arm}-*/"))
            finished = [place for place in places if _is_finished(place)]
            for place in finished:
                _add(found, place)
            minutes = fmean(map(_minutes, finished)) if finished else 0.0
            lines += [
                f"| {dataset} | {arm} | {kind} | {len(scores)} | {minutes:.0f} "
                f"| {_interval(scores)} |"
                for kind, scores in found.items()
            ]
    return lines


def _add(found: dict[str, list[float]], place: Path) -> None:
    with emsearch.open_study(place) as study:
        for kind in ("ensemble", "single", "baseline_ensemble", "baseline"):
            scored = [one.score(Split.TEST) for one in study.standings() if one.kind == kind]
            known = [score.mean_iou for score in scored if score is not None]
            if known:
                found.setdefault(kind, []).append(fmean(known))


def _interval(scores: Sequence[float]) -> str:
    if len(scores) < 2:
        return f"{scores[0]:.3f}"
    half = _T_975.get(len(scores), 2.2) * stdev(scores) / len(scores) ** 0.5
    return f"{fmean(scores):.3f} ± {half:.3f}"


if __name__ == "__main__":
    main()
