"""Trees as data: written, read, refused, told apart."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from emsearch.errors import SpecError
from emsearch.trees.arithmetic import Limits, Target
from emsearch.trees.grow import Sketch, grown, set_value
from emsearch.trees.node import Node, Tree
from emsearch.trees.sample import draw
from emsearch.trees.space import make_space

TARGET = Target(classes=5, patch_zyx=(1, 64, 64))


def unet(**values: Any) -> Tree:
    return Tree("test", grown(Sketch(kind="network", values=values)))


@pytest.mark.parametrize("number", range(20))
def test_a_tree_is_what_its_dictionary_says(number: int) -> None:
    tree = draw(make_space(["encoder_decoder_2d"], {}), 1, number, TARGET, Limits()).tree
    assert Tree.from_dict(json.loads(json.dumps(tree.to_dict()))) == tree


def test_a_name_does_not_change_the_digest() -> None:
    assert Tree("one", unet().root).digest() == Tree("other", unet().root).digest()


def test_different_deltas_with_the_same_values_have_one_digest() -> None:
    at_root = unet(levels=1, width=40)
    below = set_value(unet(levels=1, width=30), (0,), "width", 40)
    assert at_root.root != below.root
    assert at_root.digest() == below.digest()


def test_another_width_has_another_digest() -> None:
    assert unet(width=40).digest() != unet(width=41).digest()


def test_a_delta_that_nothing_uses_does_not_change_the_digest() -> None:
    assert unet(blocks=5).digest() == unet(blocks=3).digest()


def test_paths_in_another_order_have_the_same_digest() -> None:
    plain: dict[str, Any] = {"dilation": 4}
    wide: dict[str, Any] = {"dilation": 1, "kernel": 5}
    swapped_plain: dict[str, Any] = {"dilation": 2}
    swapped_wide: dict[str, Any] = {"dilation": 2, "kernel": 5}
    # A path's dilation is doubled by its place: both pyramids have 3x3 by 4 and 5x5 by 2.
    one = _atrous(plain, wide)
    other = _atrous(swapped_wide, swapped_plain)
    assert one.root != other.root
    assert one.digest() == other.digest()


def _atrous(first: dict[str, Any], second: dict[str, Any]) -> Tree:
    paths = {0: Sketch(kind="block", values=first), 1: Sketch(kind="block", values=second)}
    body = Sketch(kind="atrous_pyramid", inside=paths)
    values: dict[str, Any] = {"body": "atrous_pyramid", "paths": 2}
    return Tree("test", grown(Sketch(kind="network", values=values, inside={0: body})))


def test_the_digest_is_that_of_the_first_release() -> None:
    assert unet(levels=4, width=64, normalisation="none").digest() == "77cf7709216c"


def test_the_digest_does_not_depend_on_the_hash_seed() -> None:
    code = (
        "from emsearch.trees.grow import *; from emsearch.trees.node import Tree;"
        "print(Tree('t', grown(Sketch(kind='network', values={'width': 9}))).digest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert digests == {unet(width=9).digest() + "\n"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "a tree of format 1 is wanted"),
        ({"root": {"kind": "network", "deltas": {"colour": 1}}}, "no setting 'colour'"),
        ({"root": {"kind": "netwrok"}}, "no kind 'netwrok'; known kinds: atrous_pyramid"),
        ({"root": {"kind": "network"}}, r"holds \('encoder_decoder', 'predictor'\), got \(\)"),
        ({"root": {"kind": "network", "deltas": {"width": "9"}}}, "'width' must be a number"),
        ({"root": {"kind": "network", "colour": 1}}, r"a node has no \['colour'\]"),
        ({"root": []}, "a node is"),
    ],
)
def test_a_wrong_dictionary_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        Tree.from_dict({**unet().to_dict(), **change})


def test_walking_visits_parents_first() -> None:
    kinds = [node.kind for node in unet(levels=0, convolutions=1).walk()]
    assert kinds == [
        "network",
        "encoder_decoder",
        "encoder",
        "decoder",
        "block",
        "convolution",
        "predictor",
    ]


def test_a_node_can_be_hashed() -> None:
    assert len({Node("predictor"), Node("predictor")}) == 1
