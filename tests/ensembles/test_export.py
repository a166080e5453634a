from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from emsearch.ensembles import export
from emsearch.ensembles.export import export_torch, facts_of, window_of
from emsearch.ensembles.export_onnx import export_onnx
from emsearch.ensembles.run import run_ensemble
from emsearch.errors import SpecError
from emsearch.inference.ensemble import Ensemble, load_ensemble
from emsearch.records.files import read_json, write_json
from emsearch.records.order import EnsembleOrder
from emsearch.trees.arithmetic import Limits, Target
from emsearch.trees.baseline import baseline
from tests.support.ensembles import write_untrained
from tests.support.trials import FakePost

# torch's exporters warn of what they are made of.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def ensemble(order: EnsembleOrder, post: FakePost) -> Ensemble:
    """Two networks, calibrated with a temperature, so that all of a graph's parts count."""
    run_ensemble(order, post)
    folder = post.study / "ensembles" / "baseline"
    path = folder / "ensemble.json"
    write_json(path, {**read_json(path), "temperature": 1.4})
    return load_ensemble(folder, "cpu")


def _grey(ensemble: Ensemble) -> Any:
    shape = (1, 1, *window_of(ensemble))
    return np.random.default_rng(5).integers(0, 255, shape).astype(np.float32)


def test_an_onnx_graph_says_what_the_ensemble_says(ensemble: Ensemble, tmp_path: Path) -> None:
    path = tmp_path / "ensemble.onnx"
    assert export_onnx(ensemble, path) <= 1e-4
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    grey = _grey(ensemble)
    (found_KZYX,) = session.run(None, {session.get_inputs()[0].name: grey})
    with torch.inference_mode():
        expected = export.Graph(ensemble)(torch.from_numpy(grey)).numpy()
    np.testing.assert_allclose(found_KZYX, expected, atol=1e-4)
    facts = session.get_modelmeta().custom_metadata_map
    assert facts["classes"] == '["outside", "cell", "spot"]'
    assert facts["window_zyx"] == "[1, 32, 32]"


def test_a_program_of_torch_says_what_the_ensemble_says(ensemble: Ensemble, tmp_path: Path) -> None:
    path = tmp_path / "ensemble.pt2"
    assert export_torch(ensemble, path) <= 1e-4
    extra = {"emsearch.json": ""}
    program = torch.export.load(path, extra_files=extra).module()
    grey = torch.from_numpy(_grey(ensemble))
    with torch.inference_mode():
        np.testing.assert_allclose(program(grey), export.Graph(ensemble)(grey), atol=1e-4)
    assert '"voxel_nm"' in extra["emsearch.json"]


@pytest.fixture
def deep(tmp_path: Path) -> Ensemble:
    """Two 3-D networks; grey values have a mean and spread of their own."""
    patch_zyx = (16, 24, 24)
    target = Target(classes=3, patch_zyx=patch_zyx, voxel_nm=(16, 8, 8))
    tree = baseline(target, Limits(max_parameters=4000))
    write_untrained(tmp_path / "deep", tree, 2, patch_zyx)
    return load_ensemble(tmp_path / "deep", "cpu")


def _inside(ensemble: Ensemble, run: Callable[[Any], Any]) -> tuple[Any, Any]:
    """Return what a graph says of a window amid an image, and what the ensemble says there.

    Both in the middle of the window, whose results do not depend on what lies beyond its border.
    """
    window = window_of(ensemble)
    halo = facts_of(ensemble)["halo_zyx"]
    start = [one + one % 2 for one in halo]
    shape = [size + 2 * first for size, first in zip(window, start, strict=True)]
    image = np.random.default_rng(5).integers(0, 255, shape).astype(np.uint8)
    cut = tuple(slice(first, first + size) for first, size in zip(start, window, strict=True))
    found_KZYX = np.asarray(run(image[cut][None, None].astype(np.float32)))
    middle = tuple(slice(one, size - one) for one, size in zip(halo, window, strict=True))
    expected_KZYX = ensemble.probability(image)[:, *cut][:, *middle]
    assert expected_KZYX.size > 0
    assert np.ptp(expected_KZYX) > 0.01  # it says something
    return found_KZYX[:, *middle], expected_KZYX


@pytest.mark.parametrize("which", ["ensemble", "deep"])
@pytest.mark.parametrize("form", ["onnx", "torch"])
def test_what_is_exported_says_what_the_ensemble_says_of_an_image(
    which: str, form: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    ensemble: Ensemble = request.getfixturevalue(which)
    if form == "onnx":
        export_onnx(ensemble, tmp_path / "ensemble.onnx")
        session = onnxruntime.InferenceSession(
            tmp_path / "ensemble.onnx", providers=["CPUExecutionProvider"]
        )
        name = session.get_inputs()[0].name
        found, expected = _inside(ensemble, lambda grey: session.run(None, {name: grey})[0])
    else:
        export_torch(ensemble, tmp_path / "ensemble.pt2")
        program = torch.export.load(tmp_path / "ensemble.pt2").module()
        found, expected = _inside(
            ensemble, lambda grey: program(torch.from_numpy(grey)).detach().numpy()
        )
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_graph_gives_probabilities(ensemble: Ensemble) -> None:
    with torch.inference_mode():
        graph_KZYX = export.Graph(ensemble)(torch.from_numpy(_grey(ensemble))).numpy()
    assert graph_KZYX.shape == (3, *window_of(ensemble))
    np.testing.assert_allclose(graph_KZYX.sum(0), 1, atol=1e-5)


def test_a_graph_that_differs_is_not_kept(
    ensemble: Ensemble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "TOLERANCE", -1.0)
    with pytest.raises(SpecError, match="differs from the ensemble by"):
        export_torch(ensemble, tmp_path / "ensemble.pt2")
    with pytest.raises(SpecError, match="differs from the ensemble by"):
        export_onnx(ensemble, tmp_path / "ensemble.onnx")
    assert not list(tmp_path.iterdir())


def test_a_network_that_cannot_be_exported_is_said_so(
    ensemble: Ensemble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: Any, **_options: Any) -> None:
        raise RuntimeError("data-dependent branch\nand more")

    monkeypatch.setattr(torch.export, "export", refuse)
    with pytest.raises(SpecError, match=r"cannot be exported by torch .*: data-dependent branch$"):
        export_torch(ensemble, tmp_path / "ensemble.pt2")
