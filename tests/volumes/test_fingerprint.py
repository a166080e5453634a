import tomllib
from pathlib import Path

import numpy as np
import pytest
import tifffile

from emsearch.errors import NotFoundError, SpecError
from emsearch.records.score import Split
from emsearch.records.spec import StudySpec, read_spec
from emsearch.volumes.check import check_dataset
from emsearch.volumes.fingerprint import fingerprint
from emsearch.volumes.pairing import pair_files
from emsearch.volumes.phantom import phantom

Pair = tuple[np.ndarray, np.ndarray]


def save(path: Path, array: np.ndarray, voxel_nm: tuple[float, float, float] | None = None) -> Path:
    sizes: dict[str, object] = {}
    for axis, size in zip("ZYX", voxel_nm or (), strict=False):
        sizes |= {f"PhysicalSize{axis}": size, f"PhysicalSize{axis}Unit": "nm"}
    ome = voxel_nm is not None
    tifffile.imwrite(
        path,
        array,
        ome=ome,
        photometric="minisblack",
        metadata={"axes": "ZYX"[-array.ndim :], **sizes},
    )
    return path


def written(folder: Path, *paths: Path) -> StudySpec:
    (folder / "study.toml").write_text(fingerprint(paths, name="cells"))
    return read_spec(folder / "study.toml")


def test_the_study_file_of_a_volume_passes_the_check(tmp_path: Path) -> None:
    image, labels = phantom((10, 100, 140), seed=4)
    (tmp_path / "data").mkdir()
    save(tmp_path / "data" / "image.tif", image, (40, 10, 10))
    save(tmp_path / "data" / "labels.tif", labels)
    spec = written(tmp_path, tmp_path / "data")
    assert spec.dataset.voxel_nm == (40, 10, 10)
    assert len(spec.dataset.classes) == 6
    assert spec.training.patch_zyx == (1, 96, 136)
    assert spec.space.families[0] == "encoder_decoder_2d"
    (volume,) = spec.dataset.volumes
    assert (volume.train, volume.validation, volume.test) == ("0:7", "7:8", "8:10")
    assert check_dataset(spec)


def test_class_fractions_stand_in_comments(tmp_path: Path) -> None:
    labels = np.zeros((4, 16, 16), np.uint8)
    labels[0] = 1
    image, classes = save(tmp_path / "a.tif", labels), save(tmp_path / "a_seg.tif", labels)
    text = fingerprint([image, classes])
    assert "class_0 (label 0): 0.7500" in text
    assert "class_1 (label 1): 0.2500" in text


def test_an_unknown_voxel_size_is_asked_for_and_not_guessed(tmp_path: Path) -> None:
    save(tmp_path / "image.tif", np.zeros((4, 16, 16), np.uint8))
    save(tmp_path / "labels.tif", np.arange(4 * 16 * 16, dtype=np.uint8).reshape(4, 16, 16) % 2)
    text = fingerprint([tmp_path])
    assert "# No file says its voxel size" in text
    assert "voxel_nm" not in tomllib.loads(text)["dataset"]
    (tmp_path / "study.toml").write_text(text)
    with pytest.raises(SpecError, match=r"dataset.voxel_nm: missing"):
        check_dataset(read_spec(tmp_path / "study.toml"))


def test_isotropic_volumes_are_given_cubes(tmp_path: Path) -> None:
    volume = np.zeros((40, 70, 200), np.uint8)
    volume[::2] = 1
    save(tmp_path / "image.tif", volume, (8, 8, 8))
    save(tmp_path / "labels.tif", volume)
    spec = written(tmp_path, tmp_path)
    assert spec.training.patch_zyx == (32, 64, 128)
    assert spec.space.families == ("encoder_decoder_3d",)


def test_mask_values_become_a_palette(tmp_path: Path) -> None:
    mask = np.zeros((10, 32, 32), np.uint8)
    mask[:, 8:20] = 255
    save(tmp_path / "image.tif", mask, (40, 4, 4))
    save(tmp_path / "mask.tif", mask)
    spec = written(tmp_path, tmp_path)
    assert spec.dataset.palette == (0, 255)
    (report,) = check_dataset(spec)
    assert report.fractions_K(Split.TRAIN) == pytest.approx((0.625, 0.375))


def test_colours_become_a_palette(tmp_path: Path) -> None:
    colours = np.zeros((10, 32, 32, 3), np.uint8)
    colours[:, :8] = (200, 0, 10)
    save(tmp_path / "image.tif", colours[..., 0], (40, 4, 4))
    tifffile.imwrite(tmp_path / "labels.tif", colours, photometric="rgb")
    spec = written(tmp_path, tmp_path)
    assert spec.dataset.palette == ((0, 0, 0), (200, 0, 10))
    assert check_dataset(spec)


def test_names_say_what_a_volume_is_for(tmp_path: Path) -> None:
    volume = np.arange(10 * 16 * 16).reshape(10, 16, 16).astype(np.uint8) % 2
    for name in ("train", "test"):
        save(tmp_path / f"{name}_image.tif", volume, (5, 5, 5))
        save(tmp_path / f"{name}_labels.tif", volume)
    test, train = written(tmp_path, tmp_path).dataset.volumes
    assert (test.train, test.validation, test.test) == (None, None, "0:10")
    assert (train.train, train.validation, train.test) == ("0:9", "9:10", None)


def test_single_pictures_are_dealt_to_the_splits(tmp_path: Path) -> None:
    picture = np.arange(32 * 32).reshape(32, 32).astype(np.uint8) % 2
    for name in ("a", "b", "c"):
        save(tmp_path / f"{name}.tif", picture)
        save(tmp_path / f"{name}_mask.tif", picture)
    text = fingerprint([tmp_path])
    assert [text.count(f'{split} = "0:1"') for split in Split] == [1, 1, 1]


def test_instances_are_not_taken_for_classes(tmp_path: Path) -> None:
    save(tmp_path / "image.tif", np.zeros((4, 16, 16), np.uint8))
    save(tmp_path / "labels.tif", np.arange(1024).reshape(4, 16, 16).astype(np.uint16))
    with pytest.raises(SpecError, match="more than 64 values: are these instances"):
        fingerprint([tmp_path])


def test_a_file_without_a_partner_is_named(tmp_path: Path) -> None:
    for name in ("a_image.tif", "b_image.tif", "a_labels.tif"):
        save(tmp_path / name, np.zeros((2, 8, 8), np.uint8))
    with pytest.raises(SpecError, match=r"no partner for .*b_image\.tif; name labels like"):
        pair_files([tmp_path])
    with pytest.raises(NotFoundError, match="no such file or folder"):
        pair_files([tmp_path / "c"])


def test_the_real_volumes_are_paired(real_data: Path) -> None:
    axons = pair_files([real_data / "axon_sem"])
    assert [pair.image.name.replace("image", "labels") for pair in axons] == [
        pair.labels.name for pair in axons
    ]
    assert len(axons) == 4
    lucchi = pair_files([real_data / "lucchi_pp"])
    assert {pair.split for pair in lucchi} == {Split.TRAIN, Split.TEST}
