"""On a GPU, too, the memory that arithmetic predicts is the memory that a training step takes."""

import pytest
import torch

from emsearch.trees.arithmetic import Limits, Target
from emsearch.trees.sample import draw
from emsearch.trees.space import make_space
from tests.support.memory import Step, median_error

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

TARGET = Target(classes=7, patch_zyx=(8, 128, 128), batch_size=2, voxel_nm=(40, 10, 10))
LIMITS = Limits(max_parameters=20_000_000, max_memory_gb=10)


def peak_bytes(step: Step) -> int:
    """Return the most that torch's allocator held during a step."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    step.run()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated()


def test_predicted_memory_is_near_what_a_step_takes() -> None:
    space = make_space(["mixed"], {"width": [8, 32]})
    assert median_error(space, 50, TARGET, LIMITS, peak_bytes, "cuda") < 0.2


@pytest.mark.parametrize("family", ["encoder_decoder_2d", "hybrid_2d3d"])
def test_in_mixed_precision_a_step_takes_less(family: str) -> None:
    tree = draw(make_space([family], {"width": [16, 32]}), 1, 0, TARGET, LIMITS).tree
    step = Step(tree, TARGET, "cuda")
    step.run()
    full = peak_bytes(step)
    with torch.autocast("cuda", dtype=torch.bfloat16):
        step.run()
        assert peak_bytes(step) < full
