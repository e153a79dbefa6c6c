"""What is compared: a bundle, wherever it lies, or a single `.tflite` by anyone. Both are read, never run, and may be hostile."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Any

from mlkit_build.bundle.publish import CHECKSUMS, MANIFEST, PROVENANCE, SIGNATURE
from mlkit_build.errors import ConfigError, SourceError
from mlkit_build.fetch import urls
from mlkit_build.mlkit.flatbuffer import DamagedError
from mlkit_build.mlkit.model_file import ModelFile, opened
from mlkit_build.printable import finite, shown
from mlkit_build.records import dataclass
from mlkit_build.strict_json import MAX_BYTES, UnreadableError
from mlkit_build.verification.documents import Stated, read_manifest
from mlkit_build.verification.places import Place, UnsafeError, open_place

VARYING = (PROVENANCE, CHECKSUMS, SIGNATURE)
"""Files of a bundle that say when, where and by whom it was made, and so differ between equal builds."""
_LARGEST_MODEL = 2 << 30
"""More than a flatbuffer can have."""
_AGAIN = "build or fetch it again; `mlkit-build verify` says more of a bundle"


@dataclass(frozen=True)
class FileSum:
    """A file of a bundle by content."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Subject:
    """One of the two.

    Attributes:
        stated: As the user named it; a URL without secrets.
        title: What it is: `mnist 1.0.0, int8` of a bundle, the file's name otherwise.
        manifest: What the bundle says of itself; None for a single file.
        model: The model; None where the bundle has none.
        model_name: What its file is called.
        files: Those of a bundle but for `VARYING`; the model alone otherwise.
        note: What a reader must know of it; usually empty.
    """

    stated: str
    title: str
    manifest: Mapping[str, Any] | None
    model: ModelFile | None
    model_name: str
    files: Mapping[str, FileSum]
    note: str = ""

    def part(self, name: str) -> Any:
        """Return a part of the manifest; None where there is none."""
        return None if self.manifest is None else self.manifest.get(name)


def read(stated: str) -> Subject:
    """Read what a user named: a `.tflite`, or a bundle's folder, manifest, archive or URL.

    Raises:
        ConfigError: It is neither.
        SourceError: It cannot be read, is damaged, or has in it what no bundle has.
    """
    path, name = Path(stated).expanduser(), urls.shown(stated)
    try:
        if path.is_file() and _is_model(path):
            return _single(name, path)
        with open_place(stated) as place:
            return _bundle(name, place)
    except OSError as error:
        raise SourceError(f"{name}: cannot be read: {error.strerror or error}", _AGAIN) from error
    except MemoryError as error:
        raise SourceError(f"{name}: larger than the memory that is left", _AGAIN) from error


def model_of(data: bytes, where: str) -> ModelFile:
    """Return a model. Raises SourceError where the bytes are none."""
    try:
        return opened(data)
    except DamagedError as error:
        raise SourceError(f"{where}: The model is not a valid Flatbuffer: {shown(str(error))}", _AGAIN) from error


def _is_model(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(8)[4:] == b"TFL3" or path.suffix == ".tflite"


def _single(stated: str, path: Path) -> Subject:
    with path.open("rb") as file:
        data = _limited(file, _LARGEST_MODEL, stated)
    total = FileSum(hashlib.sha256(data).hexdigest(), len(data))
    return Subject(stated, path.name, None, model_of(data, stated), path.name, {path.name: total})


def _bundle(stated: str, place: Place) -> Subject:
    try:
        names = sorted(place.files())
    except UnsafeError as error:
        raise SourceError(f"{stated}: {shown(error.name)}: {error.found}: nothing of the kind is in a bundle", _AGAIN) from error
    if MANIFEST not in names:
        raise ConfigError(f"{stated}: expected a bundle or a .tflite file, found no {MANIFEST} in it", _AGAIN)
    try:
        manifest = _manifest(stated, place)
        model_name = _model_name(manifest, names)
        sums, model = {}, None
        for name in names:
            if name in VARYING:
                continue
            with place.open(name) as file:
                if name == model_name:
                    data = _limited(file, _LARGEST_MODEL, f"{stated}: {name}")
                    model = model_of(data, f"{stated}: {name}")
                    sums[name] = FileSum(hashlib.sha256(data).hexdigest(), len(data))
                else:
                    digest = hashlib.file_digest(file, "sha256")  # type: ignore[arg-type]
                    sums[name] = FileSum(digest.hexdigest(), file.tell())
    except place.damaged as error:
        raise SourceError(f"{stated}: cannot be read: {getattr(error, 'strerror', None) or error}", _AGAIN) from error
    title = f"{manifest.name} {manifest.version}, {manifest.variant}"
    return Subject(stated, shown(title), finite(dict(manifest.whole)), model, model_name, sums, _note(manifest, sums))


def _manifest(stated: str, place: Place) -> Stated:
    with place.open(MANIFEST) as file:
        data = _limited(file, MAX_BYTES, f"{stated}: {MANIFEST}")
    try:
        manifest = read_manifest(data)
    except UnreadableError as error:
        raise SourceError(f"{stated}: {MANIFEST}: {shown(str(error))}", _AGAIN) from error
    return manifest


def _model_name(manifest: Stated, names: list[str]) -> str:
    """Return the bundle's model; empty where it has none."""
    models = [name for name in names if PurePosixPath(name).suffix == ".tflite"]
    own = f"{manifest.name}.tflite"
    return own if own in models else next(iter(models), "")


def _note(manifest: Stated, sums: Mapping[str, FileSum]) -> str:
    """Return which files are not those that the manifest speaks of: it is not this one's word."""
    said = {entry.path: entry.sha256 for entry in manifest.outputs}
    others = [name for name in said if name not in sums or sums[name].sha256 != said[name]]
    others += [name for name in sums if name not in said and name != MANIFEST]
    if not others:
        return ""
    named = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
    return shown(f"not what its manifest says: {named}; see `mlkit-build verify`")


def _limited(file: IO[bytes], most: int, where: str) -> bytes:
    data = file.read(most + 1)
    if len(data) > most:
        raise SourceError(f"{where}: expected at most {most >> 20} MB, found more", _AGAIN)
    return data
