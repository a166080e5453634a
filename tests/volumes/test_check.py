from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

from emsearch.errors import SpecError
from emsearch.records.dataset import Dataset
from emsearch.records.order import ImportOrder
from emsearch.records.score import Split
from emsearch.records.spec import StudySpec, parse_spec
from emsearch.volumes.check import check_dataset
from emsearch.volumes.forecast import forecast_sampling
from emsearch.volumes.importing import import_volume
from emsearch.volumes.phantom import CLASSES, VOXEL_NM
from emsearch.volumes.sample import PatchSampler
from emsearch.volumes.voxels import with_voxel_sizes
from tests.support.formats import scribble_section

Pair = tuple[np.ndarray, np.ndarray]
SpecOf = Callable[..., StudySpec]


@pytest.fixture
def spec_of(tmp_path: Path, cells: Pair) -> SpecOf:
    """Saves image and labels and returns a study of them, with changes to its volume."""

    def make(
        grey: np.ndarray = cells[0], numbers: np.ndarray = cells[1], **volume: Any
    ) -> StudySpec:
        tifffile.imwrite(tmp_path / "image.tif", grey)
        tifffile.imwrite(tmp_path / "labels.tif", numbers)
        usual = {
            "image": str(tmp_path / "image.tif"),
            "labels": str(tmp_path / "labels.tif"),
            "train": "0:6",
            "validation": "6:8",
            "test": "8:10",
        }
        return parse_spec(
            {
                "study": {"name": "s"},
                "dataset": {
                    "classes": CLASSES,
                    "voxel_nm": VOXEL_NM,
                    "volumes": [{**usual, **volume}],
                },
                "training": {"patch_zyx": (1, 64, 64)},
            }
        )

    return make


def faults_of(spec: StudySpec) -> list[str]:
    with pytest.raises(SpecError) as caught:
        check_dataset(spec)
    return str(caught.value).splitlines()


def test_a_sound_volume_is_reported(spec_of: SpecOf, cells: Pair) -> None:
    (report,) = check_dataset(spec_of())
    assert report.shape_zyx == (10, 96, 96)
    assert report.voxel_nm == VOXEL_NM
    assert report.file_voxel_nm is None
    assert (report.low, report.high) == (cells[0].min(), cells[0].max())
    assert report.mean == pytest.approx(cells[0][:6].mean())
    expected = np.bincount(cells[1][6:8].ravel(), minlength=6) / cells[1][6:8].size
    assert report.fractions_K(Split.VALIDATION) == pytest.approx(expected.tolist())


def test_nothing_is_written(spec_of: SpecOf, tmp_path: Path) -> None:
    check_dataset(spec_of())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image.tif", "labels.tif"]


@pytest.mark.parametrize("key", ["image", "labels"])
def test_a_missing_file_is_named_with_its_key(key: str, spec_of: SpecOf) -> None:
    (fault,) = faults_of(spec_of(**{key: "/nowhere/at/all.tif"}))
    assert f"dataset.volumes.0.{key} = '/nowhere/at/all.tif': no such file" in fault
    assert "relative to the study file" in fault


def test_a_file_that_is_no_tiff_is_named(spec_of: SpecOf, tmp_path: Path) -> None:
    spec = spec_of()
    (tmp_path / "image.tif").write_text("not a picture")
    (fault,) = faults_of(spec)
    assert "dataset.volumes.0.image" in fault
    assert "is no TIFF" in fault


@pytest.mark.parametrize("key", ["image", "labels"])
def test_a_tiff_cut_short_is_named_with_its_key(key: str, spec_of: SpecOf, tmp_path: Path) -> None:
    spec = spec_of()
    path = tmp_path / f"{key}.tif"
    path.write_bytes(path.read_bytes()[:-20_000])
    (fault,) = faults_of(spec)
    assert f"dataset.volumes.0.{key} = '{path}'" in fault
    assert "is damaged or cut short" in fault


@pytest.mark.parametrize("key", ["image", "labels"])
def test_a_section_that_cannot_be_read_is_named(
    key: str, spec_of: SpecOf, cells: Pair, tmp_path: Path
) -> None:
    spec = spec_of()
    scribble_section(tmp_path / f"{key}.tif", cells[key == "labels"], 7)
    (fault,) = faults_of(spec)
    assert f"dataset.volumes.0.{key} = " in fault
    assert f"section 7 of {tmp_path / key}.tif cannot be read" in fault


def test_chunks_that_are_not_on_disk_are_doubted(
    spec_of: SpecOf, cells: Pair, tmp_path: Path
) -> None:
    zarr.create_array(tmp_path / "image.zarr", data=cells[0], chunks=(5, 48, 48), shards=None)
    spec = spec_of(image=str(tmp_path / "image.zarr"))
    assert not check_dataset(spec)[0].warnings
    (tmp_path / "image.zarr" / "c" / "1" / "0" / "1").unlink()
    (warning,) = check_dataset(spec)[0].warnings
    assert "1 of 8 chunks of the image are not on disk and count as 0" in warning


