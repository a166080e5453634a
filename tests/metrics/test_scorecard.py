import json
from dataclasses import asdict

import numpy as np
import pytest

from emsearch.errors import SpecError
from emsearch.metrics.scorecard import score
from emsearch.records.score import Split


def test_a_class_that_is_nowhere_is_left_out_of_the_means() -> None:
    result = score(np.array([[6, 0, 0], [0, 0, 0], [2, 0, 2]]), Split.VALIDATION)
    assert result.iou_K == (0.75, None, 0.5)
    assert result.mean_iou == 0.625
    assert result.mean_iou_foreground == 0.5
    assert result.accuracy == 0.8
    assert result.voxels == 10
    assert result.split is Split.VALIDATION


def test_a_class_that_was_only_predicted_counts_as_zero() -> None:
    assert score(np.array([[3, 1], [0, 0]]), Split.TEST).iou_K == (0.75, 0.0)


def test_with_background_alone_the_foreground_mean_is_that_of_all() -> None:
    result = score(np.array([[4, 0], [0, 0]]), Split.TEST)
    assert result.mean_iou == result.mean_iou_foreground == 1.0


def test_a_score_of_no_voxels_is_refused() -> None:
    with pytest.raises(SpecError, match="the split is empty"):
        score(np.zeros((3, 3), np.int64), Split.TEST)


def test_a_score_is_json() -> None:
    text = json.dumps(asdict(score(np.eye(3, dtype=np.int64), Split.TRAIN)), allow_nan=False)
    assert json.loads(text)["iou_K"] == [1.0, 1.0, 1.0]
