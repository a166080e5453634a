"""Voxels a second and memory of segmenting, beside the bare forward pass and MONAI.

python experiments/benchmarks/segmentation.py speed [--json]
python experiments/benchmarks/segmentation.py seams [--json]
python experiments/benchmarks/segmentation.py memory --sections 200 400 [--json]

`speed` compares in one run, in turns (A B C A B C), medians of the rounds:
- an exact network (batch norm) through `emsearch segment`, from Zarr to Zarr, with the forward pass
  alone over the same windows, in memory: of the network as it was trained, and of the one that
  segmenting runs, whose batch norms are folded into its convolutions;
- a network that sees its window (instance norm) through the same with Gaussian blending, with
  MONAI's sliding_window_inference at overlap 0.5 and 0.25 and the same windows; MONAI is given the
  same network and the whole image in memory and gives labels there: nothing is read or written.
MONAI is imported where it is found; PYTHONPATH may point to it.

`seams` tiles random networks in their smallest tiles and compares with the prediction of the whole
volume at once: batch normalisation, fixed at inference, against instance and group normalisation,
whose tiles are blended windows of the training patch.

`memory` segments 2,000 x 2,000 x SECTIONS voxels, made on the fly as a Zarr volume, with a tiny
network of seven classes, over two processes, and watches all of them.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
import zarr
from numpy.typing import NDArray
from torch import nn

from emsearch.ensembles.package import pack
from emsearch.inference.box import Box
from emsearch.inference.card import Card, PackedMember
from emsearch.inference.device import keep_memory, pick_device, place
from emsearch.inference.ensemble import Ensemble, load_ensemble
from emsearch.inference.predict import Predictor
from emsearch.inference.stream import segment
from emsearch.inference.tiles import plan_tiling, tiles_of
from emsearch.networks.build import build
from emsearch.records.order import SegmentOrder
from emsearch.trees.arithmetic import Limits, Target, describe
from emsearch.trees.baseline import baseline
from emsearch.trees.grow import Sketch, grown
from emsearch.trees.node import Tree
from emsearch.trees.sample import draw
from emsearch.trees.space import Space, make_space
from emsearch.volumes.dataset import mirrored

CLASSES = tuple(f"class {number}" for number in range(7))
VOXEL_NM = (40.0, 4.0, 4.0)
PATCH = (1, 128, 128)


def network(parameters: int) -> Tree:
    """Return the baseline of a size: a 2-D residual U-Net with batch normalisation."""
    target = Target(classes=len(CLASSES), patch_zyx=PATCH, voxel_nm=VOXEL_NM)
    return baseline(target, Limits(max_parameters=parameters))


def tiny() -> Tree:
    """Return a U-Net of one level and four kernels: the rest of the work is what is measured."""
    values: dict[str, float | int | str] = {
        "dimensions": 2,
        "levels": 1,
        "width": 4,
        "normalisation": "batch",
        "pool": "max",
    }
    return Tree("tiny", grown(Sketch(kind="network", values=values)))


def write_ensemble(folder: Path, tree: Tree) -> None:
    """Write an ensemble of one network that was never trained."""
    weights = folder.with_name("weights.pt")
    torch.save(build(tree, 1, len(CLASSES), 0).state_dict(), weights)
    member = PackedMember(
        weights="", sha256="", weight=1.0, tree=tree.to_dict(), patch_zyx=PATCH, trial=0
    )
    card = Card(
        name="benchmark",
        classes=CLASSES,
        voxel_nm=VOXEL_NM,
        mean=128.0,
        std=40.0,
        members=(member,),
        method="single",
        scores={},
        emsearch="",
        torch=torch.__version__,
    )
    pack(folder, card, [weights])


def write_volume(path: Path, shape: tuple[int, int, int]) -> None:
    """Write a volume of smooth noise, section by section."""
    array = zarr.create_group(path).create_array(
        "0", shape=shape, chunks=(16, 128, 128), dtype=np.uint8
    )
    rng = np.random.default_rng(0)
    _, height, width = shape
    for first in range(0, shape[0], 16):
        coarse = rng.integers(0, 255, (min(16, shape[0] - first), height // 4, width // 4))
        array[first : first + 16] = coarse.repeat(4, 1).repeat(4, 2).astype(np.uint8)


def bare(ensemble: Ensemble, network: nn.Module, image_ZYX: NDArray[np.uint8]) -> None:
    """Run a network's forward pass alone over the windows that segmenting would look at."""
    (member,) = ensemble.committee.members
    z, y, x = image_ZYX.shape
    read = ensemble.reader(image_ZYX)
    size = ensemble.committee.block_zyx((z, y, x))
    windows = {}
    for start in range(0, z, size[0]):
        block = Box(start_zyx=(start, 0, 0), stop_zyx=(min(start + size[0], z), y, x))
        for tile in tiles_of(member.tiling, (z, y, x), block):
            shape = tile.window.shape_zyx
            if shape not in windows:
                windows[shape] = torch.from_numpy(read(tile.window))[None, None]
            with torch.inference_mode():
                network(windows[shape])


