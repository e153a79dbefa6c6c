"""What model-signing is asked for: it is told the digests of files that were hashed here, wherever they lie."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any

from mlkit_build.bounded import read_regular
from mlkit_build.errors import ConfigError

_NEEDED = ("model_signing", "OpenSSL")
"""Modules of the extra. model-signing 1.1 imports the second for certificates, and does not say so of itself."""


_MOST = 1 << 20
"""More bytes than any key, chain of certificates or token has."""


def refuse_absent(field: str) -> None:
    """Refuse to go on where the extra is not installed.

    Args:
        field: What asked for it.

    Raises:
        ConfigError: It is not.
    """
    if any(find_spec(name) is None for name in _NEEDED):
        raise ConfigError(f"{field}: signatures need the package model-signing", 'pip install "mlkit-build[sign]"')


def read(field: str, path: str) -> bytes:
    """Return the bytes of a file that the user named. Raises ConfigError where it cannot be read."""
    try:
        return read_regular(Path(path).expanduser(), _MOST)
    except OSError as error:
        raise ConfigError(
            f"{field}: {path}: cannot be read: {error.strerror}", "paths are relative to the current folder"
        ) from error


def hashed(name: str, digests: Mapping[str, str]) -> Any:
    """Return a hashing configuration of model-signing that states digests, name -> SHA-256, and reads no file.

    A bundle may lie in an archive or behind a URL; and what is signed or checked is what was hashed, not what lies there later.

    Args:
        name: What the signature calls all of it.
    """
    from model_signing import hashing, manifest

    serialization = manifest.SerializationType.from_args(
        {"method": "files", "hash_type": "sha256", "allow_symlinks": False, "ignore_paths": ["SHA256SUMS", "model.sig"]}
    )
    items = [
        manifest.FileManifestItem(path=PurePosixPath(file), digest=manifest.hashing.Digest("sha256", bytes.fromhex(sha256)))
        for file, sha256 in digests.items()
    ]

    class Hashed(hashing.Config):  # type: ignore[misc]
        def hash(self, model_path: str | os.PathLike[str], *, files_to_hash: object = None) -> Any:
            return manifest.Manifest(name, items, serialization)

    return Hashed()


def told(error: BaseException) -> str:
    """Return what an exception of the library says, in one line, and what the first cause of it says."""
    first = error
    while (cause := first.__cause__ or first.__context__) is not None:
        first = cause
    said = [str(found).strip().partition("\n")[0] or type(found).__name__ for found in (error, first)]
    return ": ".join(dict.fromkeys(said))
