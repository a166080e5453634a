import json
from pathlib import Path

import pytest

from emsearch.records.files import read_json, replacing, write_json, write_jsons


def half_write(path: Path) -> None:
    with replacing(path) as scratch:
        scratch.write_text("ne")
        raise KeyboardInterrupt


def test_a_half_written_file_is_never_seen(tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        half_write(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_written_file_takes_its_place_and_leaves_no_scratch(tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    path.write_text("old")
    with replacing(path) as scratch:
        scratch.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_json_comes_back_and_its_folder_is_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.json"
    write_json(path, {"x": [1, None, "ü"]})
    assert read_json(path) == {"x": [1, None, "ü"]}


def test_what_is_no_json_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"x": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_a_broken_file_is_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "b.json").write_text("{")
    with pytest.raises(json.JSONDecodeError):
        read_json(tmp_path / "b.json")


def test_many_files_of_a_folder_come_back_and_leave_no_scratch(tmp_path: Path) -> None:
    contents = {"a.json": {"one": 1}, "b.json": [2.5, None]}
    write_jsons(tmp_path / "new", contents)
    found = {path.name: read_json(path) for path in (tmp_path / "new").iterdir()}
    assert found == contents
    with pytest.raises(ValueError, match="JSON"):
        write_jsons(tmp_path / "new", {"a.json": float("nan")})
    assert read_json(tmp_path / "new" / "a.json") == {"one": 1}
    assert len(list((tmp_path / "new").iterdir())) == 2
