"""Files that are whole or absent, on a disk whose host may die at any instant."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

__all__ = ["read_json", "replacing", "write_json", "write_jsons"]


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a scratch path beside `path`; on success it takes `path`'s place at once.

    A reader finds the old file or the new one, never half of one. On an error the old one stays.
    """
    with _replacing(path) as scratch:
        yield scratch
        _sync(scratch)
    _sync(path.parent)  # or a power cut may forget the new name


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    scratch = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        yield scratch
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def write_json(path: Path, content: Any, *, indent: int | None = None) -> None:
    """Write `content` as JSON to `path`, whole or not at all; the folder is made if missing.

    What people read is indented; the rest is not, which takes a third of the time.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as scratch:
        scratch.write_text(_text(content, indent), encoding="utf-8")


def write_jsons(folder: Path, contents: Mapping[str, Any]) -> None:
    """Write JSON files of a folder by name, each whole or not at all.

    They are not forced to the disk: for what is written anew where a host has died.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        with _replacing(folder / name) as scratch:
            scratch.write_text(_text(content), encoding="utf-8")


def _text(content: Any, indent: int | None = None) -> str:
    return json.dumps(content, indent=indent, allow_nan=False)


def read_json(path: Path) -> Any:
    """Return what `path` holds. Raises FileNotFoundError and json.JSONDecodeError."""
    return json.loads(path.read_text(encoding="utf-8"))


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
