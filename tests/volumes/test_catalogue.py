"""Downloads, against a server of our own."""

from collections.abc import Iterator
from functools import partial
from hashlib import md5, sha256
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from zipfile import ZipFile

import pytest

pytest.importorskip("pooch")

from emsearch.errors import NotFoundError, StateError
from emsearch.volumes.catalogue import CATALOGUE, PublicData, fetch


class Server(SimpleHTTPRequestHandler):
    """Serves a folder and keeps quiet."""

    asked: list[str] = []  # noqa: RUF012 - one server, one test

    def do_GET(self) -> None:
        self.asked.append(self.path)
        super().do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[PublicData]:
    folder = tmp_path / "served"
    folder.mkdir()
    with ZipFile(folder / "cells.zip", "w") as archive:
        archive.writestr("cells/train-images.tif", b"image")
        archive.writestr("cells/train-labels.tif", b"labels")
    Server.asked.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Server, directory=str(folder)))
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield PublicData(
        about="cells",
        url=f"http://127.0.0.1:{server.server_port}/cells.zip",
        checksum="sha256:" + sha256((folder / "cells.zip").read_bytes()).hexdigest(),
        megabytes=1,
        classes=("a", "b"),
        voxel_nm=(1, 1, 1),
        source="",
    )
    server.shutdown()
    server.server_close()
    thread.join()


def test_public_data_are_downloaded_once_and_unpacked(served: PublicData, tmp_path: Path) -> None:
    for _ in range(2):
        files = fetch("cells", tmp_path / "data", {"cells": served})
        assert [file.name for file in files] == ["train-images.tif", "train-labels.tif"]
        assert files[0].read_bytes() == b"image"
    assert Server.asked == ["/cells.zip"]


def test_a_download_with_another_checksum_is_refused(served: PublicData, tmp_path: Path) -> None:
    (tmp_path / "served" / "cells.zip").write_bytes(b"something else")
    with pytest.raises(StateError, match=r"is not sha256:"):
        fetch("cells", tmp_path / "data", {"cells": served})
    assert not list((tmp_path / "data").glob("cells*"))


def test_a_download_that_fails_says_what_to_do(served: PublicData, tmp_path: Path) -> None:
    (tmp_path / "served" / "cells.zip").unlink()
    with pytest.raises(StateError, match=r"could not be downloaded: .*404.*put the file at"):
        fetch("cells", tmp_path / "data", {"cells": served})


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no public data called 'plates'; known are platelets"):
        fetch("plates", tmp_path)


def test_every_entry_has_a_checksum_and_a_source() -> None:
    for data in CATALOGUE.values():
        algorithm, digits = data.checksum.split(":")
        assert len(digits) == {"md5": md5, "sha256": sha256}[algorithm](b"").digest_size * 2
        assert data.source
