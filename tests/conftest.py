"""Fixtures that several parts share."""

import pytest

from emsearch.trees.node import Node, Tree


@pytest.fixture
def any_tree() -> Tree:
    """A tree for tests in which only its names matter."""
    return Tree("encoder_decoder_2d", Node("convolution"))
