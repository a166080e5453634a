"""Does the mean of one trial's late checkpoints earn its place?

    python experiments/benchmarks/late_average.py --networks 3 --seeds 2 --steps 400 [--json]

A trial leaves an exponential average of its weights, the best of its evaluations. Here the weights
of the last fifth of a training are kept at several steps as well, both as they are and as that
average, and the mean of each is scored beside what the trial leaves. Networks are the baseline and
random 2-D encoder-decoders on drosophila_vnc; every way is compared on the same trainings, so that
differences are paired.
"""

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import Tensor, nn

from emsearch.inference.device import pick_device, reproducible
from emsearch.inference.part import parts_of
from emsearch.inference.predict import Predictor
from emsearch.inference.score import confusion_on
from emsearch.metrics.scorecard import score
from emsearch.records.candidate import Recipe
from emsearch.records.dataset import Dataset
from emsearch.records.order import ImportOrder, TrainOrder
from emsearch.records.score import Split
from emsearch.training.batches import open_batches
from emsearch.training.run import begin_training
from emsearch.trees.arithmetic import Limits, Target
from emsearch.trees.baseline import baseline
from emsearch.trees.node import Tree
from emsearch.trees.sample import draw
from emsearch.trees.space import make_space
from emsearch.volumes.importing import import_volume

DATA = Path(__file__).parents[3] / "shared" / "data" / "drosophila_vnc"
CLASSES = ("intracellular", "membrane", "mitochondria", "synapse", "glia")
VOXEL_NM = (50.0, 4.6, 4.6)
LEFT = "what a trial leaves: best evaluation of the running average"
LATE = 0.2  # of the training from which checkpoints are taken
State = dict[str, Tensor]


def trees(count: int, recipe: Recipe) -> list[Tree]:
    """Return the baseline and random trees, all small."""
    target = Target(classes=len(CLASSES), patch_zyx=recipe.patch_zyx, voxel_nm=VOXEL_NM)
    limits = Limits(max_parameters=600_000, max_step_s=0.2, gflops=200, gbytes_s=3.2)
    space = make_space(["encoder_decoder_2d"], {})
    drawn = [draw(space, 2019, number, target, limits).tree for number in range(count - 1)]
    return [baseline(target, limits), *drawn]


def import_data(folder: Path) -> Dataset:
    """Return the nerve cord, split as its study file splits it."""
    order = ImportOrder(
        name="v",
        image=str(DATA / "image.tif"),
        labels=str(DATA / "labels.tif"),
        classes=CLASSES,
        voxel_nm=VOXEL_NM,
        train=(0, 14),
        validation=(14, 16),
        test=(16, 20),
    )
    return Dataset(classes=CLASSES, volumes=(import_volume(order, folder, folder / "v.zarr"),))


def train(task: TrainOrder, study: Path, checkpoints: int) -> tuple[nn.Module, dict[str, Any]]:
    """Return a network to load weights into, and its late weights: running and averaged."""
    device = pick_device("cpu")
    late: dict[str, Any] = {"running": [], "averaged": []}
    marks = {
        round(task.horizon * (1 - LATE * turn / max(checkpoints - 1, 1)))
        for turn in range(checkpoints)
    }
    with reproducible(device), open_batches(task, study, device) as batches:
        training = begin_training(task, batches, device)
        for step in range(1, task.horizon + 1):
            training.advance(*batches(training.step))
            if step in marks:
                late["running"].append(deepcopy(training.network.state_dict()))
                late["averaged"].append(deepcopy(training.average.network.state_dict()))
        return training.average.network, late


def mean_of(states: Sequence[State]) -> State:
    """Return the mean of weights and statistics; counters are the last one's."""
    return {
        name: torch.stack([state[name] for state in states]).mean(0)
        if value.is_floating_point()
        else value
        for name, value in states[-1].items()
    }


def compare(
    task: TrainOrder, study: Path, checkpoints: int, splits: Mapping[Split, Any]
) -> dict[str, dict[Split, float]]:
    """Return the mean IoU of each way on each split."""
    network, late = train(task, study, checkpoints)
    predictor = Predictor.of(
        Tree.from_dict(task.tree), network, len(CLASSES), task.recipe.patch_zyx, pick_device("cpu")
    )

    def scored(state: State, split: Split) -> float:
        network.load_state_dict(state)
        return float(score(confusion_on(splits[split], predictor), split).mean_iou)

    averaged = late["averaged"]
    best = max(averaged, key=lambda state: scored(state, Split.VALIDATION))
    ways = {
        LEFT: best,
        "the running average at the end": averaged[-1],
        "the weights at the end": late["running"][-1],
        f"mean of the last {checkpoints} running averages": mean_of(averaged),
        f"mean of the last {checkpoints} weights": mean_of(late["running"]),
    }
    return {name: {split: scored(way, split) for split in splits} for name, way in ways.items()}


def rows_of(found: Sequence[Mapping[str, Mapping[Split, float]]]) -> list[dict[str, Any]]:
    """Return the means over trainings, and test differences to what a trial leaves."""
    rows = []
    for way in found[0]:
        gains = [one[way][Split.TEST] - one[LEFT][Split.TEST] for one in found]
        rows.append(
            {
                "weights": way,
                "validation": statistics.fmean(one[way][Split.VALIDATION] for one in found),
                "test": statistics.fmean(one[way][Split.TEST] for one in found),
                "test gain": statistics.fmean(gains),
                "its standard error": statistics.stdev(gains) / len(gains) ** 0.5
                if len(gains) > 1
                else float("nan"),
                "better in": f"{sum(gain > 0 for gain in gains)} of {len(gains)}",
            }
        )
    return rows


def show(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    """Print rows as JSON or as a Markdown table."""
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    print("| " + " | ".join(rows[0]) + " |")
    print("|" + " --- |" * len(rows[0]))
    for row in rows:
        cells = (f"{v:.4f}" if isinstance(v, float) else str(v) for v in row.values())
        print("| " + " | ".join(cells) + " |")


def main() -> None:
    """Train, average, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--networks", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--checkpoints", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    recipe = Recipe(patch_zyx=(1, 128, 128), batch_size=4, learning_rate=3e-3, augmentation=0.5)
    found = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dataset = import_data(folder)
        splits = {
            split: parts_of(dataset, folder, split) for split in (Split.VALIDATION, Split.TEST)
        }
        for tree in trees(asked.networks, recipe):
            for seed in range(asked.seeds):
                task = TrainOrder(
                    trial=0,
                    seed=seed,
                    tree=tree.to_dict(),
                    recipe=recipe,
                    horizon=asked.steps,
                    until_step=asked.steps,
                    evaluate_at=(),
                    dataset=dataset,
                    device="cpu",
                )
                found.append(compare(task, folder, asked.checkpoints, splits))
    show(rows_of(found), as_json=asked.json)


if __name__ == "__main__":
    main()
