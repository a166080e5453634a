"""The memory that arithmetic predicts is the memory that a training step takes."""

import pytest

from emsearch.trees.arithmetic import Limits, Target
from emsearch.trees.space import make_space
from tests.support.memory import Step, median_error, recorded_peak

LIMITS = Limits(max_parameters=400_000, max_step_s=0.5, gflops=30, gbytes_s=5)


def peak_bytes(step: Step) -> int:
    return step.standing_bytes + recorded_peak(step.run)


@pytest.mark.slow
@pytest.mark.parametrize(("batch", "trees"), [(1, 50), (2, 15)])
def test_predicted_memory_is_near_what_a_step_takes(batch: int, trees: int) -> None:
    target = Target(classes=4, patch_zyx=(4, 64, 64), batch_size=batch, voxel_nm=(40, 10, 10))
    space = make_space(["mixed"], {"width": [4, 24]})
    assert median_error(space, trees, target, LIMITS, peak_bytes) < 0.1
