"""Everything that can be wrong with a study's volumes, found before anything is done.

All faults are told at once, each with its key in the study file, its value and the remedy.
Axes: K class.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from pathlib import Path

from emsearch.errors import EmsearchError, SpecError
from emsearch.records.order import ImportOrder
from emsearch.records.score import Split
from emsearch.records.sections import VolumeSection, z_range
from emsearch.records.spec import StudySpec
from emsearch.volumes.doubts import Pair, doubts
from emsearch.volumes.formats import open_array
from emsearch.volumes.labels import LabelReading
from emsearch.volumes.stack import Stack, Voxel, boxes_of
from emsearch.volumes.tally import Tally
from emsearch.volumes.voxels import with_voxel_sizes

__all__ = ["VolumeReport", "check_dataset", "check_volume"]


@dataclass(frozen=True, kw_only=True, slots=True)
class VolumeReport:
    """What a volume holds."""

    name: str
    shape_zyx: tuple[int, int, int]
    dtype: str
    voxel_nm: Voxel
    """As it is taken to be: the volume's own key, its metadata, or the dataset's key."""
    file_voxel_nm: Voxel | None
    """As the image's own metadata says; None where it says nothing."""
    low: float
    """Smallest grey value."""
    high: float
    mean: float
    std: float
    counts_K: Mapping[Split, tuple[int, ...]]
    """Annotated voxels of each class, by split."""
    slices: Mapping[Split, int]
    """Number of slices, by split."""
    warnings: tuple[str, ...] = ()
    """What is no fault, and still should be looked at."""

    def fractions_K(self, split: Split) -> tuple[float, ...]:
        """Return the part of the split's annotated voxels that each class takes."""
        counts_K = self.counts_K.get(split, ())
        return tuple(count / max(sum(counts_K), 1) for count in counts_K)


def check_dataset(spec: StudySpec) -> list[VolumeReport]:
    """Return what the volumes of a study hold; reads all of them once and writes nothing.

    The paths in `spec` are absolute, as `read_spec` makes them. Raises SpecError with every fault.
    """
    reports: list[VolumeReport] = []
    faults: list[str] = []
    known = with_voxel_sizes(spec)
    for number, section in enumerate(known.dataset.volumes):
        key = f"dataset.volumes.{number}"
        said = spec.dataset.volumes[number].voxel_nm or spec.dataset.voxel_nm
        try:
            reports.append(check_volume(known, section, key, said))
        except SpecError as error:
            faults.append(str(error))
    faults += _empty_splits(spec, reports)
    faults += _seen_twice(spec)
    if len(reports) == len(spec.dataset.volumes):
        faults += _absent_classes(spec.dataset.classes, reports)
    if faults:
        raise SpecError("\n".join(faults))
    return reports


def check_volume(
    spec: StudySpec, section: VolumeSection, key: str, said_nm: Voxel | None
) -> VolumeReport:
    """Return what one volume holds. Raises SpecError with all its faults, each below `key`.

    `said_nm` is the voxel size that the study file gives it, None for none.
    """
    try:
        order = ImportOrder.of(spec.dataset, section)
    except SpecError as error:
        raise SpecError(f"  {error}") from error
    try:
        reading = LabelReading.of(order)
    except SpecError as error:
        raise SpecError(f"  {key}.labels = {str(section.labels)!r}: {error}") from error
    image, image_faults = _open(section.image, f"{key}.image")
    labels, label_faults = _open(section.labels, f"{key}.labels")
    faults = [*image_faults, *label_faults]
    if image is not None:
        faults += _image_faults(image, section, spec, key)
    if labels is not None:
        faults += _label_faults(labels, image, section, reading, key)
    if faults or image is None or labels is None:
        raise SpecError("\n".join(faults))
    tally = _count(image, labels, reading, section, key)
    report = _report(order, section, image, tally)
    pair = Pair(image=image, labels=labels, reading=reading, said_nm=said_nm)
    found = doubts(order, pair, report.counts_K)
    return replace(report, warnings=tuple(found))


def _open(path: Path, key: str) -> tuple[Stack | None, list[str]]:
    try:
        return open_array(path), []
    except EmsearchError as error:
        return None, [
            f"  {key} = {str(path)!r}: {error}; paths are relative to the study file's folder"
        ]


