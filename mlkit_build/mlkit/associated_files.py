"""The files that a `.tflite` carries behind its flatbuffer: a zip archive of stored entries, as the Task Library reads it."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Iterable, Mapping

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time a zip can state: equal files, equal bytes."""


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


def extracted(model: bytes, names: Iterable[str]) -> dict[str, bytes]:
    """Return name -> content of the files called `names`, each once. A name is only ever compared.

    Raises:
        DamagedArchiveError: There is no archive, it is damaged, compressed or encrypted, or it lacks a file; says which in the
            Task Library's words (tflite-support, `metadata_extractor.cc`), where it has any.
    """
    wanted = list(dict.fromkeys(names))
    if not wanted:
        return {}
    left = len(model)
    found = {}
    try:
        with zipfile.ZipFile(io.BytesIO(model)) as archive:
            entries = {entry.filename: entry for entry in archive.infolist()}
            for name in wanted:
                if name not in entries:
                    raise DamagedArchiveError(f"No associated file with name: {name}")
                entry = entries[name]
                if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
                    raise DamagedArchiveError("Expected uncompressed zip archive.")
                left -= entry.file_size
                if left < 0:
                    raise DamagedArchiveError(f"{name}: its {entry.file_size} bytes are more than the file has left")
                found[name] = archive.read(entry)
    except (zipfile.BadZipFile, struct.error, OSError, EOFError, ValueError, OverflowError, RuntimeError) as error:
        raise DamagedArchiveError(f"the appended zip archive is damaged: {error}") from error
    return found
