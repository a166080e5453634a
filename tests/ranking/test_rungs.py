import numpy as np
import pytest

from emsearch.ranking.rungs import relation


def test_without_pairs_a_rung_says_what_it_scores_with_much_doubt() -> None:
    early = relation([]).early(0.4)
    assert early.score == pytest.approx(0.4)
    assert early.sd == pytest.approx(0.05)


def test_many_pairs_teach_rise_slope_and_noise() -> None:
    rng = np.random.default_rng(1)
    rung = rng.normal(0.4, 0.1, 500)
    final = 0.6 + 0.5 * (rung - 0.4) + rng.normal(0, 0.02, 500)
    learned = relation(list(zip(rung, final, strict=True)))
    assert learned.slope == pytest.approx(0.5, abs=0.05)
    assert learned.early(0.4).score == pytest.approx(0.6, abs=0.01)
    assert learned.sd == pytest.approx(0.02, abs=0.005)


def test_two_pairs_change_the_slope_little() -> None:
    assert relation([(0.3, 0.6), (0.4, 0.5)]).slope > 0.25


def test_a_late_bloomer_widens_the_doubt() -> None:
    usual = [(0.3 + i / 100, 0.5 + i / 100) for i in range(20)]
    assert relation([*usual, (0.1, 0.7)]).sd > relation(usual).sd
