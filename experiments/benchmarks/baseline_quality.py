"""Quality at equal wall time: our baseline, MONAI's BasicUNet, and the network of Guay et al. 2021.

    pip install monai
    python experiments/benchmarks/baseline_quality.py --out quality.jsonl

Every system trains from scratch for the same seconds, with the same threads, on the same training
sections, and is scored by mean IoU over the whole test sections, once. Seconds are those of the
training loop, with everything that it draws and augments; nothing is evaluated within them. Each
run is a process of its own; systems take turns, seed by seed. A run that is in the file already is
not repeated, so that the hours this takes may be broken anywhere. Data are expected in `--data`, as
in ../shared/data: drosophila_vnc (Gerhard et al. 2013) and lucchi_pp (Lucchi 2012, Casser 2018).
"""

# mypy: disable-error-code="import-not-found,import-untyped"

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from emsearch.inference.device import reproducible
from emsearch.inference.part import parts_of
from emsearch.inference.predict import Predictor
from emsearch.inference.score import confusion_on
from emsearch.metrics.overlap import confusion
from emsearch.metrics.scorecard import score
from emsearch.networks.build import rebuild
from emsearch.records.budget import Budget
from emsearch.records.candidate import Recipe
from emsearch.records.dataset import Dataset
from emsearch.records.order import ImportOrder, TrainOrder
from emsearch.records.score import Split
from emsearch.records.trial import Cause
from emsearch.training.run import run_trial
from emsearch.trees.arithmetic import Limits, Target
from emsearch.trees.baseline import baseline
from emsearch.trees.node import Tree
from emsearch.trees.presets import PRESETS
from emsearch.volumes.dataset import open_volume
from emsearch.volumes.importing import import_volume

DATA = Path(__file__).parents[3] / "shared" / "data"
OURS, PEER = "emsearch", "monai"
Zyx = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """Data with the patch that suits them, and a recipe for minutes on a few CPU cores."""

    volumes: tuple[dict[str, Any], ...]
    classes: tuple[str, ...]
    voxel_nm: tuple[float, float, float]
    recipe: Recipe
    """Of our baseline; MONAI draws patches of the same shape, as many a batch."""
    max_step_s: float
    """Predicted on one core: what our baseline's width follows from."""


TASKS = {
    "drosophila_vnc": Task(
        volumes=({"of": "", "train": (0, 14), "validation": (14, 16), "test": (16, 20)},),
        classes=("intracellular", "membrane", "mitochondria", "synapse", "glia"),
        voxel_nm=(50, 4.6, 4.6),
        recipe=Recipe(patch_zyx=(1, 128, 128), batch_size=4, learning_rate=3e-3, augmentation=0.5),
        max_step_s=0.2,
    ),
    "lucchi_pp": Task(
        volumes=(
            {"of": "train_", "train": (0, 28), "validation": (28, 32)},
            {"of": "test_", "test": (0, 32)},
        ),
        classes=("background", "mitochondrion"),
        voxel_nm=(5, 5, 5),
        recipe=Recipe(patch_zyx=(1, 128, 128), batch_size=4, learning_rate=3e-3, augmentation=0.5),
        max_step_s=0.2,
    ),
}


class Quiet:
    """The post of a training that nobody watches."""

    def __init__(self, study: Path) -> None:
        self.study, self.folder = study, study / "trial" / "attempts" / "a"
        self.folder.mkdir(parents=True)

    def evaluated(self, facts: Mapping[str, Any]) -> None:
        """Say nothing."""

    def progress(self, done: int, of: int) -> None:
        """Say nothing."""

    def stop_cause(self) -> Cause | None:
        """Return None: nobody asks to leave."""
        return None

    def holds_claim(self) -> bool:
        """Return True: there is no other attempt."""
        return True


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One training of one system."""

    task: Task
    dataset: Dataset
    study: Path
    seed: int
    seconds: int


def prepare(task: Task, data: Path, study: Path) -> Dataset:
    """Import a task's volumes into a folder."""
    records = []
    for volume in task.volumes:
        order = ImportOrder(
            name=volume["of"].rstrip("_") or "all",
            image=str(data / f"{volume['of']}image.tif"),
            labels=str(data / f"{volume['of']}labels.tif"),
            classes=task.classes,
            voxel_nm=task.voxel_nm,
            **{split: volume[split] for split in Split if split in volume},
        )
        records.append(import_volume(order, study, study / f"{order.name}.zarr"))
    return Dataset(classes=task.classes, volumes=tuple(records))


def train_tree(run: Run, tree: Tree, recipe: Recipe) -> dict[str, Any]:
    """Train a tree of ours and score it on test."""
    order = TrainOrder(
        trial=1,
        tree=tree.to_dict(),
        recipe=recipe,
        seed=run.seed,
        dataset=run.dataset,
        horizon=run.seconds,
        until_step=run.seconds,
        evaluate_at=(),
        budget=Budget.SECONDS,
        checkpoint_every_s=1e9,
        device="cpu",
    )
    facts = run_trial(order, Quiet(run.study)).facts
    network = rebuild(order.tree, torch.load(run.study / facts["weights"], weights_only=True))
    cpu = torch.device("cpu")
    predictor = Predictor.of(tree, network, len(run.task.classes), recipe.patch_zyx, cpu)
    counts_KK = confusion_on(parts_of(run.dataset, run.study, Split.TEST), predictor)
    parameters = sum(weight.numel() for weight in network.parameters())
    return {"steps": facts["steps"], "parameters": parameters, "confusion": counts_KK}