def test_shards_that_are_not_on_disk_are_doubted(
    spec_of: SpecOf, cells: Pair, tmp_path: Path
) -> None:
    """The volume is no multiple of its shards, so these have room for more chunks than it has."""
    zarr.create_array(
        tmp_path / "image.zarr", data=cells[0], chunks=(2, 20, 20), shards=(4, 40, 40)
    )
    spec = spec_of(image=str(tmp_path / "image.zarr"))
    assert not check_dataset(spec)[0].warnings
    (tmp_path / "image.zarr" / "c" / "2" / "2" / "1").unlink()
    (warning,) = check_dataset(spec)[0].warnings
    assert "1 of 27 shards of the image are not on disk and count as 0" in warning


def test_labels_of_another_shape_are_named_with_both_shapes(spec_of: SpecOf, cells: Pair) -> None:
    (fault,) = faults_of(spec_of(numbers=cells[1][:, :90]))
    assert "dataset.volumes.0.labels" in fault
    assert "shape (10, 90, 96) differs from the image's (10, 96, 96)" in fault


def test_more_label_values_than_classes_are_named(spec_of: SpecOf, cells: Pair) -> None:
    labels = cells[1].copy()
    labels[9, 0, 0] = 6
    (fault,) = faults_of(spec_of(numbers=labels))
    assert "dataset.volumes.0.labels" in fault
    assert "holds the value 6, but there are 6 classes (0 to 5)" in fault
    assert "dataset.ignore_label" in fault


def test_labels_that_are_no_integers_are_refused(spec_of: SpecOf, cells: Pair) -> None:
    (fault,) = faults_of(spec_of(numbers=cells[1].astype(np.float32)))
    assert "labels are float32; save them as integers" in fault


def test_a_float_image_with_nan_names_the_section(spec_of: SpecOf, cells: Pair) -> None:
    image = cells[0].astype(np.float32)
    image[3, 1, 1] = np.nan
    (fault,) = faults_of(spec_of(grey=image))
    assert "dataset.volumes.0.image" in fault
    assert "section 3 holds a value that is not finite" in fault


def test_slices_beyond_the_volume_are_named(spec_of: SpecOf) -> None:
    (fault,) = faults_of(spec_of(test="8:12"))
    assert 'dataset.volumes.0.test = "8:12": the volume has 10 slices' in fault


def test_overlapping_splits_are_named(spec_of: SpecOf) -> None:
    (fault,) = faults_of(spec_of(validation="5:8"))
    assert 'dataset.volumes.0.validation = "5:8": overlaps with train = "0:6"' in fault


def test_a_volume_smaller_than_the_patch_is_named(spec_of: SpecOf) -> None:
    spec = spec_of()
    training = spec.training.model_copy(update={"patch_zyx": (12, 64, 64)})
    (fault,) = faults_of(spec.model_copy(update={"training": training}))
    assert "training.patch_zyx = [12, 64, 64]" in fault
    assert "has only [10, 96, 96] voxels" in fault


def test_a_patch_may_reach_across_the_split(spec_of: SpecOf) -> None:
    spec = spec_of()
    training = spec.training.model_copy(update={"patch_zyx": (9, 64, 64)})
    assert check_dataset(spec.model_copy(update={"training": training}))


def test_a_class_absent_from_training_is_named(spec_of: SpecOf, cells: Pair) -> None:
    labels = cells[1].copy()
    labels[:6][labels[:6] == 5] = 4
    (fault,) = faults_of(spec_of(numbers=labels))
    assert "dataset.classes.5 = 'dense_granule': no voxel of it in the training slices" in fault


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_an_empty_split_is_named(split: str, spec_of: SpecOf) -> None:
    faults = faults_of(spec_of(**{split: None}))
    assert f"dataset.volumes: no volume has slices for {split}" in faults[0]


def test_a_split_without_annotation_is_named(spec_of: SpecOf, cells: Pair) -> None:
    labels = cells[1].copy()
    labels[8:] = 77
    spec = spec_of(numbers=labels)
    dataset = spec.dataset.model_copy(update={"ignore_label": 77})
    (fault,) = faults_of(spec.model_copy(update={"dataset": dataset}))
    assert "no voxel of the slices for test is annotated" in fault


def test_all_faults_are_told_at_once(spec_of: SpecOf, cells: Pair) -> None:
    spec = spec_of(numbers=cells[1][:5].astype(np.float32), test="8:12", validation=None)
    faults = faults_of(spec)
    assert [fault.split(" = ")[0].split(": ")[0].strip() for fault in faults] == [
        "dataset.volumes.0.test",
        "dataset.volumes.0.labels",
        "dataset.volumes.0.labels",
        "dataset.volumes",
    ]


