"""Study files for tests."""

import tomllib
from pathlib import Path

from emsearch.records.spec import StudySpec, parse_spec

SPEC = """
[study]
name = "tiny"
seed = 7
[dataset]
classes = ["background", "membrane"]
voxel_nm = [40, 10, 10]
[[dataset.volumes]]
image = "image.npy"
labels = "labels.npy"
train = "0:4"
validation = "4:6"
test = "6:8"
[space]
families = ["encoder_decoder_2d"]
max_parameters = 60000
[training]
patch_zyx = [1, 64, 64]
batch_size = 2
[search]
policy = "halving"
candidates = 6
repeats = 2
rungs = [10, 20, 40]
[tune]
survivors = 2
trials = 3
batch = 2
[ensemble]
size = 3
[cluster]
max_jobs = 2
min_job_s = 0.0
"""


def spec_of(text: str = SPEC, **changes: dict[str, object]) -> StudySpec:
    """Return a study, with some keys of its sections changed."""
    values = tomllib.loads(text)
    for section, keys in changes.items():
        values.setdefault(section, {}).update(keys)
    return parse_spec(values)


def write_study_file(folder: Path, text: str = SPEC) -> Path:
    """Write a study file into `folder`; its volumes are not made."""
    path = folder / "study.toml"
    path.write_text(text)
    return path
