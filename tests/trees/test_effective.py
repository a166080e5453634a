"""What deltas come to."""

from typing import Any

import pytest

from emsearch.errors import SpecError
from emsearch.networks.build import BUILDERS
from emsearch.trees.arithmetic import Limits, Target, describe
from emsearch.trees.effective import effective
from emsearch.trees.grow import Sketch, grown
from emsearch.trees.kinds import EDGES, KINDS
from emsearch.trees.node import Node, Tree
from emsearch.trees.plan import Plan
from emsearch.trees.settings import SETTINGS

TARGET = Target(classes=3, patch_zyx=(8, 32, 32))


def plan_of(inside: dict[int, Sketch] | None = None, **values: Any) -> Plan:
    return effective(grown(Sketch(kind="network", values=values, inside=inside or {})))


def all_of(plan: Plan, kind: str) -> list[Plan]:
    own = [plan] if plan.kind == kind else []
    return own + [found for child in plan.children for found in all_of(child, kind)]


def test_a_network_that_nowhere_looks_along_z_is_two_dimensional() -> None:
    flat = plan_of(dimensions=3, kernel_z=1, pool_z="never")
    assert flat == plan_of(dimensions=2)
    assert plan_of(dimensions=3, kernel_z=3, pool_z="never").get("dimensions") == 3
    normed = plan_of(dimensions=3, kernel_z=1, pool_z="never", normalisation="instance")
    assert normed.get("dimensions") == 3


def test_voxels_long_in_z_leave_z_alone_at_the_finest_resolutions() -> None:
    plan = plan_of(dimensions=3, levels=3, thin=2, convolutions=1)
    assert [edge.get("factor_zyx")[0] for edge in all_of(plan, "down")] == [1, 1, 2]
    kernels = [found.get("kernel_zyx")[0] for found in all_of(plan, "convolution")]
    assert kernels == [1, 1, 3, 3, 3, 1, 1]


def test_a_kernel_has_a_size_along_each_axis() -> None:
    plan = plan_of(dimensions=3, kernel_z=5, kernel=3, kernel_x=7, levels=0)
    assert {found.get("kernel_zyx") for found in all_of(plan, "convolution")} == {(5, 3, 7)}
    alike = plan_of(dimensions=3, kernel_z=1, kernel=5, levels=0)
    assert {found.get("kernel_zyx") for found in all_of(alike, "convolution")} == {(1, 5, 5)}


def test_edges_up_undo_the_edges_down() -> None:
    plan = plan_of(dimensions=3, levels=3, thin=1)
    downs = [edge.get("factor_zyx") for edge in all_of(plan, "down")]
    assert [edge.get("factor_zyx") for edge in all_of(plan, "up")] == downs[::-1]


def test_mixed_blocks_open_with_half_the_width_in_three_dimensions() -> None:
    plan = plan_of(dimensions=3, mixed=1, levels=1, width=8, kernel_z=1, convolutions=1)
    first, second, *_ = all_of(plan, "convolution")
    assert (first.get("width"), first.get("kernel_zyx")) == (4, (3, 3, 3))
    assert (second.get("width"), second.get("kernel_zyx")) == (8, (1, 3, 3))


def test_dilations_double_from_block_to_block() -> None:
    plan = plan_of(body="dilated_block", blocks=3, convolutions=1, dilation=2)
    dilations = [found.get("dilation_zyx") for found in all_of(plan, "convolution")]
    assert dilations == [(1, 2, 2), (1, 4, 4), (1, 8, 8)]


def test_a_dense_block_shares_its_width_among_its_convolutions() -> None:
    plan = plan_of(form="dense", convolutions=4, levels=0, width=32)
    assert [found.get("width") for found in all_of(plan, "convolution")] == [8, 8, 8, 8]


def test_the_last_convolution_of_a_residual_block_waits_for_the_sum() -> None:
    plan = plan_of(form="residual", levels=0, activation="elu")
    assert [f.get("activation") for f in all_of(plan, "convolution")] == ["elu", "identity"]
    assert all_of(plan, "residual")[0].get("activation") == "elu"


def test_added_paths_end_with_the_same_width() -> None:
    paths = {0: Sketch(kind="block", values={"width": 9})}
    body = Sketch(kind="atrous_pyramid", inside=paths)
    plan = plan_of({0: body}, body="atrous_pyramid", paths=2, width=6, convolutions=1)
    ends = [all_of(path, "convolution")[-1] for path in plan.children[0].children]
    assert [end.get("width") for end in ends] == [9, 9]


def test_a_crf_s_window_follows_the_voxel() -> None:
    plan = plan_of(dimensions=3, crf="yes", crf_radius=4, aspect=2.0)
    assert all_of(plan, "crf")[0].get("radius_zyx") == (2, 4, 4)
    flat = plan_of(dimensions=2, crf="yes", crf_radius=4, aspect=2.0)
    assert all_of(flat, "crf")[0].get("radius_zyx") == (0, 4, 4)


def test_every_kind_can_be_built_or_joins_what_holds_it() -> None:
    joined_by_their_holder = {"encoder", "decoder", "residual", "merge"}
    assert set(BUILDERS) | joined_by_their_holder == set(KINDS)
    assert set(KINDS) >= EDGES


def test_every_setting_is_accepted_somewhere() -> None:
    accepted = set().union(*(kind.accepts for kind in KINDS.values()))
    assert accepted == set(SETTINGS)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(SpecError, match="no kind 'blok'"):
        effective(Node("blok"))


def test_a_patch_that_does_not_fit_is_refused_with_what_would() -> None:
    tree = Tree("test", grown(Sketch(kind="network", values={"levels": 3})))
    target = Target(classes=2, patch_zyx=(1, 60, 64))
    with pytest.raises(SpecError, match=r"\(1, 60, 64\) is no multiple of \(1, 8, 8\)"):
        describe(tree, target)


def test_time_and_memory_follow_batch_and_device() -> None:
    tree = Tree("test", grown(Sketch(kind="network", values={"width": 4})))
    facts = describe(tree, TARGET)
    slow, fast = Limits(gflops=10, gbytes_s=1), Limits(gflops=100, gbytes_s=10)
    assert facts.step_s(2, slow) == pytest.approx(20 * facts.step_s(1, fast))
    one, two, three = (facts.memory_gb(batch) for batch in (1, 2, 3))
    assert three - two == pytest.approx(two - one)
    assert one > facts.activation_bytes / 1e9
