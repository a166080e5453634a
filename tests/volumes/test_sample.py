from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emsearch.errors import SpecError
from emsearch.records.dataset import Dataset
from emsearch.records.order import ImportOrder
from emsearch.volumes.dataset import IGNORE, open_volume
from emsearch.volumes.importing import import_volume
from emsearch.volumes.phantom import CLASSES
from emsearch.volumes.sample import PatchSampler

MakeOrder = Callable[..., ImportOrder]


@pytest.fixture
def sampler(dataset: Dataset, tmp_path: Path) -> PatchSampler:
    return PatchSampler(dataset, tmp_path, (1, 32, 48), batch_size=4, seed=7)


def test_a_batch_has_the_shape_and_types_of_training(sampler: PatchSampler) -> None:
    image, labels = sampler.batch(0)
    assert image.shape == (4, 1, 1, 32, 48)
    assert labels.shape == (4, 1, 32, 48)
    assert image.dtype == np.dtype(np.float32)
    assert labels.dtype == np.dtype(np.int16)


def test_a_batch_depends_on_seed_and_step_alone(dataset: Dataset, tmp_path: Path) -> None:
    one, other = (PatchSampler(dataset, tmp_path, (1, 32, 32), 3, seed=7) for _ in range(2))
    one.batch(0)
    assert (one.batch(5)[0] == other.batch(5)[0]).all()
    assert (one.batch(5)[1] == other.batch(5)[1]).all()
    assert (one.batch(5)[0] != one.batch(6)[0]).any()
    assert (one.batch(5)[0] != PatchSampler(dataset, tmp_path, (1, 32, 32), 3, 8).batch(5)[0]).any()


def test_a_patch_s_labels_belong_to_its_image(order_of: MakeOrder, tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 4, (6, 64, 64)).astype(np.uint8)
    order = order_of(image, image, classes=("a", "b", "c", "d"), train=(0, 6))
    record = import_volume(order, tmp_path, tmp_path / "a.zarr")
    data = Dataset(classes=order.classes, volumes=(record,))
    patches, labels = PatchSampler(data, tmp_path, (3, 16, 16), 4, 0).batch(0)
    grey = np.rint(patches[:, 0] * record.std + record.mean)
    assert (grey == labels).all()


def test_no_label_outside_the_training_slices_is_ever_seen(
    order_of: MakeOrder, tmp_path: Path
) -> None:
    labels = np.ones((9, 40, 40), np.uint8)
    labels[3:5] = 0
    order = order_of(labels, labels, classes=("in", "out"), train=(3, 5))
    record = import_volume(order, tmp_path, tmp_path / "a.zarr")
    data = Dataset(classes=order.classes, volumes=(record,))
    sampler = PatchSampler(data, tmp_path, (5, 24, 24), 4, 0)
    seen = np.concatenate([sampler.batch(step)[1] for step in range(20)])
    assert set(np.unique(seen)) == {IGNORE, 0}
    image = np.concatenate([sampler.batch(step)[0] for step in range(20)])
    assert len(np.unique(image)) == 2  # the image reaches across the split


def test_a_class_of_a_thousandth_is_seen_in_every_batch(
    order_of: MakeOrder, tmp_path: Path
) -> None:
    labels = np.zeros((8, 128, 128), np.uint8)
    labels[:, 64:, :] = 1
    labels[3, 50:60, 50:60] = 2  # 100 of 131072
    order = order_of(labels, labels, classes=("a", "b", "rare"), train=(0, 8))
    record = import_volume(order, tmp_path, tmp_path / "a.zarr")
    data = Dataset(classes=order.classes, volumes=(record,))
    sampler = PatchSampler(data, tmp_path, (1, 24, 24), 2, 0)
    batches = [sampler.batch(step)[1] for step in range(50)]
    assert all((batch == 2).any() for batch in batches)
    assert sum((batch == 0).any() for batch in batches) > 20


def test_a_rare_voxel_is_seen_at_any_place_of_a_patch(order_of: MakeOrder, tmp_path: Path) -> None:
    labels = np.zeros((1, 256, 256), np.uint8)
    labels[0, 128, 128] = 1
    order = order_of(labels, labels, classes=("a", "rare"), train=(0, 1))
    record = import_volume(order, tmp_path, tmp_path / "a.zarr")
    data = Dataset(classes=order.classes, volumes=(record,))
    sampler = PatchSampler(data, tmp_path, (1, 64, 64), 2, 0)
    places = np.concatenate([np.argwhere(sampler.batch(step)[1] == 1) for step in range(60)])
    assert places[:, 2].min() < 8
    assert places[:, 2].max() > 55


def test_every_training_volume_is_drawn_from(
    dataset: Dataset, order_of: MakeOrder, tmp_path: Path
) -> None:
    flat = np.full((4, 64, 64), 200, np.uint8)
    order = order_of(flat, flat // 200, train=(0, 4), name="flat")
    record = import_volume(order, tmp_path, tmp_path / "flat.zarr")
    both = replace(dataset, volumes=(*dataset.volumes, record))
    sampler = PatchSampler(both, tmp_path, (1, 32, 32), 4, 0)
    spread = [patch.std() for step in range(20) for patch in sampler.batch(step)[0]]
    assert min(spread) == 0
    assert max(spread) > 0.1


def test_volumes_too_large_for_memory_give_the_same_batches(
    dataset: Dataset, sampler: PatchSampler, tmp_path: Path
) -> None:
    volume = open_volume(dataset.volumes[0], tmp_path)
    in_memory = sampler.batch(3)
    sampler.plan.volumes = [volume]
    from_disk = sampler.batch(3)
    assert (in_memory[0] == from_disk[0]).all()
    assert (in_memory[1] == from_disk[1]).all()


def test_without_training_slices_there_is_nothing_to_draw(dataset: Dataset, tmp_path: Path) -> None:
    untrained = replace(dataset, volumes=(replace(dataset.volumes[0], train=None),))
    with pytest.raises(SpecError, match="no volume has training slices"):
        PatchSampler(untrained, tmp_path, (1, 32, 32), 4, 0)


def test_without_annotated_voxels_there_is_nothing_to_draw(
    order_of: MakeOrder, tmp_path: Path
) -> None:
    blank = np.zeros((2, 40, 40), np.uint8)
    record = import_volume(
        order_of(blank, blank, ignore_label=0, train=(0, 2)), tmp_path, tmp_path / "a.zarr"
    )
    with pytest.raises(SpecError, match="no voxel of the training slices is annotated"):
        PatchSampler(Dataset(classes=CLASSES, volumes=(record,)), tmp_path, (1, 32, 32), 1, 0)
