"""The study file: what a user asks for, checked before anything is done."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError, model_validator

from emsearch.errors import NotFoundError, SpecError
from emsearch.records.sections import (
    ClusterSection,
    DatasetSection,
    EnsembleSection,
    SearchSection,
    Section,
    SpaceSection,
    StudySection,
    TrainingSection,
    TuneSection,
)

__all__ = ["StudySpec", "parse_spec", "read_spec"]


class StudySpec(Section):
    """A whole study file."""

    study: StudySection
    dataset: DatasetSection
    space: SpaceSection = SpaceSection()
    training: TrainingSection = TrainingSection()
    search: SearchSection = SearchSection()
    tune: TuneSection = TuneSection()
    ensemble: EnsembleSection = EnsembleSection()
    cluster: ClusterSection = ClusterSection()

    @model_validator(mode="after")
    def _name_classes(self) -> "StudySpec":
        if len(set(self.dataset.classes)) != len(self.dataset.classes):
            raise ValueError(f"dataset.classes: names must differ, got {self.dataset.classes}")
        return self

    @model_validator(mode="after")
    def _name_volumes(self) -> "StudySpec":
        names = [volume.name or f"v{i}" for i, volume in enumerate(self.dataset.volumes)]
        if len(set(names)) != len(names):
            raise ValueError(f"dataset.volumes: names must differ, got {names}")
        return self


def read_spec(path: Path) -> StudySpec:
    """Return the study that the TOML file at `path` asks for, its paths absolute.

    Raises NotFoundError where there is no such file, SpecError with every fault of it, each with
    its key, its value and what is allowed.
    """
    if not path.is_file():
        raise NotFoundError(f"no study file at {path}")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpecError(f"{path} is not TOML: {error}") from error
    try:
        spec = parse_spec(values)
    except SpecError as error:
        raise SpecError(f"{path}:\n{error}") from error
    return _with_absolute_paths(spec, path.resolve().parent)


def parse_spec(values: dict[str, Any]) -> StudySpec:
    """Return the study that `values` ask for. Raises SpecError with a line for each fault."""
    try:
        return StudySpec.model_validate(values)
    except ValidationError as error:
        faults = error.errors()
        deeper = [fault["loc"] for fault in faults]
        told = [fault for fault in faults if not _follows(fault, deeper)]
        raise SpecError("\n".join(_explain(fault) for fault in told)) from error


_WORDS = {
    "path_type": 'must be a path in quotes, such as "image.tif"',
    "model_type": "must be a section with keys of its own",
    "tuple_type": "must be a list in square brackets",
}


def _follows(fault: Any, others: Sequence[tuple[int | str, ...]]) -> bool:
    """Return whether a list counts as too short only because something in it is wrong."""
    loc = fault["loc"]
    return fault["type"] == "too_short" and any(
        len(other) > len(loc) and other[: len(loc)] == loc for other in others
    )


def _explain(fault: Any) -> str:
    where = ".".join(str(part) for part in fault["loc"]) or "the file"
    if fault["type"] == "extra_forbidden":
        known = ", ".join(_known_keys(fault["loc"][:-1]))
        return f"  {where} = {fault['input']!r}: no such key; known here: {known}"
    if fault["type"] == "missing":
        return f"  {where}: missing; {_describe(fault['loc'])}"
    if fault["type"] == "database_password":
        return f"  {where}: {fault['msg']}"  # without the value: it would be in the terminal's log
    message = _WORDS.get(fault["type"], fault["msg"].removeprefix("Value error, "))
    return f"  {where} = {fault['input']!r}: {message[0].lower()}{message[1:]}"


def _model_at(loc: tuple[int | str, ...]) -> type[BaseModel] | None:
    model: Any = StudySpec
    for part in loc:
        if isinstance(part, int):
            continue
        annotation = model.model_fields[part].annotation
        inner = getattr(annotation, "__args__", (annotation,))[0]
        model = inner if isinstance(inner, type) and issubclass(inner, BaseModel) else None
        if model is None:
            return None
    return model  # type: ignore[no-any-return]


def _known_keys(loc: tuple[int | str, ...]) -> list[str]:
    model = _model_at(loc)
    return sorted(model.model_fields) if model else []


def _describe(loc: tuple[int | str, ...]) -> str:
    return {
        "classes": 'name the label values, such as classes = ["background", "membrane"]',
        "volumes": "add a [[dataset.volumes]] with image, labels, train and validation",
    }.get(str(loc[-1]), "add it")


def _with_absolute_paths(spec: StudySpec, folder: Path) -> StudySpec:
    volumes = tuple(
        volume.model_copy(
            update={
                "name": volume.name or f"v{number}",
                "image": (folder / volume.image).resolve(),
                "labels": (folder / volume.labels).resolve(),
            }
        )
        for number, volume in enumerate(spec.dataset.volumes)
    )
    dataset = spec.dataset.model_copy(update={"volumes": volumes})
    return spec.model_copy(update={"dataset": dataset, "cluster": _placed(spec.cluster, folder)})


def _placed(cluster: ClusterSection, folder: Path) -> ClusterSection:
    """Return the section with the path of a profile of the user's own made absolute."""
    if not cluster.profile.endswith(".toml"):
        return cluster
    path = (folder / Path(cluster.profile).expanduser()).resolve()
    return cluster.model_copy(update={"profile": str(path)})
