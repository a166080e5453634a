"""Time and memory of selecting an ensemble from many candidates; the candidates are synthetic.

python experiments/benchmarks/selection.py --candidates 200 --voxels 2000000 --classes 7

Candidates see the truth through noise, which is mixed from that of two of twelve families, as
networks that are alike share their faults. Voxels are as many of each class, as the sample that
trials are asked about is. Their answers are kept and read back as compressed Zarr, as in a study.
"""

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emsearch.ensembles.poll import _keep, _kept
from emsearch.ensembles.pool import FOLDS, Pool
from emsearch.ensembles.select import best_single, select

_FAMILIES = 12


def answers(
    candidates: int, true_N: NDArray[np.uint8], classes: int
) -> Iterator[NDArray[np.uint8]]:
    """Yield what each candidate says, in 255ths."""
    rng = np.random.default_rng(0)
    families = [_family(rng, true_N, classes) for _ in range(_FAMILIES)]
    for candidate in range(candidates):
        one, other = families[candidate % _FAMILIES], families[rng.integers(_FAMILIES)]
        part = np.uint16(rng.integers(128, 257))
        mixed_KN = one * part
        mixed_KN += other * np.uint16(256 - part)
        yield (mixed_KN >> np.uint16(8)).astype(np.uint8)


def _family(
    rng: np.random.Generator, true_N: NDArray[np.uint8], classes: int
) -> NDArray[np.uint16]:
    """Return what the networks of one family have in common, in 255ths."""
    logit_KN = rng.standard_normal((classes, len(true_N)), np.float32)
    logit_KN *= np.float32(1.2 + 0.4 * rng.random())
    logit_KN[true_N, np.arange(len(true_N))] += np.float32(2)
    np.exp(logit_KN, out=logit_KN)
    logit_KN *= 255 / logit_KN.sum(0)
    return logit_KN.astype(np.uint16)


def measure(candidates: int, voxels: int, classes: int, size: int) -> dict[str, Any]:
    """Return what a selection took and found."""
    rng = np.random.default_rng(1)
    true_N = np.repeat(np.arange(classes), -(-voxels // classes))[:voxels].astype(np.uint8)
    fold_N = (rng.random(voxels) * FOLDS).astype(np.uint8)
    order = np.lexsort((true_N, fold_N))
    true_N, fold_N = true_N[order], fold_N[order]
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}.zarr" for number in range(candidates)]
        for path, answer_KN in zip(paths, answers(candidates, true_N, classes), strict=True):
            _keep(path, answer_KN, {})
        disk = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
        began = time.perf_counter()
        probability_MKN = np.empty((candidates, classes, voxels), np.uint8)
        for place, path in enumerate(paths):
            kept = _kept(path, {})
            assert kept is not None
            probability_MKN[place] = kept
    read_s = time.perf_counter() - began
    pool = Pool(
        probability_MKN=probability_MKN,
        true_N=true_N,
        fold_N=fold_N,
        stands_for_K=np.ones(classes),
    )
    choice = select(pool, size)
    took_s = time.perf_counter() - began
    return {
        "candidates": candidates,
        "voxels": voxels,
        "classes": classes,
        "size": size,
        "seconds": took_s,
        "of them reading": read_s,
        "peak GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        "answers on disk GB": disk / 1e9,
        "chosen": f"{choice.method}, {choice.combine}, {len(choice.weights)} members",
        "mean IoU": choice.mean_iou,
        "best single": best_single(pool).mean_iou,
    }


def main() -> None:
    """Print what a selection took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--candidates", type=int, default=200)
    parser.add_argument("--voxels", type=int, default=2_000_000)
    parser.add_argument("--classes", type=int, default=7)
    parser.add_argument("--size", type=int, default=8)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    found = measure(asked.candidates, asked.voxels, asked.classes, asked.size)
    if asked.json:
        print(json.dumps(found, indent=1))
        return
    for name, value in found.items():
        print(f"{name:20} {value:.4g}" if isinstance(value, float) else f"{name:20} {value}")


if __name__ == "__main__":
    main()
