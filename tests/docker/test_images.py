"""What can be known of the images without a Docker engine: that they name what there is."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
IMAGES = [DOCKER / "Dockerfile", DOCKER / "slurm" / "Dockerfile", DOCKER / "emsearch.def"]


@pytest.mark.parametrize("path", IMAGES, ids=lambda path: str(path.relative_to(DOCKER)))
def test_images_use_files_that_are_there(path: Path) -> None:
    for name in re.findall(r"/opt/emsearch/([\w./-]+)", path.read_text()):
        assert (ROOT / name).exists(), name


def test_both_images_are_made_of_the_same() -> None:
    docker, apptainer = (path.read_text() for path in (IMAGES[0], IMAGES[2]))
    for pattern in (r"[Ff](?:ROM|rom:?) (python:\S+)", r"(pip install .*)", r"(git config .*)"):
        one, other = (re.search(pattern, text) for text in (docker, apptainer))
        assert one is not None
        assert other is not None
        assert one[1] == other[1]


def test_every_instruction_is_one_that_docker_knows() -> None:
    known = {"FROM", "RUN", "COPY", "ENV", "CMD", "ENTRYPOINT"}
    for path in IMAGES[:2]:
        text = re.sub(r"\\\n", " ", path.read_text())
        lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        assert {line.split()[0] for line in lines} <= known
        assert lines[0].startswith("FROM ")


@pytest.mark.parametrize("name", ["docker/slurm/entrypoint", "slurm/devcluster"])
def test_scripts_are_sound_shell_and_can_be_run(name: str) -> None:
    path = ROOT / name
    assert path.stat().st_mode & 0o111
    subprocess.run(["sh", "-n", str(path)], check=True)  # noqa: S607


def test_the_compose_files_paths_are_there() -> None:
    yaml = pytest.importorskip("yaml")
    services = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]
    build = services["slurm"]["build"]
    assert (DOCKER / build["context"] / build["dockerfile"]).resolve().is_file()
    assert services["slurm"]["depends_on"].keys() <= services.keys()
    assert "healthcheck" in services["postgres"]
