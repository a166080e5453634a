"""Steps a second of our training loop beside a bare loop of the same network on random tensors.

    python experiments/benchmarks/training_speed.py --seconds 20 --rounds 3

Ours draws patches, augments them, computes loss, gradients and their norm, steps, averages the
weights and looks at the loss now and then: all that `run_trial` does between two evaluations. The
bare loop is forward, cross-entropy, backward, step, on one random batch that is there already. Both
have the same tree, shapes, layout and threads; they take turns (A B, A B, ...). Where other work
runs on the machine, the process's own CPU time tells more than the clock.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import tifffile
import torch
from torch.nn import functional

from emsearch.inference.device import pick_device, place, reproducible
from emsearch.networks.build import build
from emsearch.networks.compiled import compiled
from emsearch.networks.hybrid import StagedLogits
from emsearch.records.candidate import Recipe
from emsearch.records.dataset import Dataset
from emsearch.records.order import ImportOrder, TrainOrder
from emsearch.training.batches import open_batches
from emsearch.training.run import LOOK_EVERY, begin_training
from emsearch.trees.arithmetic import Limits, Target
from emsearch.trees.node import Tree
from emsearch.trees.presets import find_preset
from emsearch.volumes.importing import import_volume
from emsearch.volumes.phantom import CLASSES, VOXEL_NM, phantom

REAL = Path(__file__).parents[3] / "shared" / "data" / "drosophila_vnc"
Step = Callable[[], None]


def import_data(folder: Path) -> Dataset:
    """Return a small dataset: the fly's nerve cord where it lies beside the repository."""
    image, labels = folder / "image.tif", folder / "labels.tif"
    classes: tuple[str, ...] = CLASSES
    if REAL.is_dir():
        image, labels = REAL / "image.tif", REAL / "labels.tif"
        classes = ("intracellular", "membrane", "mitochondria", "synapse", "glia")
    else:
        arrays = phantom((20, 512, 512), seed=0)
        for path, array_ZYX in zip((image, labels), arrays, strict=True):
            tifffile.imwrite(path, array_ZYX, photometric="minisblack")
    order = ImportOrder(
        name="v",
        image=str(image),
        labels=str(labels),
        classes=classes,
        voxel_nm=VOXEL_NM,
        train=(0, 14),
    )
    return Dataset(classes=classes, volumes=(import_volume(order, folder, folder / "v.zarr"),))


def find_tree(asked: argparse.Namespace, recipe: Recipe, classes: int) -> Tree:
    """Return the tree of a preset; the baseline's width follows from `--max-step-s`."""
    target = Target(
        classes=classes,
        patch_zyx=recipe.patch_zyx,
        batch_size=recipe.batch_size,
        voxel_nm=VOXEL_NM,
    )
    limits = Limits(max_step_s=asked.max_step_s, gflops=200, gbytes_s=3.2)
    return find_preset(asked.preset).make(target, limits)


@contextmanager
def our_step(order: TrainOrder, folder: Path, device: torch.device) -> Iterator[Step]:
    """Yield a function that takes a step as a trial does."""
    with open_batches(order, folder, device) as batches:
        training = begin_training(order, batches, device)

        def step() -> None:
            training.advance(*batches(training.step))
            if training.step % LOOK_EVERY == 0:
                training.mean_loss()

        yield step


def bare_step(order: TrainOrder, tree: Tree, device: torch.device) -> Step:
    """Return a function that takes a step of the same network on a random batch."""
    recipe, classes = order.recipe, len(order.dataset.classes)
    network = place(build(tree, 1, classes, seed=0), device).train()
    run: Callable[..., Any] = compiled(network) if order.compile else network
    optimizer = torch.optim.AdamW(network.parameters(), recipe.learning_rate, fused=True)
    image_BCZYX = torch.randn(recipe.batch_size, 1, *recipe.patch_zyx, device=device)
    labels_BZYX = torch.randint(0, classes, image_BCZYX[:, 0].shape, device=device)
    is_mixed = device.type == "cuda" and torch.cuda.is_bf16_supported()
    taken = 0

    def step() -> None:
        nonlocal taken
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=is_mixed):
            output = run(image_BCZYX)
        logits = output.logits_BKZYX if isinstance(output, StagedLogits) else output
        loss = functional.cross_entropy(logits.float(), labels_BZYX)
        torch.autograd.backward([loss])
        optimizer.step()
        taken += 1
        if taken % LOOK_EVERY == 0:
            loss.item()

    return step


def measure(step: Step, seconds: float, device: torch.device) -> tuple[float, float]:
    """Return steps a second, and steps a second of this process's own CPU time."""
    for _ in range(3):
        step()
    _wait(device)
    start, start_cpu, done = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - start < seconds:
        step()
        done += 1
    _wait(device)
    return done / (time.perf_counter() - start), done / (time.process_time() - start_cpu)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def figures_of(asked: argparse.Namespace, folder: Path) -> dict[str, list[tuple[float, float]]]:
    """Return what `measure` gives of both loops, by round."""
    device = pick_device(asked.device)
    dataset = import_data(folder)
    recipe = Recipe(patch_zyx=tuple(asked.patch), batch_size=asked.batch, learning_rate=3e-3)
    tree = find_tree(asked, recipe, len(dataset.classes))
    order = TrainOrder(
        trial=1,
        tree=tree.to_dict(),
        recipe=recipe,
        seed=0,
        dataset=dataset,
        horizon=1_000_000,
        until_step=1_000_000,
        evaluate_at=(),
        compile=asked.compile,
        device=asked.device,
    )
    figures: dict[str, list[tuple[float, float]]] = {"emsearch": [], "bare loop": []}
    with reproducible(device), our_step(order, folder, device) as ours:
        bare = bare_step(order, tree, device)
        for _ in range(asked.rounds):
            figures["emsearch"].append(measure(ours, asked.seconds, device))
            figures["bare loop"].append(measure(bare, asked.seconds, device))
    return figures


def main() -> None:
    """Measure, print a table, and write the figures where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each loop in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--preset", default="baseline")
    parser.add_argument("--max-step-s", type=float, default=0.2, help="of the baseline, predicted")
    parser.add_argument(
        "--patch", type=int, nargs=3, default=(1, 128, 128), metavar=("Z", "Y", "X")
    )
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--json", type=Path, help="where the figures go")
    asked = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(asked.threads)
    torch.set_num_threads(asked.threads)
    with tempfile.TemporaryDirectory() as folder:
        figures = figures_of(asked, Path(folder))
    for number, clock in enumerate(("wall clock", "own CPU time")):
        rates = {name: [found[number] for found in of] for name, of in figures.items()}
        for name, of in rates.items():
            spread = f"{min(of):.2f} to {max(of):.2f}"
            print(f"{clock:12} {name:10} {statistics.median(of):7.2f} steps/s  ({spread})")
        ratios = [a / b for a, b in zip(rates["emsearch"], rates["bare loop"], strict=True)]
        told = ", ".join(f"{ratio:.3f}" for ratio in ratios)
        print(f"{clock:12} ours is {statistics.median(ratios):.3f} of the bare loop ({told})")
    if torch.cuda.is_available():
        print(f"peak memory of the device: {torch.cuda.max_memory_allocated() / 1e9:.2f} GB")
    if asked.json is not None:
        asked.json.write_text(json.dumps({"asked": vars(asked), "figures": figures}, default=str))


if __name__ == "__main__":
    main()
