"""HDF5 datasets, with the voxel sizes that EM tools write beside them."""

from pathlib import Path

import h5py  # type: ignore[import-untyped]

from emsearch.errors import SpecError
from emsearch.volumes.stack import Stack, Voxel, stack_of

__all__ = ["open_hdf5"]

# Attribute of a dataset, and nm in its unit: CREMI and funlib; ilastik and pytorch-3dunet.
_VOXEL_ATTRIBUTES = {"resolution": 1.0, "element_size_um": 1e3}


def open_hdf5(path: Path, inner: str) -> Stack:
    """Return the dataset `inner` of a file, or its only one.

    Raises SpecError where it is not there, or several are and none is named.
    """
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise SpecError(f"{path} is no HDF5 file: {error}") from error
    names: list[str] = []
    file.visititems(
        lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None
    )
    if not inner and len(names) != 1:
        example = names[0] if names else "raw"
        raise SpecError(f"{path} holds {names}; say which, such as {path.name}/{example}")
    name = inner or names[0]
    if name not in names:
        raise SpecError(f"{path} holds no dataset {name!r}; it holds {names}")
    return stack_of(file[name], _voxel_nm(file[name]))


def _voxel_nm(dataset: h5py.Dataset) -> Voxel | None:
    for name, nm in _VOXEL_ATTRIBUTES.items():
        if name in dataset.attrs and len(dataset.attrs[name]) == 3:
            deep, high, wide = (round(float(size) * nm, 6) for size in dataset.attrs[name])
            return deep, high, wide
    return None
