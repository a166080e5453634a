"""Where channels_last and torch.compile pay, and what an iteration of the CRF-RNN takes.

Run it as `python experiments/benchmarks/networks.py [--device cuda] [--json]`. `crfseg` and MONAI's
CRF are timed beside ours where they are installed and run.
"""

import argparse
import importlib
import json
import platform
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from emsearch.networks.build import build
from emsearch.networks.compiled import compiled
from emsearch.networks.convolution import Conv3d
from emsearch.networks.crf import CrfRnn, Window
from emsearch.networks.hybrid import StagedLogits
from emsearch.networks.layout import channels_last
from emsearch.trees.arithmetic import Limits, Target, describe
from emsearch.trees.families import FAMILIES
from emsearch.trees.sample import draw
from emsearch.trees.space import make_space

LIMITS = Limits(max_parameters=2_000_000)
CLASSES, SIZE = 7, (8, 96, 96)
Row = dict[str, Any]
Run = Callable[[], object]


def medians_s(runs: dict[str, Run], device: str, repeats: int) -> dict[str, float]:
    """Return the median time of each, in runs that take turns, after one of each to warm up."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats + 1):
        for name, run in runs.items():
            start_s = time.perf_counter()
            run()
            if device == "cuda":
                torch.cuda.synchronize()
            times[name].append(time.perf_counter() - start_s)
    return {name: median(taken[1:]) for name, taken in times.items()}


def step_of(network: Callable[[Tensor], Any], image: Tensor) -> Run:
    """Return a function that runs forward and backward once."""

    def step() -> None:
        found = network(image)
        logits = torch.cat(found[:2]) if isinstance(found, StagedLogits) else found
        logits.square().mean().backward()

    return step


def measure_layouts(family: str, device: str, repeats: int, *, is_compiled: bool) -> Row:
    """Time training steps of one network of a family, as it is, channels last, and compiled."""
    target = Target(classes=CLASSES, patch_zyx=(4, 128, 128), voxel_nm=(40, 10, 10))
    tree = draw(make_space([family], {"width": [16, 32]}), 1, 0, target, LIMITS).tree
    image = torch.rand(2, 1, *target.patch_zyx, device=device)
    plain, last, other = (build(tree, 1, CLASSES, 0).to(device) for _ in range(3))
    runs = {"plain": step_of(plain, image), "last": step_of(channels_last(last), image)}
    start_s = time.perf_counter()
    if is_compiled:
        runs["compiled"] = step_of(compiled(other), image)
        runs["compiled"]()
    compile_s = time.perf_counter() - start_s
    took_s = medians_s(runs, device, repeats)
    row: Row = {
        "family": family,
        "parameters": describe(tree, target).parameters,
        "plain_s": round(took_s["plain"], 4),
        "channels_last": f"{took_s['plain'] / took_s['last']:.2f}x",
    }
    if is_compiled:
        row["compiled"] = f"{took_s['plain'] / took_s['compiled']:.2f}x"
        row["compile_s"] = round(compile_s, 1)
    return row


def measure_lone(device: str, repeats: int) -> list[Row]:
    """Time training steps of three 3x3x3 convolutions over one patch: torch's own, and ours."""
    rows: list[Row] = []
    for channels, size in ((16, (4, 64, 64)), (32, (8, 48, 48)), (8, (16, 64, 64))):
        image = torch.rand(1, channels, *size, device=device)
        took_s = medians_s(
            {
                kind.__module__: step_of(_chain(kind, channels).to(device), image)
                for kind in (nn.Conv3d, Conv3d)
            },
            device,
            repeats,
        )
        torchs_s, ours_s = took_s.values()
        patch = "x".join(map(str, size))
        rows.append(
            {
                "channels": channels,
                "patch": patch,
                "torch_s": round(torchs_s, 4),
                "ours": f"{torchs_s / ours_s:.2f}x",
            }
        )
    return rows


def _chain(kind: type[nn.Conv3d], channels: int) -> nn.Module:
    layers = [(kind(channels, channels, 3, padding=1), nn.ReLU(inplace=True)) for _ in range(3)]
    return nn.Sequential(*(part for pair in layers for part in pair))


def measure_crf(device: str, repeats: int) -> list[Row]:
    """Time an iteration over a window of 3x7x7 beside a convolution and other CRFs.

    What an iteration takes is a quarter of the difference between five and one.
    """
    logits = torch.randn(1, CLASSES, *SIZE, device=device)
    image = torch.randn(1, 1, *SIZE, device=device)
    single, rows = "3x3x3 convolution", list[Row]()
    runs: dict[str, Run] = {single: _on(_convolution(device), logits)}
    for name, make in _fields(logits, image).items():
        try:
            tried = {f"{name}/{count}": make(count) for count in (1, 5)}
            medians_s(tried, device, 1)
        except (RuntimeError, ImportError, TypeError) as error:
            rows.append({"what": name, "s": f"does not run: {error}"[:70]})
            continue
        runs |= tried
    took_s = medians_s(runs, device, repeats)
    found = {single: took_s[single]}
    for name in dict.fromkeys(key.rpartition("/")[0] for key in runs if key != single):
        found[name] = (took_s[f"{name}/5"] - took_s[f"{name}/1"]) / 4
    timed = [
        {"what": name, "s": round(s, 4), "convolutions": f"{s / took_s[single]:.1f}"}
        for name, s in found.items()
    ]
    return [*timed, *rows]


def _convolution(device: str) -> nn.Module:
    return Conv3d(CLASSES, CLASSES, 3, padding=1).to(device)


def _fields(logits: Tensor, image: Tensor) -> dict[str, Callable[[int], Run]]:
    """Return makers, from a number of iterations, of what runs a CRF once: ours and others'."""
    found: dict[str, Callable[[int], Run]] = {
        "CRF-RNN, an iteration": lambda count: _on(
            CrfRnn(CLASSES, Window((1, 3, 3), 4.0), count).to(logits.device), logits, image
        )
    }
    try:
        crfseg = importlib.import_module("crfseg")
        found["crfseg, spatial alone, an iteration"] = lambda count: _on(
            crfseg.CRF(n_spatial_dims=3, filter_size=7, n_iter=count).to(logits.device), logits
        )
    except ImportError:
        pass
    try:
        blocks = importlib.import_module("monai.networks.blocks")
        found["MONAI CRF, an iteration"] = lambda count: _on(
            blocks.CRF(iterations=count), logits, image
        )
    except ImportError:
        pass
    return found


def _on(module: nn.Module, *given: Tensor) -> Run:
    def run() -> object:
        with torch.no_grad():
            return module(*given)

    return run


def _print(rows: list[Row]) -> None:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    print("| " + " | ".join(columns) + " |")
    print("|" + "---|" * len(columns))
    for row in rows:
        print("| " + " | ".join(str(row.get(column, "")) for column in columns) + " |")


def main() -> None:
    """Run it all and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--families", nargs="*", default=list(FAMILIES))
    parser.add_argument("--compiled", nargs="*", default=list(FAMILIES), help="those to compile")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    given = parser.parse_args()
    torch.set_num_threads(1)
    device, repeats = given.device, given.repeats
    tables = {
        "layouts": [
            measure_layouts(family, device, repeats, is_compiled=family in given.compiled)
            for family in given.families
        ],
        "lone": measure_lone(device, repeats),
        "crf": measure_crf(device, repeats),
    }
    if given.json:
        told = {"torch": torch.__version__, "python": platform.python_version(), "device": device}
        print(json.dumps({**told, **tables}))
        return
    for rows in tables.values():
        _print(rows)
        print()


if __name__ == "__main__":
    main()
