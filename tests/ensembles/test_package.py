from pathlib import Path

import numpy as np
import pytest

from emsearch.ensembles.package import load_ensemble
from emsearch.ensembles.run import run_ensemble
from emsearch.errors import NotFoundError, SpecError
from emsearch.records.files import read_json, write_json
from emsearch.records.order import EnsembleOrder
from tests.support.trials import FakePost, picture


@pytest.fixture
def folder(order: EnsembleOrder, post: FakePost) -> Path:
    run_ensemble(order, post)
    return post.study / "ensembles" / "baseline"


def test_the_folder_holds_all_that_it_needs(folder: Path) -> None:
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))
    assert names == ["README.md", "ensemble.json", "members/00.pt", "members/01.pt"]
    card = (folder / "README.md").read_text()
    assert "an ensemble of 2 networks" in card
    assert "outside, cell, spot (label values 0 to 2)" in card
    assert "voxels of 40 x 4 x 4 nm" in card
    for words in ("How to cite", "Scientific Reports 11:2561", "calibration error", "away."):
        assert words in card
    best = (folder.parent / "best" / "README.md").read_text()
    assert "Gain in overlap over its rivals" in best
    assert "| test | baseline ensemble |" in best


def test_labels_are_the_most_probable_classes(folder: Path) -> None:
    ensemble = load_ensemble(str(folder), device="cpu")
    image, _ = picture((3, 50, 41), seed=5)
    labels = ensemble.segment(image)
    probability = ensemble.probability(image)
    assert ensemble.classes == ("outside", "cell", "spot")
    assert labels.shape == image.shape
    np.testing.assert_allclose(probability.sum(0), 1, atol=1e-5)
    np.testing.assert_array_equal(labels, probability.argmax(0))


def test_normalisation_is_that_of_the_training_data(folder: Path, order: EnsembleOrder) -> None:
    card = load_ensemble(folder, device="cpu").card
    assert card.mean == pytest.approx(order.dataset.volumes[0].mean)
    assert card.std == pytest.approx(order.dataset.volumes[0].std)


def test_a_folder_without_an_ensemble_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=f"no ensemble in {tmp_path}"):
        load_ensemble(tmp_path)


def test_damaged_weights_are_noticed(folder: Path) -> None:
    weights = folder / "members" / "01.pt"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    with pytest.raises(SpecError, match=r"members/01\.pt is damaged"):
        load_ensemble(folder, device="cpu")


def test_missing_weights_are_named(folder: Path) -> None:
    (folder / "members" / "00.pt").unlink()
    with pytest.raises(NotFoundError, match=r"no weights at .*00\.pt"):
        load_ensemble(folder, device="cpu")


@pytest.mark.parametrize(
    ("change", "message"),
    [({"format": 99}, "has format 99"), ({"std": "wide"}, "is no ensemble's card")],
)
def test_a_card_that_cannot_be_read_is_refused(
    folder: Path, change: dict[str, object], message: str
) -> None:
    path = folder / "ensemble.json"
    write_json(path, {**read_json(path), **change})
    with pytest.raises(SpecError, match=message):
        load_ensemble(folder, device="cpu")
