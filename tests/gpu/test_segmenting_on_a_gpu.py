"""Segmenting where there is a GPU; skipped, and said so, where there is none."""

from pathlib import Path

import numpy as np
import pytest
import torch
import zarr

from emsearch.inference.ensemble import load_ensemble
from emsearch.inference.stream import segment
from emsearch.records.order import SegmentOrder
from tests.support.ensembles import make_ensemble
from tests.support.trials import picture

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_ensemble(tmp_path_factory.mktemp("study"), "cuda")


def test_a_gpu_gives_the_probabilities_of_a_cpu_to_rounding(ensemble: Path) -> None:
    image, _ = picture((4, 300, 280), seed=3)
    on_cpu, on_gpu = (load_ensemble(ensemble, name).probability(image) for name in ("cpu", "cuda"))
    np.testing.assert_allclose(on_gpu, on_cpu, atol=1e-3)


def test_a_volume_is_streamed_through_a_gpu(ensemble: Path, tmp_path: Path) -> None:
    image, _ = picture((20, 300, 280), seed=3)
    np.save(tmp_path / "image.npy", image)
    task = SegmentOrder(
        ensemble=str(ensemble),
        volume=str(tmp_path / "image.npy"),
        out=str(tmp_path / "out.zarr"),
        device="cuda:0",
        voxel_nm=(40, 4, 4),
        flips=True,
        probabilities=True,
    )
    segment(task, lambda _done, _of: None)
    labels = np.asarray(zarr.open_group(task.out, mode="r")["0"][:])  # type: ignore[index]
    assert (labels < 3).all()
    assert (labels == load_ensemble(ensemble, "cpu").segment(image)).mean() > 0.9
