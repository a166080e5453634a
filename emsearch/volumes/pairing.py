"""Which files are images, which are labels, and which belong together, told by their names."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from emsearch.errors import NotFoundError, SpecError
from emsearch.records.score import Split
from emsearch.volumes.formats import FORMATS

__all__ = ["NamedPair", "pair_files"]

_LABEL = {"label", "labels", "seg", "segmentation", "mask", "masks", "annotation", "gt", "truth"}
_IMAGE = {"image", "images", "img", "raw", "em", "volume"}
_SPLITS = {
    "train": Split.TRAIN,
    "training": Split.TRAIN,
    "val": Split.VALIDATION,
    "validation": Split.VALIDATION,
    "eval": Split.VALIDATION,
    "test": Split.TEST,
    "testing": Split.TEST,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedPair:
    """An image with its labels."""

    image: Path
    labels: Path
    split: Split | None
    """What its name says it is for, such as train_image.tif."""


def pair_files(paths: Sequence[Path]) -> list[NamedPair]:
    """Return images with their labels among files, or in folders of such.

    Labels have a word such as `labels`, `seg` or `mask` in their names. What is left of a name
    without such words tells which belong together; a lone image and a lone label volume always do.
    Raises NotFoundError where there is nothing, SpecError where a file has no partner.
    """
    files = [file for path in paths for file in _volumes_at(path)]
    labels = {_key(file): file for file in files if _words(file) & _LABEL}
    images = {_key(file): file for file in files if not _words(file) & _LABEL}
    if len(images) == len(labels) == 1:
        labels = dict(zip(images, labels.values(), strict=True))
    alone = sorted(str(file) for file in _partnerless(images, labels))
    if alone or not images:
        raise SpecError(
            f"no partner for {', '.join(alone) or 'anything'}; name labels like their image, "
            "such as cell_image.tif and cell_labels.tif"
        )
    return [
        NamedPair(image=image, labels=labels[key], split=_split(image))
        for key, image in sorted(images.items())
    ]


def _volumes_at(path: Path) -> list[Path]:
    """Return the volumes in a folder of volumes, or the path itself."""
    if not path.exists():
        raise NotFoundError(f"no such file or folder: {path}")
    if not path.is_dir() or path.suffix.lower() in FORMATS:
        return [path]
    inside = [
        file
        for file in sorted(path.iterdir())
        if file.suffix.lower() in FORMATS or (file.is_dir() and not file.name.startswith("."))
    ]
    return inside if any(_words(file) & _LABEL for file in inside) else [path]


def _words(path: Path) -> set[str]:
    return {word for word in re.split(r"[^a-z]+", path.name.lower()) if word}


def _key(path: Path) -> tuple[str, ...]:
    """Return what is left of a name: the same for an image and its labels."""
    words = re.split(r"[\W_]+", path.name.split(".")[0].lower())
    return tuple(word for word in words if word not in _LABEL | _IMAGE)


def _split(path: Path) -> Split | None:
    return next((_SPLITS[word] for word in sorted(_words(path)) if word in _SPLITS), None)


def _partnerless(
    images: dict[tuple[str, ...], Path], labels: dict[tuple[str, ...], Path]
) -> Iterable[Path]:
    for key in images.keys() ^ labels.keys():
        yield images.get(key) or labels[key]
