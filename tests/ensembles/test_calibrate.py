"""Axes: K class, N voxel."""

import numpy as np
import pytest
from numpy.typing import NDArray

from emsearch.ensembles.calibrate import Reliability, fit_temperature


def _said(
    temperature: float, voxels: int = 40_000
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return classes drawn from probabilities, and these sharpened to a temperature below 1."""
    rng = np.random.default_rng(0)
    logit_KN = 1.5 * rng.standard_normal((4, voxels))
    meant_KN = np.exp(logit_KN) / np.exp(logit_KN).sum(0)
    true_N = (rng.random(voxels) > meant_KN.cumsum(0)).sum(0).clip(0, 3)
    said_KN = meant_KN ** (1 / temperature)
    return (said_KN / said_KN.sum(0)).astype(np.float32), true_N


def _error(said_KN: NDArray[np.float32], true_N: NDArray[np.int64]) -> float:
    reliability = Reliability()
    reliability.add(said_KN[:, :10_000], true_N[:10_000])
    reliability.add(said_KN[:, 10_000:], true_N[10_000:])
    return reliability.error


def test_probabilities_that_are_meant_have_no_error() -> None:
    assert _error(*_said(1.0)) < 0.01


def test_too_sure_ones_have_one_and_their_temperature_takes_it_away() -> None:
    said_KN, true_N = _said(0.4)
    assert _error(said_KN, true_N) > 0.1
    temperature = fit_temperature(said_KN, true_N, np.ones(len(true_N)))
    assert temperature == pytest.approx(1 / 0.4, rel=0.05)
    cooled_KN = said_KN ** (1 / temperature)
    assert _error(cooled_KN / cooled_KN.sum(0), true_N) < 0.01


def test_the_error_is_the_mean_distance_from_being_right() -> None:
    said_KN = np.array([[0.9] * 10, [0.1] * 10], np.float32)
    true_N = np.array([0] * 6 + [1] * 4)
    assert _error(said_KN, true_N) == pytest.approx(0.3, abs=1e-6)


def test_ignored_voxels_do_not_count() -> None:
    said_KN = np.array([[0.9, 0.9], [0.1, 0.1]], np.float32)
    reliability = Reliability()
    reliability.add(said_KN, np.array([0, -1]))
    assert reliability.voxels.sum() == 1
    assert reliability.error == pytest.approx(0.1, abs=1e-6)


def test_weights_say_what_a_voxel_stands_for() -> None:
    said_KN, true_N = _said(0.4)
    halves = np.arange(len(true_N)) % 2 == 0
    weighted = fit_temperature(said_KN, true_N, halves.astype(float))
    alone = fit_temperature(said_KN[:, halves], true_N[halves], np.ones(halves.sum()))
    assert weighted == pytest.approx(alone, rel=1e-3)