def ours(run: Run) -> dict[str, Any]:
    """Train the baseline."""
    task = run.task
    target = Target(
        classes=len(task.classes),
        patch_zyx=task.recipe.patch_zyx,
        batch_size=task.recipe.batch_size,
        voxel_nm=task.voxel_nm,
    )
    limits = Limits(max_step_s=task.max_step_s, gflops=200, gbytes_s=3.2)
    return train_tree(run, baseline(target, limits), task.recipe)


def guay(run: Run) -> dict[str, Any]:
    """Train the published 2D-3D network, with our recipe on stacks of five sections."""
    preset = PRESETS["guay-2021"]
    recipe = replace(run.task.recipe, patch_zyx=(5, 96, 96), batch_size=1, learning_rate=1e-3)
    target = Target(classes=len(run.task.classes), patch_zyx=recipe.patch_zyx)
    return train_tree(run, preset.make(target, Limits()), recipe)


def monai(run: Run) -> dict[str, Any]:
    """Train MONAI's BasicUNet by a plain MONAI pipeline.

    Class-balanced crops, flips, right-angle turns, changes of scale and offset; Dice and
    cross-entropy; Adam at 1e-3, falling as half a cosine; Gaussian sliding windows.
    """
    from monai.data import set_track_meta
    from monai.inferers import sliding_window_inference
    from monai.losses import DiceCELoss
    from monai.networks.nets import BasicUNet

    set_track_meta(False)
    torch.manual_seed(run.seed)
    classes, patch = len(run.task.classes), run.task.recipe.patch_zyx
    size = patch[1:] if patch[0] == 1 else patch
    network = BasicUNet(spatial_dims=len(size), in_channels=1, out_channels=classes)
    loss = DiceCELoss(to_onehot_y=True, softmax=True)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    batches, steps = _monai_batches(run, size), 0
    began_s = time.monotonic()
    while (spent := time.monotonic() - began_s) < run.seconds:
        image, labels = next(batches)
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * (1 + np.cos(np.pi * spent / run.seconds)) / 2
        optimizer.zero_grad(set_to_none=True)
        loss(network(image), labels).backward()
        optimizer.step()
        steps += 1
    network.eval()
    counts_KK = np.zeros((classes, classes), np.int64)
    for image_ZYX, labels_ZYX in _volumes(run, Split.TEST):
        whole = torch.from_numpy(image_ZYX)
        given = whole[:, None] if len(size) == 2 else whole[None, None]
        with torch.inference_mode():
            parts = [
                sliding_window_inference(one[None], size, 4, network, overlap=0.5, mode="gaussian")
                for one in given
            ]
        found = torch.cat(parts).argmax(1).numpy().astype(np.uint8)
        counts_KK += confusion(found.reshape(labels_ZYX.shape), labels_ZYX, classes)
    parameters = sum(weight.numel() for weight in network.parameters())
    return {"steps": steps, "parameters": parameters, "confusion": counts_KK}


def _monai_batches(run: Run, size: Sequence[int]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    from monai import transforms as t
    from monai.data import list_data_collate

    keys, classes = ["image", "labels"], len(run.task.classes)
    change = t.Compose(
        [
            t.RandCropByLabelClassesd(
                keys,
                label_key="labels",
                spatial_size=size,
                num_classes=classes,
                num_samples=run.task.recipe.batch_size,
                indices_key="places",
                warn=False,
            ),
            *[t.RandFlipd(keys, prob=0.5, spatial_axis=axis) for axis in range(len(size))],
            t.RandRotate90d(keys, prob=0.5, spatial_axes=(len(size) - 2, len(size) - 1)),
            t.RandScaleIntensityd("image", factors=0.1, prob=0.5),
            t.RandShiftIntensityd("image", offsets=0.1, prob=0.5),
        ]
    )
    change.set_random_state(run.seed)
    places = t.ClassesToIndicesd("labels", num_classes=classes, indices_postfix="_at")
    items = []
    for volume in _volumes(run, Split.TRAIN):
        for image, labels in [volume] if len(size) == 3 else zip(*volume, strict=True):
            arrays = {
                "image": torch.from_numpy(image)[None],
                "labels": torch.from_numpy(labels)[None],
            }
            item = places(arrays)
            items.append({**item, "places": item["labels_at"]})
    rng = np.random.default_rng(run.seed)
    while True:
        batch = list_data_collate(change(items[int(rng.integers(len(items)))]))
        yield batch["image"], batch["labels"].long()


def _volumes(run: Run, split: Split) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int16]]]:
    """Yield normalised image and labels of a split."""
    for record in run.dataset.volumes:
        if (sections := record.slices(split)) is not None:
            region = (sections, (0, record.shape_zyx[1]), (0, record.shape_zyx[2]))
            volume = open_volume(record, run.study)
            yield volume.read_image(region), volume.read_labels(region)


