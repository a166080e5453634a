"""Fixtures that several parts share."""

from pathlib import Path

import pytest

from emsearch.trees.node import Node, Tree
from tests.support.real_study import run, write_study


@pytest.fixture
def any_tree() -> Tree:
    """A tree for tests in which only its names matter."""
    return Tree("encoder_decoder_2d", Node("convolution"))


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a small study that ran to its end, unbroken. Nobody changes it."""
    folder = tmp_path_factory.mktemp("finished")
    done = run("launch", write_study(folder), "--folder", folder / "study")
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "said.txt").write_text(done.stdout)
    return folder / "study"
