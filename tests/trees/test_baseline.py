"""The baseline that every search must beat."""

import pytest

from emsearch.errors import SpecError
from emsearch.trees.arithmetic import Limits, Target, describe
from emsearch.trees.baseline import baseline


def test_it_is_a_residual_unet_with_fixed_normalisation() -> None:
    target = Target(classes=5, patch_zyx=(1, 256, 256))
    tree = baseline(target, Limits())
    kinds = {node.kind for node in tree.walk()}
    assert {"encoder", "decoder", "residual", "merge"} <= kinds
    assert not describe(tree, target).sees_whole_tile


def test_a_large_patch_is_halved_five_times() -> None:
    target = Target(classes=5, patch_zyx=(1, 256, 256))
    assert describe(baseline(target, Limits()), target).divisor_zyx == (1, 32, 32)


def test_flat_voxels_leave_z_alone_at_the_finest_resolutions() -> None:
    target = Target(classes=2, patch_zyx=(16, 128, 128), voxel_nm=(40, 10, 10))
    assert describe(baseline(target, Limits()), target).divisor_zyx == (8, 32, 32)
    even = Target(classes=2, patch_zyx=(32, 128, 128), voxel_nm=(10, 10, 10))
    assert describe(baseline(even, Limits()), even).divisor_zyx == (32, 32, 32)


def test_a_shallow_patch_is_not_halved_more_often_than_it_can_be() -> None:
    target = Target(classes=2, patch_zyx=(6, 64, 64), voxel_nm=(10, 10, 10))
    assert describe(baseline(target, Limits()), target).divisor_zyx == (2, 16, 16)


@pytest.mark.parametrize("most", [10_000, 300_000, 5_000_000])
def test_it_keeps_to_the_limit_and_uses_it(most: int) -> None:
    target = Target(classes=5, patch_zyx=(1, 128, 128))
    facts = describe(baseline(target, Limits(max_parameters=most)), target)
    assert most / 4 < facts.parameters <= most


def test_where_none_fits_the_limit_is_named() -> None:
    target = Target(classes=5, patch_zyx=(1, 128, 128))
    with pytest.raises(SpecError, match=r"no baseline fits .* max_parameters is 50; it needs"):
        baseline(target, Limits(max_parameters=50))
    with pytest.raises(SpecError, match="it cannot be halved"):
        baseline(Target(classes=5, patch_zyx=(1, 65, 65)), Limits())
