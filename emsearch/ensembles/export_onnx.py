"""An ensemble as ONNX; a module of its own, since only those who export need its libraries.

Axes: B batch, C channel, K class, Z Y X voxels in array order.
"""

import json
import warnings
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import torch

from emsearch.ensembles.export import facts_of, require_equal, traced
from emsearch.errors import SpecError
from emsearch.inference.ensemble import Ensemble
from emsearch.records.files import replacing

__all__ = ["export_onnx"]

_OPSET = 18


def export_onnx(ensemble: Ensemble, path: Path) -> float:
    """Write the ensemble as an ONNX graph; return the largest difference that the runtime shows.

    Raises SpecError where a member cannot be exported, or the graph differs.
    """
    model = _graph(ensemble)
    for name, value in facts_of(ensemble).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = name, json.dumps(value)
    with replacing(path) as scratch:
        onnx.save(model, scratch)
        session = onnxruntime.InferenceSession(scratch, providers=["CPUExecutionProvider"])
        (given,) = session.get_inputs()
        return require_equal(
            ensemble, lambda grey_BCZYX: session.run(None, {given.name: grey_BCZYX})[0]
        )


def _graph(ensemble: Ensemble) -> Any:
    program = traced(ensemble)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's own parts
            exported = torch.onnx.export(
                program, dynamo=True, opset_version=_OPSET, verbose=False, external_data=False
            )
    except Exception as error:
        said = str(error).strip().splitlines()
        raise SpecError(
            f"a network of this ensemble cannot be written as ONNX: "
            f"{said[0] if said else type(error).__name__}; try --torch-export"
        ) from error
    return exported.model_proto if exported is not None else None
