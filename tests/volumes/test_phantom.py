import numpy as np
import pytest
from scipy.ndimage import label

from emsearch.volumes.phantom import CLASSES, VOXEL_NM, phantom


def test_a_phantom_is_a_function_of_its_seed() -> None:
    image, labels = phantom((3, 96, 80), seed=5)
    again, labels_again = phantom((3, 96, 80), seed=5)
    other, _ = phantom((3, 96, 80), seed=6)
    assert (image == again).all()
    assert (labels == labels_again).all()
    assert (image != other).mean() > 0.5


@pytest.mark.parametrize("shape", [(1, 64, 64), (2, 33, 150), (40, 20, 17)])
def test_a_phantom_has_any_size(shape: tuple[int, int, int]) -> None:
    image, labels = phantom(shape, seed=0)
    assert image.shape == labels.shape == shape
    assert image.dtype == labels.dtype == np.uint8
    assert labels.max() < len(CLASSES)


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    return phantom((12, 256, 256), seed=1)


def test_every_class_is_there_and_one_is_rare(pair: tuple[np.ndarray, np.ndarray]) -> None:
    fractions = np.bincount(pair[1].ravel(), minlength=len(CLASSES)) / pair[1].size
    assert fractions.min() > 0.001
    assert fractions[CLASSES.index("dense_granule")] < 0.02
    assert 0.05 < fractions[CLASSES.index("membrane")] < 0.25


def test_granules_come_in_two_sizes(pair: tuple[np.ndarray, np.ndarray]) -> None:
    def median_vx(name: str) -> float:
        bodies, _ = label(pair[1] == CLASSES.index(name))
        return float(np.median(np.bincount(bodies.ravel())[1:]))

    assert median_vx("granule") > 4 * median_vx("dense_granule")


def test_bodies_lie_inside_cells(pair: tuple[np.ndarray, np.ndarray]) -> None:
    beside = [(pair[1][:, :, :-1], pair[1][:, :, 1:]), (pair[1][:, :-1], pair[1][:, 1:])]
    for one, other in beside:
        assert not ((one >= 3) & (other == 0)).any()
        assert not ((one == 0) & (other >= 3)).any()
        assert not ((one >= 3) & (other >= 3) & (one != other)).any()


def test_structures_look_different_but_no_threshold_separates_them(
    pair: tuple[np.ndarray, np.ndarray],
) -> None:
    means = [float(pair[0][pair[1] == number].mean()) for number in range(len(CLASSES))]
    assert means[0] > means[1] > means[3] > means[5]
    cytoplasm, granule = (pair[0][pair[1] == number] for number in (1, 4))
    best = min((cytoplasm < cut).mean() + (granule >= cut).mean() for cut in range(60, 200, 4))
    assert best > 0.2


def test_sections_drift_and_differ_in_contrast(pair: tuple[np.ndarray, np.ndarray]) -> None:
    image = pair[0].astype(np.float64)
    assert image.mean(axis=(1, 2)).std() > 3
    assert image.std(axis=(1, 2)).std() > 1
    assert VOXEL_NM[0] > VOXEL_NM[1]
