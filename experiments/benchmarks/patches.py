"""Patches a second: our sampler and augmentation beside MONAI and batchgeneratorsv2.

    pip install monai batchgeneratorsv2
    python experiments/benchmarks/patches.py --seconds 20 --rounds 3

All three do the same work in one process with the same number of threads, on the same volume in
memory: draw class-balanced patches, reflect and turn them, rotate, scale and bend them, change
contrast, gamma, sharpness and noise, each as often and about as strongly; and stack a batch. What
only ours does (lost sections, stripes, shot noise, cut-outs) is off, and so is what only a peer
does (metadata, keeping a patch's statistics). Peers are given the volume normalised; ours
normalises what it reads. Systems take turns (A B C, A B C, ...); the table gives medians.
"""

# mypy: disable-error-code="import-not-found,import-untyped"

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import tifffile
import torch

from emsearch.records.dataset import Dataset
from emsearch.records.order import ImportOrder
from emsearch.records.policy import Policy
from emsearch.volumes.augment import PROBABILITY, augment
from emsearch.volumes.importing import import_volume
from emsearch.volumes.phantom import CLASSES, VOXEL_NM, phantom
from emsearch.volumes.sample import PatchSampler

MakeBatch = Callable[[int], tuple[torch.Tensor, torch.Tensor]]
REAL = Path(__file__).parents[3] / "shared" / "data" / "drosophila_vnc"
TURN, SCALE = 0.35, (0.82, 1.22)


class Work:
    """The volume that all draw from, and the shape of what they draw."""

    def __init__(self, folder: Path, patch_zyx: tuple[int, int, int], batch: int) -> None:
        image = folder / "image.tif"
        if REAL.is_dir() and patch_zyx[0] == 1:
            self.image_ZYX = tifffile.imread(REAL / "image.tif")[:14]
            self.labels_ZYX = tifffile.imread(REAL / "labels.tif")[:14]
            self.classes: tuple[str, ...] = ("intracellular", "membrane", "mito", "synapse", "glia")
        else:
            self.image_ZYX, self.labels_ZYX = phantom((48, 384, 384), seed=0)
            self.classes = CLASSES
        tifffile.imwrite(image, self.image_ZYX, photometric="minisblack")
        tifffile.imwrite(folder / "labels.tif", self.labels_ZYX, photometric="minisblack")
        self.patch_zyx, self.batch, self.folder = patch_zyx, batch, folder
        self.is_flat = patch_zyx[0] == 1
        grey = self.image_ZYX.astype(np.float32)
        self.normalised_ZYX = (grey - grey.mean()) / grey.std()


