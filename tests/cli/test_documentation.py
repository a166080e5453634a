"""The README keeps its word."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from emsearch.cli.app import app
from emsearch.records.spec import StudySpec, read_spec

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def commands(group: Any, before: str = "") -> Iterator[str]:
    """Yield the names of all commands below a group."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{before}{name} ")
        else:
            yield f"{before}{name}"


def test_every_command_stands_in_the_readme() -> None:
    names = list(commands(typer.main.get_command(app)))
    assert len(names) >= 14
    for name in names:
        assert f"emsearch {name}" in README or f"`{name}`" in README, name


def test_every_key_of_a_study_file_stands_in_the_readme() -> None:
    table = README[README.index("## The study file") :]
    for section, field in StudySpec.model_fields.items():
        assert f"`[{section}]`" in table
        annotation = field.annotation
        assert annotation is not None
        for key in annotation.model_fields:
            assert key == "volumes" or f"`{key}`" in table, f"{section}.{key}"


def test_the_readmes_study_file_can_be_read(tmp_path: Path) -> None:
    block = re.search(r"```toml\n(.*?)```", README, re.DOTALL)
    assert block is not None
    path = tmp_path / "study.toml"
    path.write_text(block[1])
    assert read_spec(path).study.name == "vnc"


def test_every_study_file_of_the_experiments_can_be_read() -> None:
    files = sorted((ROOT / "experiments").glob("*.toml"))
    assert files
    for path in files:
        read_spec(path)


def test_every_part_stands_in_the_readmes_map() -> None:
    for path in (ROOT / "emsearch").iterdir():
        name = path.name.removesuffix(".py")
        if path.is_dir() and not name.startswith("__"):
            assert re.search(rf"^\s+(emsearch/\s+)?{name}\s", README, re.MULTILINE) or (
                f"emsearch/       {name}" in README
            ), name
