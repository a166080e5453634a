"""Random trees."""

from itertools import islice

import pytest

from emsearch.errors import SpecError
from emsearch.trees.arithmetic import Limits, Target, describe
from emsearch.trees.families import FAMILIES
from emsearch.trees.node import Tree
from emsearch.trees.sample import draw, draw_distinct
from emsearch.trees.space import make_space

TARGET = Target(classes=5, patch_zyx=(8, 64, 64), batch_size=2, voxel_nm=(40, 10, 10))
SMALL = Limits(max_parameters=100_000, max_step_s=0.2, gflops=30, gbytes_s=5)


def test_a_draw_depends_on_seed_and_number_alone() -> None:
    space = make_space(["encoder_decoder_2d"], {})
    alone = draw(space, 7, 3, TARGET, Limits())
    for number in range(3):
        draw(space, 7, number, TARGET, Limits())
    assert draw(space, 7, 3, TARGET, Limits()) == alone
    assert draw(space, 8, 3, TARGET, Limits()).digest != alone.digest


def test_draws_are_those_of_the_first_release() -> None:
    space = make_space(["encoder_decoder_2d"], {})
    assert draw(space, 2019, 0, TARGET, Limits()).digest == "47ba40312f1e"


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_drawn_fits(family: str) -> None:
    space = make_space([family], {"width": [2, 64]})
    for number in range(15):
        drawn = draw(space, 1, number, TARGET, SMALL)
        facts = describe(drawn.tree, TARGET)
        assert facts.parameters <= SMALL.max_parameters
        assert facts.step_s(2, SMALL) <= 0.2
        assert Tree.from_dict(drawn.tree.to_dict()) == drawn.tree
        assert drawn.tree.digest() == drawn.digest


def test_a_draw_says_why_it_was_mended_or_redrawn() -> None:
    space = make_space(["encoder_decoder_2d"], {"width": [4, 64]})
    draws = [draw(space, 1, number, TARGET, SMALL) for number in range(30)]
    reasons = [reason for drawn in draws for reason in (*drawn.mended, *drawn.redrawn)]
    assert any(reason.startswith("max_parameters is 100,000; it needs") for reason in reasons)
    assert any(drawn.mended for drawn in draws)
    assert any(not drawn.mended and not drawn.redrawn for drawn in draws)


def test_where_nothing_fits_the_limit_is_blamed() -> None:
    space = make_space(["encoder_decoder_2d"], {})
    with pytest.raises(SpecError, match=r"60 of 60 draws broke max_parameters.* Raise max_param"):
        draw(space, 1, 0, TARGET, Limits(max_parameters=10))


def test_levels_that_a_patch_does_not_allow_are_refused() -> None:
    space = make_space(["encoder_decoder_2d"], {"levels": [3, 4]})
    target = Target(classes=2, patch_zyx=(1, 60, 60))
    with pytest.raises(SpecError, match="patch_zyx can be halved 2 times"):
        draw(space, 1, 0, target, Limits())


def test_an_odd_patch_is_given_networks_without_halving() -> None:
    space = make_space(["encoder_decoder_2d"], {"levels": [0, 4]})
    target = Target(classes=2, patch_zyx=(1, 61, 61))
    assert describe(draw(space, 1, 0, target, Limits()).tree, target).divisor_zyx == (1, 1, 1)


def test_distinct_draws_leave_out_what_was_there() -> None:
    space = make_space(["encoder_decoder_2d"], {"width": [3, 5], "levels": 1, "convolutions": 1})
    draws = list(islice(draw_distinct(space, 1, TARGET, Limits()), 60))
    assert len({drawn.digest for drawn in draws}) == 60
    numbers = [drawn.number for drawn in draws]
    assert numbers == sorted(numbers)


def test_draws_differ_in_depth_width_and_blocks() -> None:
    space = make_space(["encoder_decoder_2d"], {})
    facts = [describe(draw(space, 5, n, TARGET, Limits()).tree, TARGET) for n in range(60)]
    assert len({fact.divisor_zyx for fact in facts}) >= 4
    assert min(f.parameters for f in facts) * 50 < max(f.parameters for f in facts)