def _image_faults(image: Stack, section: VolumeSection, spec: StudySpec, key: str) -> Iterator[str]:
    if image.colours:
        yield (
            f"  {key}.image = {str(section.image)!r}: has {image.colours} colours; "
            "save it as grey values"
        )
    if image.dtype.kind not in "uif":
        yield f"  {key}.image = {str(section.image)!r}: is {image.dtype}; save it as numbers"
    patch_zyx = spec.training.patch_zyx
    if any(size < patch for size, patch in zip(image.shape_zyx, patch_zyx, strict=True)):
        yield (
            f"  training.patch_zyx = {list(patch_zyx)}: {key}.image has only "
            f"{list(image.shape_zyx)} voxels; give a patch that fits into every volume"
        )
    ranges = _ranges(section)
    for split, (first, end) in ranges.items():
        if end > image.shape_zyx[0]:
            yield (
                f'  {key}.{split} = "{first}:{end}": the volume has {image.shape_zyx[0]} slices; '
                f"end at {image.shape_zyx[0]} at most"
            )
    for (one, a), (other, b) in combinations(ranges.items(), 2):
        if max(a[0], b[0]) < min(a[1], b[1]):
            yield (
                f'  {key}.{other} = "{b[0]}:{b[1]}": overlaps with {one} = "{a[0]}:{a[1]}"; '
                "a slice belongs to one split"
            )


def _label_faults(
    labels: Stack, image: Stack | None, section: VolumeSection, reading: LabelReading, key: str
) -> Iterator[str]:
    where = f"  {key}.labels = {str(section.labels)!r}"
    try:
        reading.check_kind(labels)
    except SpecError as error:
        yield f"{where}: {error}"
    if image is not None and labels.shape_zyx != image.shape_zyx:
        yield (
            f"{where}: shape {labels.shape_zyx} differs from the image's {image.shape_zyx}; "
            "give labels of the same shape"
        )


def _count(
    image: Stack, labels: Stack, reading: LabelReading, section: VolumeSection, key: str
) -> Tally:
    """Return the counts of all sections. Raises SpecError at the first wrong value of each file."""
    tally = Tally(image.shape_zyx[0], reading.classes)
    faults: dict[str, str] = {}
    for box in boxes_of(image, 0, image.shape_zyx[0]):
        try:
            classes = reading.read(labels, box)
        except SpecError as error:
            message = f"  {key}.labels = {str(section.labels)!r}: {error}"
            faults.setdefault("labels", message)
            continue
        try:
            tally.add(box, image.read_box(box), classes)
        except SpecError as error:
            faults.setdefault("image", f"  {key}.image = {str(section.image)!r}: {error}")
    if faults:
        raise SpecError("\n".join(faults.values()))
    return tally


def _report(order: ImportOrder, section: VolumeSection, image: Stack, tally: Tally) -> VolumeReport:
    depth = image.shape_zyx[0]
    ranges = _ranges(section)
    mean, std = tally.moments(*ranges.get(Split.TRAIN, (0, depth)))
    return VolumeReport(
        name=section.name,
        shape_zyx=image.shape_zyx,
        dtype=str(image.dtype),
        voxel_nm=order.voxel_nm,
        file_voxel_nm=image.voxel_nm,
        low=float(tally.low_Z.min()),
        high=float(tally.high_Z.max()),
        mean=mean,
        std=std,
        counts_K={split: tally.counts_K(*ends) for split, ends in ranges.items()},
        slices={split: end - first for split, (first, end) in ranges.items()},
    )


def _empty_splits(spec: StudySpec, reports: Sequence[VolumeReport]) -> Iterator[str]:
    for split in Split:
        if not any(split in _ranges(section) for section in spec.dataset.volumes):
            yield (
                f"  dataset.volumes: no volume has slices for {split}; "
                f'give one, such as {split} = "0:14"'
            )
        elif len(reports) == len(spec.dataset.volumes) and not any(
            sum(report.counts_K.get(split, ())) for report in reports
        ):
            yield (
                f"  dataset.volumes: no voxel of the slices for {split} is annotated; "
                "give slices that are"
            )


def _seen_twice(spec: StudySpec) -> Iterator[str]:
    """Yield a line for slices of one image that two volumes use for different splits."""
    volumes = spec.dataset.volumes
    for (i, one), (j, other) in combinations(enumerate(volumes), 2):
        if one.image != other.image:
            continue
        for (mine, (first, end)), (theirs, (start, stop)) in product(
            _ranges(one).items(), _ranges(other).items()
        ):
            if mine != theirs and first < stop and start < end:
                yield (
                    f'  dataset.volumes.{j}.{theirs} = "{start}:{stop}": overlaps '
                    f'dataset.volumes.{i}.{mine} = "{first}:{end}" of the same image; '
                    "give slices that only one of them has"
                )


def _absent_classes(classes: Sequence[str], reports: Sequence[VolumeReport]) -> Iterator[str]:
    for number, name in enumerate(classes):
        if not any(
            report.counts_K.get(Split.TRAIN, (0,) * (number + 1))[number] for report in reports
        ):
            yield (
                f"  dataset.classes.{number} = {name!r}: no voxel of it in the training slices; "
                "give training slices that show it, or leave the class out"
            )


def _ranges(section: VolumeSection) -> dict[Split, tuple[int, int]]:
    said = {split: getattr(section, split) for split in Split}
    return {split: z_range(text) for split, text in said.items() if text is not None}