SYSTEMS: dict[str, Callable[[Run], dict[str, Any]]] = {OURS: ours, PEER: monai, "guay-2021": guay}


def train_one(asked: argparse.Namespace) -> None:
    """Train the run that the command line names, and print what came of it as JSON."""
    dataset, system, seed = asked.one
    torch.set_num_threads(asked.threads)
    with tempfile.TemporaryDirectory() as folder, reproducible(torch.device("cpu")):
        study, task = Path(folder), TASKS[dataset]
        if asked.set:
            task = _changed(task, asked.set)
        data = prepare(task, asked.data / dataset, study)
        run = Run(task=task, dataset=data, study=study, seed=int(seed), seconds=asked.seconds)
        found = SYSTEMS[system](run)
    result = score(found.pop("confusion"), Split.TEST)
    scores = {"mean_iou": result.mean_iou, "iou_K": list(result.iou_K)}
    print(json.dumps(found | scores))


def _changed(task: Task, settings: Sequence[str]) -> Task:
    """Return a task with other settings of the recipe, for exploring."""
    values = {name: json.loads(text) for name, text in (one.split("=") for one in settings)}
    max_step_s = values.pop("max_step_s", task.max_step_s)
    values = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    return replace(task, recipe=replace(task.recipe, **values), max_step_s=max_step_s)


def known_runs(path: Path) -> list[dict[str, Any]]:
    """Return the runs that a file holds."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def run_all(asked: argparse.Namespace) -> list[dict[str, Any]]:
    """Do the runs that are missing, and return those that were asked for."""
    runs = known_runs(asked.out)
    for seed in range(asked.seeds):
        for dataset in asked.datasets:
            for system in asked.systems:
                key = {
                    "dataset": dataset,
                    "system": system,
                    "seed": seed,
                    "seconds": asked.seconds,
                    "threads": asked.threads,
                }
                if any(key.items() <= run.items() for run in runs):
                    continue
                runs.append(key | _in_a_process(key, asked))
                with asked.out.open("a") as file:
                    file.write(json.dumps(runs[-1]) + "\n")
                print(f"{dataset} {system} {seed}: {runs[-1]['mean_iou']:.4f}", file=sys.stderr)
    return [
        run for run in runs if run["seconds"] == asked.seconds and run["threads"] == asked.threads
    ]


def _in_a_process(key: Mapping[str, Any], asked: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, __file__, "--one", key["dataset"], key["system"], str(key["seed"])]
    command += ["--seconds", str(asked.seconds), "--threads", str(asked.threads)]
    command += ["--data", str(asked.data), *(["--set", *asked.set] if asked.set else [])]
    environment = {**os.environ, "OMP_NUM_THREADS": str(asked.threads)}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def difference(ours_N: Sequence[float], theirs_N: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean difference and its 90 % interval (Welch); without bounds below two seeds."""
    from scipy import stats

    mean = statistics.fmean(ours_N) - statistics.fmean(theirs_N)
    if min(len(ours_N), len(theirs_N)) < 2:
        return mean, float("nan"), float("nan")
    interval = stats.ttest_ind(ours_N, theirs_N, equal_var=False).confidence_interval(0.9)
    return mean, float(interval.low), float(interval.high)


def summary(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return mean and spread of each system on each data set, and our lead over each other."""
    found: dict[str, Any] = {}
    for dataset in dict.fromkeys(run["dataset"] for run in runs):
        here = [run for run in runs if run["dataset"] == dataset]
        scores: dict[str, list[float]] = {}
        for run in here:
            scores.setdefault(run["system"], []).append(run["mean_iou"])
        found[dataset] = {
            "scores": scores,
            "ahead": {
                name: difference(scores[OURS], values)
                for name, values in scores.items()
                if name != OURS and OURS in scores
            },
        }
    return found


def print_table(found: Mapping[str, Any]) -> None:
    """Print what `summary` gave."""
    for dataset, one in found.items():
        print(f"\n{dataset}: test mean IoU")
        for name, scores in one["scores"].items():
            told = ", ".join(f"{score:.3f}" for score in scores)
            print(f"  {name:12} {statistics.fmean(scores):.4f}  ({told})")
        for name, (mean, low, high) in one["ahead"].items():
            print(f"  ahead of {name}: {mean:+.4f} (90 %: {low:+.4f} to {high:+.4f})")


def main() -> None:
    """Train what is missing, print a table, and write the figures where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=int, default=360, help="of each training")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--datasets", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument(
        "--out", type=Path, default=Path("quality.jsonl"), help="a line for each run"
    )
    parser.add_argument("--json", type=Path, help="where the summary goes")
    parser.add_argument("--set", nargs="+", help="explore: settings of the recipe, name=value")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        train_one(asked)
        return
    found = summary(run_all(asked))
    print_table(found)
    if asked.json is not None:
        asked.json.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
