"""Which volumes there are and which part of them is for what."""

from dataclasses import dataclass

from emsearch.errors import SpecError
from emsearch.records.score import Split

__all__ = ["Dataset", "VolumeRecord"]

ZRange = tuple[int, int]
"""First slice and the one after the last."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VolumeRecord:
    """An imported volume: where it lies, how large it is, how its slices are split."""

    name: str
    zarr: str
    """Folder of the OME-Zarr, relative to the study's folder; arrays `0` and `labels/classes/0`."""
    shape_zyx: tuple[int, int, int]
    voxel_nm: tuple[float, float, float]
    """Size of a voxel along z, y, x."""
    train: ZRange | None = None
    validation: ZRange | None = None
    test: ZRange | None = None
    mean: float = 0.0
    """Mean grey value of its training slices, or of all slices where it has none."""
    std: float = 1.0
    """Standard deviation of the same."""
    checksum: str = ""
    """sha256 of image and labels as imported."""

    def slices(self, split: Split) -> ZRange | None:
        """Return the z range of `split`, None where the volume has no part in it."""
        return {Split.TRAIN: self.train, Split.VALIDATION: self.validation, Split.TEST: self.test}[
            split
        ]


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """Named volumes with their split, and the classes that their labels count."""

    classes: tuple[str, ...]
    volumes: tuple[VolumeRecord, ...]
    ignore_label: int | None = None
    """Label value of voxels that are neither trained on nor scored."""

    def __post_init__(self) -> None:
        names = [volume.name for volume in self.volumes]
        if len(set(names)) != len(names):
            raise SpecError(f"two volumes have the same name: {sorted(names)}; give each its own")
