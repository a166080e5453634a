from pathlib import Path

import pytest

from emsearch.errors import NotFoundError, SpecError
from emsearch.records.sections import z_range
from emsearch.records.spec import parse_spec, read_spec
from tests.support.studies import SPEC, spec_of, write_study_file


def fault(text: str, tmp_path: Path) -> str:
    with pytest.raises(SpecError) as caught:
        read_spec(write_study_file(tmp_path, text))
    return str(caught.value)


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    spec = read_spec(write_study_file(tmp_path))
    assert spec.dataset.volumes[0].image == tmp_path / "image.npy"


def test_volumes_without_a_name_are_numbered(tmp_path: Path) -> None:
    assert read_spec(write_study_file(tmp_path)).dataset.volumes[0].name == "v0"


def test_a_spec_survives_being_written_as_json(tmp_path: Path) -> None:
    spec = read_spec(write_study_file(tmp_path))
    assert parse_spec(spec.model_dump(mode="json")) == spec


def test_an_unknown_key_is_named_with_those_that_are_known(tmp_path: Path) -> None:
    message = fault(SPEC.replace("repeats = 2", "repeat = 2"), tmp_path)
    assert "search.repeat = 2: no such key; known here: candidates, " in message
    assert " repeats, rungs" in message
    assert str(tmp_path / "study.toml") in message


def test_an_unknown_key_of_a_volume_is_named(tmp_path: Path) -> None:
    message = fault(SPEC.replace('test = "6:8"', 'tests = "6:8"'), tmp_path)
    assert "dataset.volumes.0.tests" in message
    assert "validation" in message


def test_a_voxel_size_that_is_not_known_is_never_guessed(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(SPEC.replace("voxel_nm = [40, 10, 10]", ""))
    spec = read_spec(tmp_path / "study.toml")
    assert spec.dataset.voxel_nm is None  # the images' metadata may say it
    with pytest.raises(SpecError, match=r"dataset.voxel_nm: missing.*voxel_nm = \[50, 4.6, 4.6\]"):
        spec.dataset.known_voxel_nm()


def test_missing_classes_say_how_to_give_them(tmp_path: Path) -> None:
    message = fault(SPEC.replace('classes = ["background", "membrane"]', ""), tmp_path)
    assert "dataset.classes: missing" in message
    assert 'classes = ["background", "membrane"]' in message


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    text = SPEC.replace("repeats = 2", "repeats = 0").replace("size = 3", 'size = "three"')
    message = fault(text, tmp_path)
    assert "search.repeats = 0" in message
    assert "ensemble.size = 'three'" in message


@pytest.mark.parametrize("text", ["0-4", "4:2", "3:3", "a:b", "1:2:3", "-1:4"])
def test_a_range_of_slices_says_how_it_is_written(text: str, tmp_path: Path) -> None:
    message = fault(SPEC.replace('train = "0:4"', f'train = "{text}"'), tmp_path)
    assert f"dataset.volumes.0.train = '{text}'" in message
    assert "first:end" in message


def test_a_range_holds_its_ends() -> None:
    assert z_range("3:14") == (3, 14)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[40, 10, 10]", "[0, 10, 10]", "greater than 0"),
        ("[40, 10, 10]", "[nan, 10, 10]", "dataset.voxel_nm"),
        ("seed = 7", "seed = 9223372036854775808", "study.seed"),
        ('"membrane"]', '"background"]', "names must differ"),
        ("size = 3", "size = 300", "ensemble.size"),
        ('image = "image.npy"', "image = 3", "must be a path in quotes"),
        ('image = "image.npy"', 'name = "../x"\nimage = "image.npy"', "dataset.volumes.0.name"),
    ],
)
def test_what_cannot_be_meant_is_refused(old: str, new: str, words: str, tmp_path: Path) -> None:
    assert old in SPEC
    message = fault(SPEC.replace(old, new, 1), tmp_path)
    assert words in message
    assert "should have at least" not in message


def test_rungs_rise(tmp_path: Path) -> None:
    message = fault(SPEC.replace("[10, 20, 40]", "[20, 10]"), tmp_path)
    assert "search.rungs" in message
    assert "must rise" in message


def test_two_volumes_of_one_name_are_refused(tmp_path: Path) -> None:
    volume = '[[dataset.volumes]]\nname = "a"\nimage = "i.npy"\nlabels = "l.npy"\n'
    text = SPEC.replace("[space]", f"{volume}{volume}[space]")
    assert "names must differ" in fault(text, tmp_path)


def test_a_name_that_is_no_folder_name_is_refused(tmp_path: Path) -> None:
    assert "study.name = '../x'" in fault(SPEC.replace('"tiny"', '"../x"'), tmp_path)


def test_a_file_that_is_no_toml_says_where(tmp_path: Path) -> None:
    assert "is not TOML" in fault(SPEC + "\n[[[", tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no study file at .*nowhere\.toml"):
        read_spec(tmp_path / "nowhere.toml")


def test_defaults_need_only_a_name_and_volumes() -> None:
    text = SPEC[: SPEC.index("[space]")]
    assert spec_of(text).search.repeats == 2


def test_the_training_section_is_the_recipe() -> None:
    spec = spec_of(training={"learning_rate": 0.002, "batch_size": 3})
    assert spec.training.recipe().learning_rate == 0.002
    assert spec.training.recipe().batch_size == 3


def test_the_path_of_a_profile_is_relative_to_the_study_file(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    text = SPEC.replace("[cluster]", '[cluster]\nexecutor = "slurm"\nprofile = "own.toml"')
    path.write_text(text)
    assert read_spec(path).cluster.profile == str(tmp_path / "own.toml")
    path.write_text(text.replace("own.toml", "biowulf"))
    assert read_spec(path).cluster.profile == "biowulf"