def test_a_voxel_size_that_differs_from_the_file_s_is_warned_of(
    spec_of: SpecOf, cells: Pair, tmp_path: Path
) -> None:
    spec = spec_of()
    metadata = {"axes": "ZYX", "spacing": 0.05, "unit": "um"}
    tifffile.imwrite(
        tmp_path / "image.tif", cells[0], imagej=True, resolution=(100, 100), metadata=metadata
    )
    (report,) = check_dataset(spec)
    assert report.file_voxel_nm == (50, 10, 10)
    (warning,) = report.warnings
    assert "metadata says [50, 10, 10] nm, the study file [40, 10, 10] nm" in warning
    assert report.voxel_nm == (50, 10, 10)
    own = spec.dataset.volumes[0].model_copy(update={"voxel_nm": (42.0, 10.0, 10.0)})
    dataset = spec.dataset.model_copy(update={"volumes": (own,)})
    (report,) = check_dataset(spec.model_copy(update={"dataset": dataset}))
    assert report.voxel_nm == (42, 10, 10)
    assert "[42, 10, 10] is taken" in report.warnings[0]


def test_a_voxel_size_that_nobody_says_is_a_fault_and_not_guessed(
    spec_of: SpecOf, cells: Pair, tmp_path: Path
) -> None:
    spec = spec_of()
    nothing = spec.dataset.model_copy(update={"voxel_nm": None})
    unsaid = spec.model_copy(update={"dataset": nothing})
    faults = faults_of(unsaid)
    assert any("dataset.voxel_nm: missing, and the images' metadata" in line for line in faults)
    tifffile.imwrite(
        tmp_path / "image.tif",
        cells[0],
        imagej=True,
        resolution=(100, 100),
        metadata={"axes": "ZYX", "spacing": 0.05, "unit": "um"},
    )
    (report,) = check_dataset(unsaid)
    assert report.voxel_nm == (50, 10, 10)
    assert not report.warnings
    assert with_voxel_sizes(unsaid).dataset.voxel_nm == (50, 10, 10)


def test_the_real_volume_is_sound(real_data: Path) -> None:
    folder = real_data / "drosophila_vnc"
    names = ["intracellular", "membrane", "mitochondria", "synapse", "glia"]
    volume = {
        "image": str(folder / "image.tif"),
        "labels": str(folder / "labels.tif"),
        "train": "0:14",
        "validation": "14:16",
        "test": "16:20",
    }
    dataset = {"classes": names, "voxel_nm": [50, 4.6, 4.6], "volumes": [volume]}
    (report,) = check_dataset(parse_spec({"study": {"name": "vnc"}, "dataset": dataset}))
    assert report.fractions_K(Split.TRAIN)[3] == pytest.approx(0.0066, abs=1e-3)


def test_shifted_labels_are_doubted(spec_of: SpecOf, cells: Pair) -> None:
    (report,) = check_dataset(spec_of(numbers=np.roll(cells[1], 6, axis=2)))
    (warning,) = report.warnings
    assert "moved by 0 voxels along y and -6 along x" in warning
    assert not check_dataset(spec_of())[0].warnings


def test_a_class_of_few_voxels_is_doubted(spec_of: SpecOf, cells: Pair) -> None:
    labels = cells[1].copy()
    labels[labels == 5] = 4
    labels[0, 0, :5] = 5
    (report,) = check_dataset(spec_of(numbers=labels))
    assert "only 5 training voxels are dense_granule" in report.warnings[0]


def test_a_volume_may_have_its_own_voxel_size_and_ignored_value(
    spec_of: SpecOf, cells: Pair
) -> None:
    (report,) = check_dataset(spec_of(voxel_nm=(50, 5, 5), annotated=["0:10, 0:48, 0:96"]))
    assert report.voxel_nm == (50, 5, 5)
    assert sum(report.counts_K[Split.TRAIN]) == 6 * 48 * 96
    assert report.counts_K[Split.TRAIN][1] == (cells[1][:6, :48] == 1).sum()


def test_an_annotated_box_beyond_the_volume_is_a_fault(spec_of: SpecOf) -> None:
    (fault,) = faults_of(spec_of(annotated=["0:10, 0:48, 0:97"]))
    assert "dataset.volumes.0.labels" in fault
    assert "reaches beyond the volume of (10, 96, 96)" in fault


def test_a_palette_that_does_not_fit_the_classes_is_a_fault(spec_of: SpecOf) -> None:
    spec = spec_of()
    dataset = spec.dataset.model_copy(update={"palette": (0, 255)})
    faults = faults_of(spec.model_copy(update={"dataset": dataset}))
    assert "dataset.palette has 2 entries for 6 classes" in faults[0]


def test_the_forecast_is_what_the_sampler_draws(spec_of: SpecOf, tmp_path: Path) -> None:
    spec = spec_of()
    forecast = forecast_sampling(spec, batches=20)
    order = ImportOrder.of(spec.dataset, spec.dataset.volumes[0].model_copy(update={"name": "a"}))
    record = import_volume(order, tmp_path, tmp_path / "a.zarr")
    data = Dataset(classes=CLASSES, volumes=(record,))
    training = spec.training
    sampler = PatchSampler(
        data, tmp_path, training.patch_zyx, training.batch_size, seed=spec.study.seed
    )
    labels = np.concatenate([sampler.batch(step)[1] for step in range(20)])
    counts = np.bincount(labels[labels >= 0], minlength=6)
    assert forecast.fractions_K == pytest.approx((counts / counts.sum()).tolist())
    assert forecast == sampler.plan.drawn(range(20))
    assert forecast.annotated == (labels >= 0).mean()
    assert min(forecast.seen_K) > 0.5
