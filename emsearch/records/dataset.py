"""Which volumes there are and which part of them is for what."""

from dataclasses import dataclass, replace

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

    @property
    def trained_voxels(self) -> int:
        """Voxels of its training slices, of all slices where it has none."""
        first, end = self.train or (0, self.shape_zyx[0])
        return (end - first) * self.shape_zyx[1] * self.shape_zyx[2]

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

    @property
    def moments(self) -> tuple[float, float]:
        """Mean and standard deviation of the training voxels of all volumes together.

        Of all voxels where no volume has training slices.
        """
        trained = [one for one in self.volumes if one.train is not None] or list(self.volumes)
        voxels = [one.trained_voxels for one in trained]
        parts = [count / sum(voxels) for count in voxels]
        mean = sum(part * one.mean for part, one in zip(parts, trained, strict=True))
        spread = sum(
            part * (one.std**2 + (one.mean - mean) ** 2)
            for part, one in zip(parts, trained, strict=True)
        )
        return mean, spread**0.5

    def normalised_alike(self) -> "Dataset":
        """Return the same with these moments for every volume.

        An ensemble knows them alone when it segments a new volume: it is to be trained and scored
        as it will be used.
        """
        mean, std = self.moments
        alike = tuple(replace(volume, mean=mean, std=std) for volume in self.volumes)
        return replace(self, volumes=alike)
