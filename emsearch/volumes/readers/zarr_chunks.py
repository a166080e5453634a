"""Zarr's chunks, refused where they are shorter than they say: what decodes them does not look."""

from pathlib import Path
from typing import Any

import zarr
from numcodecs import Blosc  # type: ignore[import-untyped]
from zarr.abc.store import ByteRequest
from zarr.codecs import BloscCodec
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore, WrapperStore

__all__ = ["checked"]

_METADATA = (".zarray", ".zattrs", ".zgroup", ".zmetadata", "zarr.json")
_BLOSC_HEADER = 16  # bytes, of which the last four are the length of the whole


def checked(array: Any) -> Any:
    """Return the same array, which raises ValueError that names a chunk cut short.

    Blosc reads beyond the end of a chunk that is cut short, and gives what happens to lie there; an
    empty shard counts as one that was never written.
    """
    if not isinstance(array, zarr.Array) or not isinstance(array.store, LocalStore):
        return array
    store = _CheckedStore(array.store)
    store.is_blosc = _is_blosc(array)
    return zarr.open_array(store, path=array.path, mode="r")


class _CheckedStore(WrapperStore[LocalStore]):
    """Files on disk, of which those that are chunks are looked at when they are read."""

    is_blosc = False

    @property
    def root(self) -> Path:
        """The folder of the files."""
        return self._store.root

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Return what a file holds, None where there is none."""
        value = await super().get(key, prototype, byte_range)
        if value is None or key.endswith(_METADATA):
            return value
        whole = self.is_blosc and byte_range is None
        declared = _blosc_length(value[:_BLOSC_HEADER].to_bytes()) if whole else 1
        if len(value) < declared:
            raise ValueError(f"chunk {key} has only {len(value)} bytes, of at least {declared}")
        return value


def _is_blosc(array: zarr.Array[Any]) -> bool:
    """Return whether the bytes of a chunk's file are Blosc's own."""
    last = array.compressors[-1] if array.compressors else None
    return isinstance(last, Blosc | BloscCodec) and array.shards is None


def _blosc_length(header: bytes) -> int:
    """Return how many bytes a chunk says it has."""
    return int.from_bytes(header[-4:], "little") if len(header) == _BLOSC_HEADER else _BLOSC_HEADER
