"""Whether the model of a bundle says of itself what the manifest and the labels beside it say."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Any

from mlkit_build.errors import SourceError, StoreError
from mlkit_build.mlkit.description import Metadata
from mlkit_build.mlkit.flatbuffer import DamagedError
from mlkit_build.mlkit.mapped import mapped
from mlkit_build.mlkit.metadata import read
from mlkit_build.mlkit.model_file import ModelFile, opened, shape_of
from mlkit_build.mlkit.model_schema import TensorMap
from mlkit_build.verification.documents import PackingList, Stated
from mlkit_build.verification.places import Folder, Place

LABELS = "labels.txt"


def contradictions(place: Place, model: str, stated: Stated | PackingList, labels: str | None) -> Iterator[str]:
    """Yield what the model says otherwise than the manifest: its signature, name, version, mean and std, labels.

    Of what an archive says of itself, name, version and labels: it says nothing of the rest.

    The model is mapped into memory, not read: only its tables and the archive behind it are looked at.

    Args:
        model: The name of its file.
        labels: That of its labels; None without any.
    """
    try:
        with _mapped(place, model) as data:
            file = opened(data)
            if isinstance(stated, Stated):
                yield from _signature(file, stated)
            if file.identifier is None:
                return
            metadata = read(data)
    except (DamagedError, SourceError, ValueError) as error:
        yield f"cannot be read as a model: {error.message if isinstance(error, SourceError) else error}"
        return
    yield from _identity(metadata, stated)
    if isinstance(stated, Stated):
        yield from _normalization(metadata, stated)
    if labels is not None:
        with place.open(labels) as beside:
            yield from _labels(metadata, beside.read())


@contextmanager
def _mapped(place: Place, name: str) -> Iterator[bytes]:
    with place.open(name) as file:
        if isinstance(place, Folder):
            with mapped(file) as data:
                yield data
            return
        with _copied(file) as copy, mapped(copy) as data:  # what is in an archive has no memory to map
            yield data


@contextmanager
def _copied(file: IO[bytes]) -> Iterator[IO[bytes]]:
    """Copy what is in an archive. Raises StoreError where this machine has no place for it: the bundle is not to blame."""
    try:
        copy = tempfile.TemporaryFile()  # noqa: SIM115 - closed below
    except OSError as error:
        raise _no_room(error) from error
    try:
        while chunk := file.read(1 << 20):
            try:
                copy.write(chunk)
                copy.flush()
            except OSError as error:
                raise _no_room(error) from error
        yield copy
    finally:
        with suppress(OSError):  # it tries to write once more what it could not
            copy.close()


def _no_room(error: OSError) -> StoreError:
    where = tempfile.gettempdir() if tempfile.tempdir else "the folder for temporary files"
    return StoreError(
        f"{where}: the model cannot be unpacked there to look into it: {error.strerror or error}",
        "make room, set TMPDIR to another folder, or unpack the bundle yourself and verify its folder",
    )


def _signature(file: ModelFile, stated: Stated) -> Iterator[str]:
    if not file.model.signatures:
        yield "has no signature"
        return
    signature = file.model.signatures[0]
    for what, maps, specs in (
        ("inputs", signature.inputs, stated.signature.inputs),
        ("outputs", signature.outputs, stated.signature.outputs),
    ):
        found, expected = _shapes(maps, file), {spec.name: spec.shape for spec in specs}
        if found != expected:
            yield f"has the {what} {_listed(found)}, the manifest says {_listed(expected)}"


def _shapes(maps: Sequence[TensorMap], file: ModelFile) -> dict[str, tuple[int, ...]]:
    return {each.name or "": shape_of(file.tensors[each.tensor]) for each in maps if each.tensor < len(file.tensors)}


def _identity(metadata: Metadata, stated: Stated | PackingList) -> Iterator[str]:
    by = "manifest" if isinstance(stated, Stated) else "archive"
    for what, found, expected in (("name", metadata.name, stated.name), ("version", metadata.version, stated.version)):
        if found != expected:
            yield f"its metadata say that its {what} is {found!r}, the {by} {expected!r}"


def _normalization(metadata: Metadata, stated: Stated) -> Iterator[str]:
    inputs = stated.recipe.get("signature", {}).get("inputs", {})
    for tensor in metadata.inputs:
        recipe: Any = inputs.get(tensor.name) if isinstance(inputs, Mapping) else None
        for key, numbers in (("mean", tensor.mean), ("std", tensor.std)):
            said = tuple((recipe or {}).get(key) or ())
            if not _same(numbers, said):
                yield f"its metadata say that the {key} of {tensor.name} is {list(numbers)}, the recipe {list(said)}"


def _same(one: Sequence[float], other: Sequence[float]) -> bool:
    """The metadata hold float32; the recipe, and so the manifest, what was written."""
    return len(one) == len(other) and all(
        math.isclose(*pair, rel_tol=1e-6, abs_tol=1e-9) for pair in zip(one, other, strict=True)
    )


def _labels(metadata: Metadata, beside: bytes) -> Iterator[str]:
    listed = tuple(beside.decode("utf-8", "replace").removesuffix("\n").split("\n"))
    for tensor in metadata.outputs:
        if tensor.labels and tensor.labels != listed:
            yield f"the labels in it for {tensor.name} are not those in {LABELS}"


def _listed(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items()) or "none"
