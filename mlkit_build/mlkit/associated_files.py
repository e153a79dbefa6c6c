"""The files that a `.tflite` carries behind its flatbuffer: a zip archive of stored entries, as the Task Library reads it."""

from __future__ import annotations

import io
import re
import struct
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from mlkit_build.mlkit.mapped import as_file

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time a zip can state: equal files, equal bytes."""


_MOST_LISTED = 1 << 20
"""Bytes of an archive's directory: each entry takes some ten times as many in memory."""
_RECORD, _LOCATOR_64 = b"PK\x05\x06", b"PK\x06\x07"
_END = (1 << 16) + 22
"""Bytes from the end of a file in which a zip archive's last record begins."""


class DamagedArchiveError(Exception):
    """What is appended is no archive that the Task Library reads."""


def appended(model: bytes, files: Mapping[str, bytes]) -> bytes:
    """Return the model with the files behind it; as it is without files."""
    if not files:
        return model
    stream = io.BytesIO(model)
    stream.seek(0, io.SEEK_END)
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:  # "a" would look for an archive in the weights
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system = 3
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data)
    return stream.getvalue()


def extracted(model: bytes, names: Iterable[str] | None = None) -> dict[str, bytes]:
    """Return name -> content of the files called `names`, each once; of all where none are asked for. A name is only ever
    compared.

    Raises:
        DamagedArchiveError: There is no archive, it is damaged, compressed or encrypted, or it lacks a file; says which in the
            Task Library's words (tflite-support, `metadata_extractor.cc`), where it has any.
    """
    wanted = None if names is None else list(dict.fromkeys(names))
    if wanted == []:
        return {}
    left = len(model)
    found = {}
    with _opened(model) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        for name in entries if wanted is None else wanted:
            if name not in entries:
                raise DamagedArchiveError(f"No associated file with name: {name}")
            entry = entries[name]
            if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
                raise DamagedArchiveError("Expected uncompressed zip archive.")
            left -= entry.file_size
            if left < 0:
                raise DamagedArchiveError(f"{name}: its {entry.file_size} bytes are more than the file has left")
            found[name] = archive.read(entry)
    return found


def listed(model: bytes) -> tuple[str, ...]:
    """Return the names of the files behind the model, also of those that cannot be read; none without an archive."""
    try:
        with _opened(model) as archive:
            return tuple(archive.namelist())
    except DamagedArchiveError:
        return ()


def cut(model: bytes) -> bytes:
    """Return the model without the archive behind it; as it is without one."""
    try:
        with _opened(model) as archive:
            starts = [entry.header_offset for entry in archive.infolist()]
    except DamagedArchiveError:
        return model
    start = min(starts, default=len(model))  # an archive of nothing may be the last bytes of the weights
    return model[:start] if model[start : start + 4] == b"PK\x03\x04" else model


@contextmanager
def _opened(model: bytes) -> Iterator[zipfile.ZipFile]:
    """Yield the archive. Raises DamagedArchiveError, also for what goes wrong inside the block."""
    tail = model[-_END:]
    if _LOCATOR_64 in tail:
        raise DamagedArchiveError("the appended zip archive is of the kind for gigabytes, which the Task Library does not read")
    for found in re.finditer(_RECORD, tail):
        size = int.from_bytes(tail[found.start() + 12 : found.start() + 16], "little")
        if size > _MOST_LISTED:
            raise DamagedArchiveError(
                f"the appended zip archive has a directory of {size} bytes; expected at most {_MOST_LISTED}"
            )
    try:
        with zipfile.ZipFile(as_file(model)) as archive:
            yield archive
    except (
        zipfile.BadZipFile, struct.error, OSError, EOFError, ValueError, OverflowError, RuntimeError, NotImplementedError
    ) as error:  # fmt: skip
        raise DamagedArchiveError(f"the appended zip archive is damaged: {error}") from error