def network_of(ensemble: Ensemble) -> Predictor:
    """Return the only member of an ensemble."""
    (member,) = ensemble.committee.members
    return member.opened()


def monai(ensemble: Ensemble, image_ZYX: NDArray[np.uint8], overlap: float) -> Any:
    """Return what MONAI's sliding windows come to: labels of the mean of probabilities."""
    from monai.inferers import sliding_window_inference

    member = network_of(ensemble)
    normal = (image_ZYX.astype(np.float32) - ensemble.card.mean) / ensemble.card.std
    with torch.inference_mode():
        said: Any = sliding_window_inference(
            torch.from_numpy(normal)[None, None],
            roi_size=member.tiling.window_zyx,
            sw_batch_size=1,
            predictor=lambda window: torch.softmax(member.network(window), 1),
            overlap=overlap,
            mode="gaussian",
            padding_mode="reflect",
        )
    return said[0].argmax(0).to(torch.uint8)


def as_trained(tree: Tree, weights: Path) -> nn.Module:
    """Return a network as it was trained, in evaluation mode: nothing is folded."""
    made = build(tree, 1, len(CLASSES), 0)
    made.load_state_dict(torch.load(weights, weights_only=True))
    return place(made.eval(), pick_device("cpu"))


def in_turns(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each way in each round; one round before does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            if turn:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def speed(
    shape: tuple[int, int, int], part: tuple[int, int, int], parameters: int, rounds: int
) -> list[dict[str, Any]]:
    """Return voxels a second of all ways; the slower blended ones are given a part alone."""
    keep_memory()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_ensemble(folder / "ensemble", network(parameters))
        write_volume(folder / "volume.zarr", shape)
        image_ZYX = np.asarray(zarr.open_group(folder / "volume.zarr", mode="r")["0"][:])  # type: ignore[index]
        part_ZYX = np.ascontiguousarray(image_ZYX[tuple(slice(0, n) for n in part)])
        exact = load_ensemble(folder / "ensemble", "cpu")
        trained = as_trained(network(parameters), folder / "ensemble" / "members" / "00.pt")
        halves = {overlap: blended(exact, overlap) for overlap in (0.5, 0.25)}
        turn = iter(range(1 << 30))

        def stream() -> None:
            segment(
                SegmentOrder(
                    ensemble=str(folder / "ensemble"),
                    volume=str(folder / "volume.zarr" / "0"),
                    out=str(folder / f"out{next(turn)}.zarr"),
                    device="cpu",
                    voxel_nm=VOXEL_NM,
                ),
                lambda _done, _of: None,
            )

        ways: dict[str, Callable[[], object]] = {
            "exact: emsearch segment, Zarr to Zarr": stream,
            "exact: bare forward pass": lambda: bare(exact, trained, image_ZYX),
            "exact: bare forward pass, batch norms folded": lambda: bare(
                exact, network_of(exact).network, image_ZYX
            ),
        }
        for overlap, ensemble in halves.items():
            ways |= {
                f"blended {overlap}: emsearch": lambda e=ensemble: e.segment(part_ZYX),  # type: ignore[misc]
                f"blended {overlap}: bare forward pass": lambda e=ensemble: bare(
                    e, trained, part_ZYX
                ),  # type: ignore[misc]
                f"blended {overlap}: MONAI": lambda e=ensemble, o=overlap: monai(e, part_ZYX, o),  # type: ignore[misc]
            }
        seconds = in_turns(ways, rounds)
    return [
        {
            "way": name,
            "megavoxels_s": float(np.prod(shape if name.startswith("exact") else part))
            / statistics.median(took)
            / 1e6,
            "seconds": [round(one, 2) for one in took],
        }
        for name, took in seconds.items()
    ]


def blended(ensemble: Ensemble, overlap: float) -> Ensemble:
    """Return the ensemble with windows of the patch's shape that overlap, as MONAI's do."""
    member = network_of(ensemble)
    step = tuple(max(round(size * (1 - overlap)), 1) for size in PATCH)
    tiling = replace(
        member.tiling,
        step_zyx=(step[0], step[1], step[2]),
        margin_zyx=(0, 0, 0),
        border_zyx=(0, 0, 0),
        window_zyx=PATCH,
    )
    predictor = Predictor(
        network=member.network,
        tiling=tiling,
        classes=len(CLASSES),
        device=pick_device("cpu"),
    )
    return replace(ensemble, committee=replace(ensemble.committee, members=(predictor,)))


def seams(networks: int) -> list[dict[str, Any]]:
    """Return how far tiles are from the prediction of the whole volume."""
    deep = Target(classes=3, patch_zyx=(8, 32, 32), voxel_nm=(20, 10, 10))
    flat = Target(classes=3, patch_zyx=(1, 64, 64), voxel_nm=(50, 5, 5))
    cases = (
        ("encoder_decoder_2d", flat, (2, 256, 256)),
        ("encoder_decoder_3d", deep, (16, 64, 96)),
    )
    rows = []
    for (family, target, volume), norm in product(cases, ("batch", "instance", "group")):
        space = make_space([family], {"normalisation": [norm]})
        found = [_seam(space, target, volume, number) for number in range(networks)]
        largest, mean, labels = (statistics.fmean(column) for column in zip(*found, strict=True))
        rows.append(
            {
                "family": family,
                "normalisation": norm,
                "networks": networks,
                "largest difference": max(one[0] for one in found),
                "its mean over networks": largest,
                "mean difference": mean,
                "other labels": f"{labels:.2%}",
            }
        )
    return rows


def _seam(
    space: Space, target: Target, volume: tuple[int, int, int], number: int
) -> tuple[float, float, float]:
    """Return largest and mean difference of probabilities, and the part of labels that differ."""
    tree = draw(space, 5, number, target, Limits(max_parameters=60_000)).tree
    network = build(tree, 1, 3, seed=number)
    generator = torch.Generator().manual_seed(number)
    with torch.no_grad():
        for _ in range(3):  # statistics as after some training
            network.train()(torch.randn(2, 1, *target.patch_zyx, generator=generator))
    network.eval()
    facts = describe(tree, target)
    image_ZYX = np.random.default_rng(number).standard_normal(volume).astype(np.float32)
    predictor = Predictor(
        network=network,
        tiling=plan_tiling(facts, target.patch_zyx, budget_bytes=1),
        classes=3,
        device=pick_device("cpu"),
    )
    box = Box.whole(volume)
    tiled = predictor.probability(lambda part: mirrored(image_ZYX, part.ranges), volume, box)
    border = predictor.tiling.border_zyx
    padded = mirrored(image_ZYX, box.grown(border).ranges)
    with torch.inference_mode():
        whole = torch.softmax(network(torch.from_numpy(padded)[None, None])[0], 0).numpy()
    kept = tuple(slice(n, n + length) for n, length in zip(border, volume, strict=True))
    difference = np.abs(tiled - whole[:, *kept])
    others = (tiled.argmax(0) != whole[:, *kept].argmax(0)).mean()
    return float(difference.max()), float(difference.mean()), float(others)


def memory(sections: Sequence[int], width: int, jobs: int) -> list[dict[str, Any]]:
    """Return the peak memory of all processes, for volumes of so many sections."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_ensemble(folder / "ensemble", tiny())
        for depth in sections:
            volume = folder / f"volume{depth}.zarr"
            write_volume(volume, (depth, width, width))
            arguments = ["segment", folder / "ensemble", volume / "0", folder / f"out{depth}.zarr"]
            options = ["--voxel", "40,4,4", "--device", "cpu", "--executor", "local"]
            began = time.perf_counter()
            peak = watch([*map(str, arguments), *options, "--jobs", str(jobs)])
            took = time.perf_counter() - began
            rows.append(
                {
                    "sections": depth,
                    "gigavoxels": depth * width**2 / 1e9,
                    "peak_gb": peak / 1e9,
                    "seconds": took,
                    "megavoxels_s": depth * width**2 / took / 1e6,
                }
            )
            print(rows[-1], file=sys.stderr, flush=True)  # the next one takes minutes
    return rows


def watch(arguments: Sequence[str]) -> int:
    """Run emsearch and return the most bytes that it and its children held at once.

    Pages that processes share, such as torch's code, are counted once: proportional set sizes.
    """
    command = [sys.executable, "-c", "from emsearch.cli import main; main()", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    watched = psutil.Process(process.pid)
    peak = 0
    while process.poll() is None:
        held = 0
        for one in (watched, *watched.children(recursive=True)):
            try:
                held += one.memory_full_info().pss
            except psutil.Error:
                continue  # it has just ended
        peak = max(peak, held)
        time.sleep(0.05)
    assert process.returncode == 0
    return peak


def show(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    """Print rows as JSON or as a Markdown table."""
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    print("| " + " | ".join(rows[0]) + " |")
    print("|" + " --- |" * len(rows[0]))
    for row in rows:
        cells = (f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values())
        print("| " + " | ".join(cells) + " |")


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("what", choices=["speed", "seams", "memory"])
    parser.add_argument("--shape", type=int, nargs=3, default=(4, 1024, 1024))
    parser.add_argument("--part", type=int, nargs=3, default=(1, 512, 512))
    parser.add_argument("--parameters", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--networks", type=int, default=4)
    parser.add_argument("--sections", type=int, nargs="+", default=[200, 400])
    parser.add_argument("--width", type=int, default=2000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    if asked.what == "speed":
        rows = speed(tuple(asked.shape), tuple(asked.part), asked.parameters, asked.rounds)
    elif asked.what == "seams":
        rows = seams(asked.networks)
    else:
        rows = memory(asked.sections, asked.width, asked.jobs)
    show(rows, as_json=asked.json)


if __name__ == "__main__":
    main()
