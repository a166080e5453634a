"""Where channels_last and torch.compile pay, and what an iteration of the CRF-RNN takes.

Run it as `python experiments/benchmarks/networks.py [--device cuda]`; it prints tables and, last,
a line of JSON. `crfseg` and MONAI's CRF are timed beside ours where they are installed and run.
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


def median_s(run: Callable[[], object], device: str, repeats: int) -> float:
    """Return the median time of a run after one to warm up."""
    times = []
    for _ in range(repeats + 1):
        start_s = time.perf_counter()
        run()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start_s)
    return median(times[1:])


def step_of(network: Callable[[Tensor], Any], image: Tensor) -> Callable[[], object]:
    """Return a function that runs forward and backward once."""

    def step() -> None:
        found = network(image)
        logits = torch.cat(found[:2]) if isinstance(found, StagedLogits) else found
        logits.square().mean().backward()

    return step


def measure_layouts(family: str, device: str, repeats: int) -> Row:
    """Time training steps of one network of a family, as it is, channels last, and compiled."""
    target = Target(classes=CLASSES, patch_zyx=(4, 128, 128), voxel_nm=(40, 10, 10))
    tree = draw(make_space([family], {"width": [16, 32]}), 1, 0, target, LIMITS).tree
    image = torch.rand(2, 1, *target.patch_zyx, device=device)
    plain_s = median_s(step_of(build(tree, 1, CLASSES, 0).to(device), image), device, repeats)
    last = channels_last(build(tree, 1, CLASSES, 0).to(device))
    last_s = median_s(step_of(last, image), device, repeats)
    start_s = time.perf_counter()
    compiled = torch.compile(build(tree, 1, CLASSES, 0).to(device))
    step_of(compiled, image)()
    compile_s = time.perf_counter() - start_s
    compiled_s = median_s(step_of(compiled, image), device, repeats)
    return {
        "family": family,
        "parameters": describe(tree, target).parameters,
        "plain_s": round(plain_s, 4),
        "channels_last": f"{plain_s / last_s:.2f}x",
        "compiled": f"{plain_s / compiled_s:.2f}x",
        "compile_s": round(compile_s, 1),
    }


def measure_crf(device: str, repeats: int) -> list[Row]:
    """Time one iteration over a window of 3x7x7 beside a convolution, and other CRFs."""
    logits = torch.randn(1, CLASSES, *SIZE, device=device)
    image = torch.randn(1, 1, *SIZE, device=device)
    ours = CrfRnn(CLASSES, Window((1, 3, 3), 4.0), 1).to(device)
    runs: dict[str, Callable[[], object]] = {
        "3x3x3 convolution": _on(nn.Conv3d(CLASSES, CLASSES, 3, padding=1).to(device), logits),
        "CRF-RNN, one iteration": _on(ours, logits, image),
        **_peers(logits, image),
    }
    rows: list[Row] = []
    for name, run in runs.items():
        try:
            took_s = median_s(run, device, repeats)
        except (RuntimeError, ImportError) as error:
            rows.append({"what": name, "s": f"does not run: {error}"[:80]})
            continue
        rows.append({"what": name, "s": round(took_s, 4)})
    return rows


def _on(module: nn.Module, *given: Tensor) -> Callable[[], object]:
    def run() -> object:
        with torch.no_grad():
            return module(*given)

    return run


def _peers(logits: Tensor, image: Tensor) -> dict[str, Callable[[], object]]:
    found: dict[str, Callable[[], object]] = {}
    try:
        crfseg = importlib.import_module("crfseg")
        found["crfseg, spatial alone, one iteration"] = _on(
            crfseg.CRF(n_spatial_dims=3, filter_size=7, n_iter=1).to(logits.device), logits
        )
    except ImportError:
        pass
    try:
        blocks = importlib.import_module("monai.networks.blocks")
        found["MONAI CRF, one iteration"] = _on(blocks.CRF(iterations=1), logits, image)
    except ImportError:
        pass
    return found


def _print(rows: list[Row]) -> None:
    columns = list(rows[0])
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
    given = parser.parse_args()
    torch.set_num_threads(1)
    layouts = [measure_layouts(family, given.device, given.repeats) for family in given.families]
    crfs = measure_crf(given.device, given.repeats)
    if layouts:
        _print(layouts)
    _print(crfs)
    told = {"torch": torch.__version__, "python": platform.python_version(), "device": given.device}
    print(json.dumps({**told, "layouts": layouts, "crf": crfs}))


if __name__ == "__main__":
    main()
