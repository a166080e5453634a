from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from emsearch.errors import SpecError
from emsearch.records.dataset import Dataset
from emsearch.records.order import ImportOrder
from emsearch.volumes.importing import import_volume
from emsearch.volumes.labels import IGNORED, LabelReading
from emsearch.volumes.sample import PatchSampler
from emsearch.volumes.stack import stack_of

MakeOrder = Callable[..., ImportOrder]
VALUES = np.array([[[0, 1, 2], [2, 1, 0]]], np.uint8)
WHOLE = (slice(0, 1), slice(0, 2), slice(0, 3))


def read(values: np.ndarray, **how: Any) -> list[int]:
    reading = LabelReading(classes=3, **how)
    stack = stack_of(values, None, colours=3 if values.ndim == 4 else 0)
    reading.check_kind(stack)
    classes = reading.read(stack, WHOLE)
    assert classes.dtype == np.uint8
    flat: list[int] = classes.flatten().tolist()
    return flat


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.uint16])
def test_class_numbers_are_read_as_they_are(dtype: type) -> None:
    assert read(VALUES.astype(dtype)) == [0, 1, 2, 2, 1, 0]


def test_an_ignored_value_may_be_any() -> None:
    assert read(VALUES.astype(np.int32) - 1, ignore_label=-1) == [IGNORED, 0, 1, 1, 0, IGNORED]
    assert read(VALUES, ignore_label=0) == [IGNORED, 1, 2, 2, 1, IGNORED]


def test_outside_annotated_boxes_nothing_counts_and_any_value_may_stand() -> None:
    values = VALUES.copy()
    values[0, 0, 0] = 99
    boxes = (((0, 1), (0, 2), (1, 2)), ((0, 1), (1, 2), (0, 1)))
    assert read(values, annotated=boxes) == [IGNORED, 1, IGNORED, 2, 1, IGNORED]


def test_annotated_boxes_are_those_of_the_volume_wherever_it_is_read() -> None:
    ramp = np.zeros((6, 10, 12), np.uint8)
    box = ((1, 4), (2, 7), (3, 9))
    reading = LabelReading(classes=2, annotated=(box,))
    stack = stack_of(ramp, None)
    whole = reading.read(stack, (slice(0, 6), slice(0, 10), slice(0, 12)))
    part = reading.read(stack, (slice(2, 5), slice(1, 5), slice(5, 12)))
    assert (part == whole[2:5, 1:5, 5:12]).all()
    assert (whole == 0).sum() == 3 * 5 * 6


def test_a_box_beyond_the_volume_is_named() -> None:
    with pytest.raises(SpecError, match="reaches beyond the volume"):
        read(VALUES, annotated=(((0, 1), (0, 2), (0, 4)),))


def test_colours_are_looked_up_in_the_palette() -> None:
    palette = ((0, 0, 0), (255, 0, 0), (0, 255, 0))
    coloured = np.array(palette, np.uint8)[VALUES]
    assert read(coloured, palette=palette) == [0, 1, 2, 2, 1, 0]


def test_one_colour_more_is_that_of_the_ignore_label() -> None:
    palette = ((0, 0, 0), (255, 0, 0), (0, 255, 0), (9, 9, 9))
    coloured = np.array(palette, np.uint8)[VALUES + 1]
    seen = read(coloured, palette=palette, ignore_label=3)
    assert seen == [1, 2, IGNORED, IGNORED, 2, 1]


def test_grey_values_may_stand_for_classes() -> None:
    assert read(VALUES * 127, palette=((0,), (127,), (254,))) == [0, 1, 2, 2, 1, 0]


def test_a_colour_that_is_not_in_the_palette_is_named() -> None:
    coloured = np.array([(0, 0, 0), (255, 0, 0), (1, 2, 3)], np.uint8)[VALUES]
    with pytest.raises(SpecError, match=r"holds the colour \[1, 2, 3\], which dataset.palette"):
        read(coloured, palette=((0, 0, 0), (255, 0, 0), (0, 255, 0)))
    with pytest.raises(SpecError, match=r"holds the value 2, which dataset.palette lacks"):
        read(VALUES, palette=((0,), (1,), (5,)))


def test_colours_without_a_palette_and_a_palette_without_colours_are_refused() -> None:
    with pytest.raises(SpecError, match=r"labels have 3 colours; give the colour of each class"):
        read(np.zeros((1, 2, 3, 3), np.uint8))
    with pytest.raises(SpecError, match=r"labels have no colours, but dataset.palette does"):
        read(VALUES, palette=((0, 0, 0), (1, 1, 1), (2, 2, 2)))


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"palette": ((0,), (1,))}, "has 2 entries for 3 classes"),
        ({"palette": ((0,), (1,), (2, 2, 2))}, "mixes colours and grey values"),
    ],
)
def test_a_palette_that_does_not_fit_is_refused(how: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        LabelReading(classes=3, **how)


def test_too_many_classes_are_refused() -> None:
    with pytest.raises(SpecError, match="256 classes; there may be 2 to 255"):
        LabelReading(classes=256)


def test_a_partly_annotated_volume_is_sampled_where_it_is_annotated(
    order_of: MakeOrder, tmp_path: Path
) -> None:
    labels = np.arange(4 * 80 * 80).reshape(4, 80, 80) % 2
    box = ((1, 3), (10, 30), (40, 70))
    order = order_of(
        labels.astype(np.uint8), labels.astype(np.uint8), classes=("a", "b"),
        train=(0, 4), annotated=(box,),
    )  # fmt: skip
    record = import_volume(order, tmp_path, tmp_path / "a.zarr")
    sampler = PatchSampler(
        Dataset(classes=order.classes, volumes=(record,)), tmp_path, (1, 16, 16), 4, 0
    )
    for step in range(10):
        assert all((patch >= 0).any() for patch in sampler.batch(step)[1])


def test_platelet_test_labels_are_scored_where_a_label_is_above_0(real_data: Path) -> None:
    path = real_data / "platelet_em" / "test_labels.tif"
    stack = stack_of(tifffile.imread(path), None)
    reading = LabelReading(classes=7, ignore_label=0)
    classes = reading.read(stack, (slice(0, 8), slice(0, 609), slice(0, 400)))
    assert ((classes == IGNORED) == (stack.read(0, 8) == 0)).all()
    assert set(np.unique(classes)) <= {1, 2, 3, 4, 5, 6, IGNORED}
