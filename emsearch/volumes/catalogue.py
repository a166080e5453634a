"""Public labelled EM volumes, downloaded by name and held to their checksums."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pooch  # type: ignore[import-untyped]
from requests import RequestException

from emsearch.errors import NotFoundError, StateError

__all__ = ["CATALOGUE", "PublicData", "fetch"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PublicData:
    """An archive of volumes that anyone may download."""

    about: str
    url: str
    checksum: str
    """Algorithm and hex digits of the archive, such as md5:2533..."""
    megabytes: int
    classes: tuple[str, ...]
    """Names of its label values."""
    voxel_nm: tuple[float, float, float]
    source: str
    """What to cite."""


CATALOGUE: dict[str, PublicData] = {
    "platelets": PublicData(
        about="SBF-SEM of human platelets; in its test volume score where a label is above 0",
        url="https://www.dropbox.com/s/68yclbraqq1diza/platelet_data_1219.zip?dl=1",
        checksum="md5:253310093ee2c00304fbabdb0c7e3a4a",
        megabytes=189,
        classes=(
            "background",
            "cell",
            "mitochondrion",
            "alpha_granule",
            "canalicular_vessel",
            "dense_granule",
            "dense_granule_core",
        ),
        voxel_nm=(40, 10, 10),
        source="Guay et al., Scientific Reports 11:2561 (2021); US government work",
    ),
}
"""Public data by name."""


def fetch(
    name: str, folder: Path, catalogue: Mapping[str, PublicData] = CATALOGUE
) -> tuple[Path, ...]:
    """Return the files of public data below `folder`, downloaded and unpacked where they are not.

    A download that is there already is not repeated. Raises NotFoundError for an unknown name,
    StateError where the download fails or is not what it should be.
    """
    if name not in catalogue:
        raise NotFoundError(f"no public data called {name!r}; known are {', '.join(catalogue)}")
    data = catalogue[name]
    try:
        files = pooch.retrieve(
            data.url,
            known_hash=data.checksum,
            fname=f"{name}.zip",
            path=folder,
            processor=pooch.Unzip(extract_dir=name),
        )
    except (RequestException, OSError) as error:
        raise StateError(
            f"{data.url} could not be downloaded: {error}; check the network, or put the file at "
            f"{folder / name}.zip yourself"
        ) from error
    except ValueError as error:  # how pooch says that the checksum is another
        raise StateError(
            f"what {data.url} gave is not {data.checksum}: {error}; try again, or tell us if it "
            "has changed"
        ) from error
    return tuple(sorted(Path(file) for file in files))