def emsearch(work: Work) -> MakeBatch:
    """Return ours, with what the others lack switched off."""
    order = ImportOrder(
        name="v",
        image=str(work.folder / "image.tif"),
        labels=str(work.folder / "labels.tif"),
        classes=work.classes,
        voxel_nm=VOXEL_NM,
        train=(0, len(work.image_ZYX)),
    )
    record = import_volume(order, work.folder, work.folder / "v.zarr")
    dataset = Dataset(classes=work.classes, volumes=(record,))
    sampler = PatchSampler(dataset, work.folder, work.patch_zyx, work.batch, seed=0)
    off = ("poisson", "stripes", "missing_section", "missing_part", "cutout", "misalign")
    policy = Policy(**dict.fromkeys(off, 0.0))

    def make(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        image, labels = (torch.from_numpy(values) for values in sampler.batch(step))
        return augment(image, labels, strength=1.0, seed=step, policy=policy)

    return make


def monai(work: Work) -> MakeBatch:
    """Return MONAI's dictionary transforms, with the places of the classes computed beforehand."""
    from monai import transforms as t
    from monai.data import set_track_meta

    set_track_meta(False)
    keys, modes = ["image", "labels"], ["bilinear", "nearest"]
    spatial: dict[str, Any] = {"keys": keys, "mode": modes, "padding_mode": "reflection"}
    size = work.patch_zyx[1:] if work.is_flat else work.patch_zyx
    turn = TURN if work.is_flat else (TURN, 0.0, 0.0)
    change = t.Compose(
        [
            t.RandCropByLabelClassesd(
                keys,
                label_key="labels",
                spatial_size=size,
                num_classes=len(work.classes),
                num_samples=1,
                indices_key="places",
                warn=False,
            ),
            *[t.RandFlipd(keys, prob=0.5, spatial_axis=axis) for axis in range(len(size))],
            t.RandRotate90d(keys, prob=0.5, max_k=1, spatial_axes=(-2 % len(size), -1 % len(size))),
            t.RandAffined(
                **spatial, prob=PROBABILITY["affine"], rotate_range=turn, scale_range=0.2
            ),
            _monai_elastic(work, spatial),
            t.RandScaleIntensityd("image", factors=0.2, prob=PROBABILITY["contrast"]),
            t.RandShiftIntensityd("image", offsets=0.2, prob=PROBABILITY["contrast"]),
            t.RandAdjustContrastd("image", prob=PROBABILITY["gamma"], gamma=(0.75, 1.35)),
            t.RandGaussianSmoothd(
                "image", (0.4, 1.2), (0.4, 1.2), (0.4, 1.2), prob=PROBABILITY["blur"]
            ),
            t.RandGaussianNoised("image", prob=PROBABILITY["noise"], std=0.2),
        ]
    )
    change.set_random_state(0)
    items = _monai_items(work)
    rng = np.random.default_rng(0)

    def make(_step: int) -> tuple[torch.Tensor, torch.Tensor]:
        done = [change(items[int(rng.integers(len(items)))])[0] for _ in range(work.batch)]
        labels = torch.stack([one["labels"] for one in done])[:, 0]
        return torch.stack([one["image"] for one in done]), labels

    return make


def _monai_elastic(work: Work, spatial: dict[str, Any]) -> Any:
    from monai import transforms as t

    if work.is_flat:
        return t.Rand2DElasticd(
            **spatial, prob=PROBABILITY["elastic"], spacing=(32, 32), magnitude_range=(1, 3)
        )
    return t.Rand3DElasticd(
        **spatial, prob=PROBABILITY["elastic"], sigma_range=(5, 7), magnitude_range=(50, 100)
    )


def _monai_items(work: Work) -> list[dict[str, Any]]:
    from monai import transforms as t

    places = t.ClassesToIndicesd("labels", num_classes=len(work.classes), indices_postfix="_at")
    volumes = (
        [(work.normalised_ZYX[z], work.labels_ZYX[z]) for z in range(len(work.labels_ZYX))]
        if work.is_flat
        else [(work.normalised_ZYX, work.labels_ZYX)]
    )
    items = []
    for image, labels in volumes:
        item = places(
            {"image": torch.from_numpy(image)[None], "labels": torch.from_numpy(labels)[None]}
        )
        items.append({**item, "places": item["labels_at"]})
    return items


def batchgenerators(work: Work) -> MakeBatch:
    """Return batchgeneratorsv2 as nnU-Net uses it, behind a crop that forces a class."""
    from batchgeneratorsv2.transforms.intensity.brightness import MultiplicativeBrightnessTransform
    from batchgeneratorsv2.transforms.intensity.contrast import ContrastTransform
    from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
    from batchgeneratorsv2.transforms.intensity.gaussian_noise import GaussianNoiseTransform
    from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
    from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
    from batchgeneratorsv2.transforms.spatial.rot90 import Rot90Transform
    from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
    from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
    from batchgeneratorsv2.transforms.utils.random import RandomTransform

    size = work.patch_zyx[1:] if work.is_flat else work.patch_zyx
    last = {len(size) - 2, len(size) - 1}
    # Turned, scaled, or both: as often together as ours is turned and scaled.
    either = 1 - (1 - PROBABILITY["affine"]) ** 0.5
    change = ComposeTransforms(
        [
            SpatialTransform(
                size,
                patch_center_dist_from_border=0,
                random_crop=False,
                p_elastic_deform=PROBABILITY["elastic"],
                p_rotation=either,
                rotation=(-TURN, TURN),
                p_scaling=either,
                scaling=SCALE,
                mode_seg="nearest",
            ),
            RandomTransform(Rot90Transform(1, (1,), last), 0.5),
            MirrorTransform(tuple(range(len(size)))),
            RandomTransform(GaussianNoiseTransform((0, 0.1)), PROBABILITY["noise"]),
            RandomTransform(GaussianBlurTransform((0.4, 1.2)), PROBABILITY["blur"]),
            RandomTransform(
                MultiplicativeBrightnessTransform((0.75, 1.25), synchronize_channels=False),
                PROBABILITY["contrast"],
            ),
            RandomTransform(
                ContrastTransform((0.75, 1.25), preserve_range=False, synchronize_channels=False),
                PROBABILITY["contrast"],
            ),
            RandomTransform(GammaTransform((0.75, 1.35), 0, False, 1, 0), PROBABILITY["gamma"]),
        ]
    )
    rng = np.random.default_rng(0)
    places = [np.argwhere(work.labels_ZYX == number) for number in range(len(work.classes))]

    def crop() -> tuple[torch.Tensor, torch.Tensor]:
        voxel = places[int(rng.integers(len(places)))]
        middle = voxel[int(rng.integers(len(voxel)))]
        box = []
        for at, want, there in zip(middle, work.patch_zyx, work.image_ZYX.shape, strict=True):
            first = min(max(int(at) - want // 2, 0), there - want)
            box.append(slice(first, first + want))
        patch = [work.normalised_ZYX[tuple(box)], work.labels_ZYX[tuple(box)].astype(np.int16)]
        image, labels = (torch.from_numpy(values.copy()) for values in patch)
        return (image, labels) if work.is_flat else (image[None], labels[None])

    def make(_step: int) -> tuple[torch.Tensor, torch.Tensor]:
        done = []
        for _ in range(work.batch):
            image, labels = crop()
            done.append(change(image=image, segmentation=labels))
        labels_BZYX = torch.stack([one["segmentation"] for one in done])[:, 0]
        return torch.stack([one["image"] for one in done]), labels_BZYX

    return make


SYSTEMS: dict[str, Callable[[Work], MakeBatch]] = {
    "emsearch": emsearch,
    "monai": monai,
    "batchgeneratorsv2": batchgenerators,
}


def measure(make: MakeBatch, batch: int, seconds: float) -> tuple[float, float]:
    """Return patches a second, and a second of the process's own CPU time; after a warm-up."""
    for step in range(3):
        make(step)
    start, start_cpu, done = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - start < seconds:
        make(done + 3)
        done += 1
    made = done * batch
    return made / (time.perf_counter() - start), made / (time.process_time() - start_cpu)


def print_rates(clock: str, rates: dict[str, list[float]]) -> None:
    """Print the medians, and how far ours is ahead of the better peer."""
    medians = {name: statistics.median(of) for name, of in rates.items()}
    best = max(rate for name, rate in medians.items() if name != "emsearch")
    for name, rate in medians.items():
        spread = f"{min(rates[name]):.0f} to {max(rates[name]):.0f}"
        print(f"{clock:12} {name:18} {rate:8.1f} patches/s  ({spread})")
    print(f"{clock:12} ours is {medians['emsearch'] / best:.2f} x the better of the two")


def main() -> None:
    """Measure, print a table, and write the figures where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each system in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--patch", type=int, nargs=3, default=(1, 256, 256), metavar=("Z", "Y", "X")
    )
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="where the figures go")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    figures: dict[str, list[tuple[float, float]]] = {name: [] for name in SYSTEMS}
    with tempfile.TemporaryDirectory() as folder:
        work = Work(Path(folder), tuple(asked.patch), asked.batch)
        makers = {name: build(work) for name, build in SYSTEMS.items()}
        for _ in range(asked.rounds):
            for name, make in makers.items():
                figures[name].append(measure(make, asked.batch, asked.seconds))
    for number, clock in enumerate(("wall clock", "own CPU time")):
        print_rates(clock, {name: [one[number] for one in of] for name, of in figures.items()})
    if asked.json is not None:
        asked.json.write_text(json.dumps({"asked": vars(asked), "figures": figures}, default=str))


if __name__ == "__main__":
    main()
