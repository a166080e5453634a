"""The size of a volume's voxels: from its own metadata where they say it, else from the user."""

from emsearch.errors import EmsearchError
from emsearch.records.sections import VolumeSection
from emsearch.records.spec import StudySpec
from emsearch.volumes.formats import open_array

__all__ = ["with_voxel_sizes"]


def with_voxel_sizes(spec: StudySpec) -> StudySpec:
    """Return the study with the voxel size of every volume, and of the dataset, filled in.

    A volume's own key counts first, then its image's metadata, then the dataset's key. Where none
    says it, or the image cannot be opened, it stays empty: nothing is guessed.
    """
    volumes = tuple(_filled(volume, spec) for volume in spec.dataset.volumes)
    known = [volume.voxel_nm for volume in volumes if volume.voxel_nm]
    changes = {
        "volumes": volumes,
        "voxel_nm": spec.dataset.voxel_nm or (known[0] if known else None),
    }
    return spec.model_copy(update={"dataset": spec.dataset.model_copy(update=changes)})


def _filled(volume: VolumeSection, spec: StudySpec) -> VolumeSection:
    if volume.voxel_nm is not None:
        return volume
    try:
        found = open_array(volume.image).voxel_nm
    except EmsearchError:
        found = None  # `check` tells what is wrong with the file
    return volume.model_copy(update={"voxel_nm": found or spec.dataset.voxel_nm})
