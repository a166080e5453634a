import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from emsearch.cli.app import app
from emsearch.trees.families import FAMILIES
from emsearch.trees.node import Tree
from emsearch.trees.presets import PRESETS
from emsearch.trees.settings import SETTINGS

SMALL = ["--patch", "1,64,64", "--max-parameters", "50000"]


def test_sampled_trees_as_json_can_be_read_back() -> None:
    words = ["tree", "sample", "--count", "3", "--seed", "1", *SMALL, "--json"]
    listed = json.loads(CliRunner().invoke(app, words).stdout)
    assert len(listed) == 3
    for entry in listed:
        assert Tree.from_dict(entry["tree"]).digest() == entry["digest"]
        assert entry["parameters"] <= 50_000


def test_the_same_seed_gives_the_same_trees() -> None:
    def said(seed: str) -> str:
        return CliRunner().invoke(app, ["tree", "sample", "--seed", seed, *SMALL]).stdout

    assert said("1") == said("1") != said("2")


def test_a_sheet_of_pictures_is_written(tmp_path: Path) -> None:
    words = ["tree", "sample", "--count", "2", *SMALL, "--draw", str(tmp_path / "out")]
    assert CliRunner().invoke(app, words).exit_code == 0
    pictures = sorted((tmp_path / "out").glob("*.svg"))
    assert len(pictures) == 2 + 1
    assert pictures[-1].name == "sheet.svg"
    assert pictures[-1].read_text().count("<svg ") == 1 + 2


def test_a_tree_is_described_by_file_or_by_name(tmp_path: Path) -> None:
    words = ["tree", "sample", "--count", "1", *SMALL, "--json"]
    entry = json.loads(CliRunner().invoke(app, words).stdout)[0]
    path = tmp_path / "tree.json"
    path.write_text(json.dumps(entry["tree"]))
    words = ["tree", "describe", str(path), "--patch", "1,64,64", "--json"]
    described = json.loads(CliRunner().invoke(app, words).stdout)
    assert described["parameters"] == entry["parameters"]
    assert described["output_zyx"] == [1, 64, 64]


def test_the_baseline_can_be_drawn(tmp_path: Path) -> None:
    out = tmp_path / "baseline.svg"
    assert CliRunner().invoke(app, ["tree", "draw", "baseline", "--out", str(out)]).exit_code == 0
    assert "<svg" in out.read_text()


def test_a_preset_is_described_with_its_exact_parameters() -> None:
    words = ["tree", "describe", "unet", "--classes", "7", "--json"]
    described = json.loads(CliRunner().invoke(app, words).stdout)
    assert described["parameters"] == 31_030_983


def test_the_planes_are_drawn_on_request(tmp_path: Path) -> None:
    out, planes = tmp_path / "tree.svg", tmp_path / "planes.svg"
    words = ["tree", "draw", "unet", "--out", str(out), "--diagram", str(planes)]
    assert CliRunner().invoke(app, words).exit_code == 0
    assert out.read_text() != planes.read_text()
    assert "</svg>" in planes.read_text()


def test_a_name_that_is_no_tree_says_what_is() -> None:
    done = CliRunner().invoke(app, ["tree", "describe", "nothing"])
    assert "give a JSON file, a preset (baseline, unet," in str(done.exception)


def test_three_numbers_are_asked_for_by_name() -> None:
    done = CliRunner().invoke(app, ["tree", "describe", "baseline", "--patch", "1,64"])
    assert "--patch '1,64': give three numbers" in str(done.exception)


def test_families_and_presets_are_listed() -> None:
    listed = json.loads(CliRunner().invoke(app, ["tree", "families", "--json"]).stdout)
    named = {entry["name"]: entry["sort"] for entry in listed}
    assert named == dict.fromkeys([*FAMILIES, "mixed"], "family") | dict.fromkeys(PRESETS, "preset")


def test_settings_say_what_they_may_be_and_what_a_family_draws() -> None:
    words = ["tree", "settings", "thin_3d", "--json"]
    listed = {
        entry["setting"]: entry for entry in json.loads(CliRunner().invoke(app, words).stdout)
    }
    assert set(listed) == set(SETTINGS)
    assert listed["width"]["allowed"] == "a whole number from 1 to 2048"
    assert (listed["width"]["drawn"], listed["pool"]["drawn"]) == (
        "8 to 64",
        "max, average, strided",
    )
    assert (listed["crf_radius"]["default"], listed["crf_radius"]["drawn"]) == (3, "")


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_described_in_full(name: str) -> None:
    patch = ",".join(map(str, PRESETS[name].patch_zyx))
    words = ["tree", "describe", name, "--classes", "7", "--patch", patch, "--json"]
    described = json.loads(CliRunner().invoke(app, words).stdout)
    assert described["output_zyx"] == list(PRESETS[name].patch_zyx)
    keys = ("parameters", "layers", "flops", "activation_bytes", "memory_gb")
    assert all(described[key] > 0 for key in keys)
    assert len(described["receptive_field_zyx"]) == 3
