"""Ensembles of more members than memory is to hold."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr

from emsearch.errors import SpecError
from emsearch.inference import ensemble as ensembles
from emsearch.inference.ensemble import load_ensemble
from emsearch.inference.predict import Predictor, Stored
from emsearch.inference.views import Manner
from emsearch.trees.arithmetic import Limits, Target
from emsearch.trees.baseline import baseline
from tests.support.ensembles import write_untrained
from tests.support.trials import CLASSES, picture

_PATCH = (1, 64, 64)
_FLIPS = Manner(flips=True)

_MEASURED = """
import sys
from pathlib import Path
from emsearch.inference import ensemble
from emsearch.inference.stream import segment
from emsearch.records.order import SegmentOrder

folder, volume, out, held = sys.argv[1:5]
ensemble._HELD_BYTES["cpu"] = int(held)
task = SegmentOrder(ensemble=folder, volume=volume, out=out, device="cpu", voxel_nm=(40, 4, 4))
segment(task, lambda done, of: None)
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(int(status["VmHWM"].split()[0]) // 1024)
"""


def _hold(monkeypatch: pytest.MonkeyPatch, members_bytes: int) -> None:
    monkeypatch.setitem(ensembles._HELD_BYTES, "cpu", members_bytes)


@pytest.mark.parametrize("is_majority", [False, True])
@pytest.mark.parametrize("manner", [Manner(), _FLIPS])
def test_members_read_in_turn_say_what_members_in_memory_say(
    manner: Manner, is_majority: bool, ensemble: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, _ = picture((4, 90, 70))
    held = load_ensemble(ensemble, "cpu", manner)
    _hold(monkeypatch, (ensemble / "members" / "00.pt").stat().st_size)
    turns = load_ensemble(ensemble, "cpu", manner)
    assert [type(member) for member in held.committee.members] == [Predictor, Predictor]
    assert [type(member) for member in turns.committee.members] == [Predictor, Stored]
    one, other = (
        replace(said, committee=replace(said.committee, is_majority=is_majority))
        for said in (held, turns)
    )
    np.testing.assert_array_equal(one.probability(image), other.probability(image))
    np.testing.assert_array_equal(one.segment(image), other.segment(image))


def test_a_blending_that_there_is_not_is_refused(ensemble: Path) -> None:
    with pytest.raises(SpecError, match="no blending 'box'; known are gaussian, distance"):
        load_ensemble(ensemble, "cpu", blend="box")


@pytest.mark.slow
def test_memory_does_not_grow_with_the_members(tmp_path: Path) -> None:
    target = Target(classes=len(CLASSES), patch_zyx=_PATCH, voxel_nm=(40, 4, 4))
    tree = baseline(target, Limits(max_parameters=3_000_000))
    image = np.random.default_rng(0).integers(0, 255, (2, 128, 128), np.uint8)
    zarr.create_group(tmp_path / "image.zarr").create_array("0", data=image)
    peaks_mb, bytes_each = [], 0
    for members in (2, 16):
        folder = tmp_path / f"of-{members}"
        write_untrained(folder, tree, members, _PATCH)
        bytes_each = (folder / "members" / "00.pt").stat().st_size
        out = tmp_path / f"out{members}.zarr"
        arguments = [folder, tmp_path / "image.zarr" / "0", out, bytes_each]
        command = [sys.executable, "-c", _MEASURED, *map(str, arguments)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        peaks_mb.append(int(done.stdout))
    assert 14 * bytes_each / 1e6 > 0.2 * peaks_mb[0]  # in memory they would show
    assert peaks_mb[1] < 1.1 * peaks_mb[0]
