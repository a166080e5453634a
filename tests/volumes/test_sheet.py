from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from emsearch.volumes.phantom import phantom
from emsearch.volumes.sheet import save_sheet


@pytest.mark.parametrize("depth", [1, 5])
def test_a_sheet_shows_every_augmentation(depth: int, tmp_path: Path) -> None:
    image, _ = phantom((depth, 64, 80), seed=0)
    normalised = ((image - image.mean()) / image.std()).astype(np.float32)
    save_sheet(normalised, tmp_path / "sheet.png", seed=1)
    with Image.open(tmp_path / "sheet.png") as sheet:
        pixels = np.asarray(sheet)
    assert pixels.shape == (3 * (64 + 14), 5 * 80)
    tiles = [
        pixels[row * 78 + 14 : (row + 1) * 78, column * 80 : (column + 1) * 80]
        for row in range(3)
        for column in range(5)
    ]
    assert len(tiles) == 15  # the patch, thirteen augmentations, all together
    same = sum((tile == tiles[0]).all() for tile in tiles[1:])
    assert same == (3 if depth == 1 else 0)  # a single section is never lost or misaligned
    assert list(tmp_path.iterdir()) == [tmp_path / "sheet.png"]


def test_the_same_seed_gives_the_same_sheet(tmp_path: Path) -> None:
    patch = np.random.default_rng(0).normal(size=(3, 32, 32)).astype(np.float32)
    for name in ("a.png", "b.png"):
        save_sheet(patch, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
