"""The script that prints the tables of experiments/README.md."""

from typing import Any

from emsearch.records.score import Split
from experiments.table import gain_rows, sureness


def _gain(difference: float) -> dict[str, Any]:
    return {"difference": difference, "low": difference - 0.01, "high": difference + 0.01}


FACTS: dict[str, dict[str, Any]] = {
    "ensemble": {
        "ensemble_gain": {},
        "disagreement": {"test": 0.125},
        "calibration": {"test": {"error": 0.04, "tempered_error": 0.02}},
        "temperature": 1.5,
    },
    "best single": {
        "ensemble_gain": {"test": {**_gain(0.02), "iou_K": [_gain(-0.03), None]}},
        "disagreement": {},
        "calibration": {"test": {"error": 0.05, "tempered_error": 0.05}},
        "temperature": 1.0,
    },
}


def test_gains_stand_with_their_intervals() -> None:
    head, _, *lines = gain_rows(FACTS, ["cell", "spot"], Split.TEST)
    assert head == ["the ensemble over", "mean IoU", "cell", "spot"]
    assert lines == [["best single", "+0.020 (+0.010 to +0.030)", "-0.030 (-0.040 to -0.020)", "–"]]
    assert len(gain_rows(FACTS, ["cell", "spot"], Split.VALIDATION)) == 2


def test_it_is_said_how_sure_an_ensemble_is() -> None:
    assert sureness(FACTS, Split.TEST) == [
        (
            "ensemble on test: two members differ on 12.5% of the voxels; expected calibration "
            "error 0.040, 0.020 at temperature 1.50."
        )
    ]
