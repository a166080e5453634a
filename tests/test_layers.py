"""Imports point one way."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "emsearch"

# A part may import the rows above its own, and nothing else of emsearch.
LAYERS = [
    {"errors"},
    {"trees"},
    {"records"},
    {"volumes", "networks", "metrics", "ranking", "tuning", "ledger", "execution"},
    {"inference"},
    {"training", "ensembles"},
    {"worker", "coordinator", "reports"},
    {"cli"},
]
ROW = {part: row for row, parts in enumerate(LAYERS) for part in parts}
FILES = sorted(ROOT.rglob("*.py"))


def part_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    """Return the parts of emsearch that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return {name.split(".")[1] for name in names if name.startswith("emsearch.")}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_part_imports_only_the_rows_above_its_own(path: Path) -> None:
    part = part_of(path)
    if part == "__init__":
        return  # the package's front door
    for other in imports_of(path):
        assert other == part or ROW[other] < ROW[part], f"{part} imports {other}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_command_line_imports_inside_functions(path: Path) -> None:
    if part_of(path) in {"cli", "__init__"}:
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            inside = [n for n in ast.walk(node) if isinstance(n, ast.Import | ast.ImportFrom)]
            assert not inside, f"{node.name} imports inside"


@pytest.mark.parametrize(
    "module",
    [
        "cli",
        "cli.app",
        "coordinator.serve",
        "coordinator.forecast",
        "reports.pages",
        "worker",
        "coordinator.detach",
        "coordinator.doctor",
        "coordinator.executors",
        "coordinator.holder",
    ],
)
def test_login_nodes_are_spared_torch(module: str) -> None:
    code = f"import sys, emsearch.{module}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_file_is_small_enough_to_be_read() -> None:
    long = {str(path): n for path in FILES if (n := len(path.read_text().splitlines())) > 400}
    assert not long


def test_workers_are_spared_the_compiler() -> None:
    """It takes as long to import as all the rest."""
    code = "import sys, emsearch.training.run; sys.exit('torch._dynamo' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
