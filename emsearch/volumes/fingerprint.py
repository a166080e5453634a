"""A commented study file fitted to some data: what `emsearch init` writes."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emsearch.errors import SpecError
from emsearch.records.score import Split
from emsearch.volumes.formats import open_array
from emsearch.volumes.pairing import NamedPair, pair_files
from emsearch.volumes.stack import Stack, Voxel, boxes_of

__all__ = ["fingerprint"]

_MANY = 64  # more label values than this are instances, not classes
_ANISOTROPIC = 3.0  # sections this much thicker than pixels are looked at one by one
_FLAT, _DEEP = ["encoder_decoder_2d", "residual_2d"], ["encoder_decoder_3d"]
Value = int | tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Seen:
    """A pair of files, and what was seen in it."""

    files: NamedPair
    image: Stack
    values: dict[Value, int]
    """Voxels of each label value or colour."""


def fingerprint(paths: Sequence[Path], name: str = "study") -> str:
    """Return the text of a study file for images and labels, or folders of them.

    Reads the labels once. Raises what `pair_files` and `open_array` raise, and SpecError where the
    labels are no classes.
    """
    seen = [_look(pair) for pair in pair_files(paths)]
    voxel_nm = next((one.image.voxel_nm for one in seen if one.image.voxel_nm), None)
    lines = [
        f"# A study of {len(seen)} volume(s). Paths are relative to this file.",
        "[study]",
        f"name = {json.dumps(name)}",
        "seed = 0",
        "",
        *_dataset(seen, voxel_nm),
        *_volumes(seen),
        *_space(seen, voxel_nm),
    ]
    return "\n".join(lines) + "\n"


def _look(files: NamedPair) -> _Seen:
    image, labels = open_array(files.image), open_array(files.labels)
    if labels.dtype.kind not in "uib":
        raise SpecError(f"{files.labels} is {labels.dtype}; labels are integers, such as uint8")
    if image.shape_zyx != labels.shape_zyx:
        raise SpecError(
            f"{files.labels}: shape {labels.shape_zyx} differs from the image's {image.shape_zyx}"
        )
    values: dict[Value, int] = {}
    for box in boxes_of(labels, 0, labels.shape_zyx[0]):
        for value, count in _counted(labels.read_box(box), coloured=bool(labels.colours)):
            values[value] = values.get(value, 0) + count
        if len(values) > _MANY:
            raise SpecError(
                f"{files.labels} holds more than {_MANY} values: are these instances? "
                "Give labels that number classes"
            )
    return _Seen(files=files, image=image, values=values)


def _counted(values: NDArray[Any], *, coloured: bool) -> Iterator[tuple[Value, int]]:
    if coloured:
        channels = values.reshape(-1, values.shape[-1])[:, :3]
        colours, counts = np.unique(channels, axis=0, return_counts=True)
        yield from zip((tuple(colour) for colour in colours.tolist()), counts.tolist(), strict=True)
    else:
        plain, counts = np.unique(values, return_counts=True)
        yield from zip(plain.tolist(), counts.tolist(), strict=True)


def _dataset(seen: Sequence[_Seen], voxel_nm: Voxel | None) -> Iterator[str]:
    values: dict[Value, int] = {}
    for one in seen:
        for value, count in one.values.items():
            values[value] = values.get(value, 0) + count
    total = sum(values.values())
    ordered = sorted(values, key=lambda value: value if isinstance(value, tuple) else (value,))
    numbered = ordered == list(range(len(ordered)))
    names = [f"class_{number}" for number in range(len(ordered))]
    yield "[dataset]"
    yield "# Name the classes. Parts of the volumes that they take:"
    for number, value in enumerate(ordered):
        yield f"#   class_{number} (label {value}): {values[value] / total:.4f}"
    yield f"classes = {json.dumps(names)}"
    if not numbered:
        yield "# The labels hold these values instead of 0, 1, 2, ...: one for each class."
        yield f"palette = {json.dumps(ordered)}"
    if voxel_nm is None:
        yield "# No file says its voxel size. Give it along z, y, x in nm:"
        yield "# voxel_nm = [50, 5, 5]"
    else:
        yield "# From the files' metadata; along z, y, x."
        yield f"voxel_nm = {json.dumps(list(voxel_nm))}"
    yield "# ignore_label = 255   # a label value that is neither trained on nor scored"
    yield ""


def _volumes(seen: Sequence[_Seen]) -> Iterator[str]:
    said = {one.files.split for one in seen}
    for number, one in enumerate(seen):
        depth = one.image.shape_zyx[0]
        yield "[[dataset.volumes]]"
        shape = " x ".join(str(size) for size in one.image.shape_zyx)
        yield f"# {shape} voxels (z, y, x), {one.image.dtype}"
        yield f"image = {json.dumps(str(one.files.image.resolve()))}"
        yield f"labels = {json.dumps(str(one.files.labels.resolve()))}"
        ranges = _ranges(one.files.split, said, depth, number)
        for split, (first, end) in ranges.items():
            yield f'{split} = "{first}:{end}"'
        yield ""


def _ranges(
    own: Split | None, said: set[Split | None], depth: int, number: int
) -> dict[Split, tuple[int, int]]:
    """Return the slices of each split: as the files' names say, else the last ones for testing."""
    if own in {Split.VALIDATION, Split.TEST}:
        return {own: (0, depth)}
    if depth == 1 and said == {None}:
        return {list(Split)[number % 3]: (0, 1)}
    parts = {Split.VALIDATION: 0.1, Split.TEST: 0.2}
    sizes = {
        split: max(round(part * depth), 1) for split, part in parts.items() if split not in said
    }
    ranges = {Split.TRAIN: (0, max(depth - sum(sizes.values()), 1))}
    for split, size in sizes.items():
        first = max(end for _, end in ranges.values())
        if first + size <= depth:
            ranges[split] = (first, first + size)
    return ranges


def _space(seen: Sequence[_Seen], voxel_nm: Voxel | None) -> Iterator[str]:
    smallest = np.min([one.image.shape_zyx for one in seen], axis=0)
    ratio = voxel_nm[0] / voxel_nm[2] if voxel_nm else None
    is_thin = ratio is None or ratio >= _ANISOTROPIC or smallest[0] < 16
    depth = 1 if is_thin else _multiple_of_8(min(int(smallest[0]), 32))
    most = 256 if is_thin else 128
    height, width = (_multiple_of_8(min(int(size), most)) for size in smallest[1:])
    why = "unknown" if ratio is None else f"{ratio:.3g}"
    yield "[space]"
    yield f"# Depth of a voxel over its width: {why}. Sections are looked at " + (
        "one by one." if is_thin else "together."
    )
    yield f"families = {json.dumps(_FLAT if is_thin else _DEEP)}"
    yield "max_memory_gb = 12.0   # of a training step: what your GPUs have, less a tenth"
    yield ""
    yield "[training]"
    yield "# A patch fits into every volume."
    yield f"patch_zyx = [{depth}, {height}, {width}]"
    yield f"batch_size = {4 if is_thin else 2}"


def _multiple_of_8(size: int) -> int:
    return max(size - size % 8, 1) if size >= 8 else size
