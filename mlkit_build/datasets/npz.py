"""`npz`: a NumPy archive with one array per feature, sample first. Compressed or not, it is read as a stream."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from mlkit_build.datasets.arrays import AGAIN, Array, ArrayDataset
from mlkit_build.datasets.inflating import inflated, inflates
from mlkit_build.errors import ConfigError, SourceError, cut, did_you_mean
from mlkit_build.recipe import Npz
from mlkit_build.signature import FrozenSignature

_BEGINNING = b"PK\3\4"
"""Of a zip archive with a member in it (APPNOTE.TXT, 4.3.7)."""
_METHODS = {zipfile.ZIP_STORED: "stored", zipfile.ZIP_DEFLATED: "deflated"}
_FOREIGN = {zipfile.ZIP_BZIP2: "bzip2", zipfile.ZIP_LZMA: "LZMA"}
_MAX_HEADER_BYTES = 1 << 16
"""A version 1 header has no more (numpy.lib.format); NumPy reads a sixth of it, but makes room for what is stated."""
_MAX_DIMENSIONS = 63
"""NumPy's own bound is 64 (NPY_MAXDIMS); one is left for a batch."""


class HeaderError(ValueError):
    """The header of an array is damaged."""


class NpzDataset(ArrayDataset):
    """An open archive. See `mlkit_build.datasets.Dataset`."""

    damaged = (OSError, zlib.error, zipfile.BadZipFile, EOFError)

    def header(self, name: str, where: str) -> Array:
        with self._open(name, where) as stream:
            try:
                array = array_of(name, stream, where)
                return replace(array, offset=stream.tell())
            except HeaderError as error:
                raise SourceError(f"{self.origin}: the array {name!r}: damaged header: {error}", AGAIN) from error
            except (ValueError, *self.damaged) as error:
                raise SourceError(f"{self.origin}: the array {name!r} cannot be read: {error}") from error

    def place(self, array: Array) -> str:
        return f"{self.origin}: the array {array.name!r}"

    def rows_of(self, array: Array) -> IO[bytes]:
        stream = self._open(array.name)
        stream.read(array.offset)
        return stream

    def _open(self, name: str, where: str = "") -> IO[bytes]:
        try:
            members = self._members
            member = members.get(f"{name}.npy")
            if member is None:
                names = [member.removesuffix(".npy") for member in members if member.endswith(".npy")]
                raise ConfigError(
                    f"{where}: no array {name!r} in {self.path}; it holds {', '.join(names) or 'no file that ends with .npy'}",
                    did_you_mean(name, names),
                )
            if member.compress_type not in _METHODS:  # zipfile inflates them as far as they go, whatever is asked for
                raise SourceError(
                    f"{self.origin}: the array {name!r}: expected it {' or '.join(_METHODS.values())}, as NumPy writes it, "
                    f"found {_FOREIGN.get(member.compress_type, f'method {member.compress_type}')}",
                    "write it with np.savez_compressed(path, name=array)",
                )
            return inflated(self.path, member) if inflates(member) else zipfile.ZipFile(self.path).open(member)
        except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
            raise self._no_archive(error) from error

    def _no_archive(self, error: Exception) -> SourceError:
        with suppress(OSError), self.path.open("rb") as file:
            if file.read(4) == _BEGINNING and not zipfile.is_zipfile(self.path):  # the table of contents is at the end
                return SourceError(f"{self.origin}: truncated: it begins as a NumPy archive (.npz) and has no end", AGAIN)
            if not self.path.stat().st_size:
                return SourceError(f"{self.origin}: expected a NumPy archive (.npz), found an empty file", AGAIN)
        return SourceError(
            f"{self.origin}: expected a NumPy archive (.npz), found something else: {error}",
            "write it with np.savez_compressed(path, name=array)",
        )

    @cached_property
    def _members(self) -> dict[str, zipfile.ZipInfo]:
        with zipfile.ZipFile(self.path) as archive:
            found: dict[str, zipfile.ZipInfo] = {}
            for member in archive.infolist():
                if member.filename in found:  # which of them is meant nobody can tell
                    raise SourceError(f"{self.origin}: expected every array once, found {member.filename!r} twice", AGAIN)
                found[member.filename] = member
            return found


def open_dataset(spec: Npz, path: Path, where: str, signature: FrozenSignature | None = None) -> NpzDataset:
    """Open the archive. See `mlkit_build.datasets.open_dataset`."""
    return NpzDataset(spec, path, where)


def array_of(name: str, stream: IO[bytes], where: str, offset: int = 0) -> Array:
    """Return the array whose header (`.npy`, any version) comes next. Raises ConfigError where it is not one of samples."""
    shape, fortran, dtype = read_header(stream)
    if dtype.hasobject or dtype.kind not in "buif":
        raise ConfigError(f"{where}: expected an array of numbers, found {name!r} of dtype {dtype}")
    if not shape:
        raise ConfigError(f"{where}: expected an array with a sample dimension, found the scalar {name!r}")
    if fortran and len(shape) > 1:
        raise ConfigError(
            f"{where}: expected {name!r} in C order, found Fortran order",
            "save it with np.ascontiguousarray(array)",
        )
    return Array(name, shape[0], shape[1:], dtype, offset)


def read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, whether the order is Fortran's, and dtype. Reads no further than the header, nor one that is too long.

    Raises:
        HeaderError: It is damaged.
        ValueError: There is none.
    """
    version = npy.read_magic(stream)
    size = 2 if version == (1, 0) else 4
    stated = _exactly(stream, size)
    (length,) = struct.unpack("<H" if size == 2 else "<I", stated)
    if length > _MAX_HEADER_BYTES:
        raise HeaderError(f"expected at most {_MAX_HEADER_BYTES} bytes, found {length} stated")
    header = io.BytesIO(stated + _exactly(stream, length))
    try:
        shape, fortran, dtype = (npy.read_array_header_1_0 if size == 2 else npy.read_array_header_2_0)(header)
    except Exception as error:  # it is read as Python: whatever the tokenizer, the parser and `np.dtype` raise
        words = str(error.args[0] if error.args else error).splitlines()  # the tokenizer adds a place
        raise HeaderError(cut(words[0]) if words else type(error).__name__) from error
    if len(shape) > _MAX_DIMENSIONS:
        raise HeaderError(f"expected at most {_MAX_DIMENSIONS} dimensions, found {len(shape)}")
    if any(type(length) is not int or length < 0 for length in shape):  # NumPy lets them pass, and True
        raise HeaderError(cut(f"the shape {shape} has a dimension that is no length"))
    try:
        np.empty((0, *shape), dtype)  # no room is made: these are NumPy's own bounds
    except ValueError as error:
        raise HeaderError(cut(f"the shape {shape}: {error}")) from error
    return shape, fortran, dtype


def _exactly(stream: IO[bytes], size: int) -> bytes:
    found = b""
    while len(found) < size and (piece := stream.read(size - len(found))):
        found += piece
    if len(found) < size:
        raise HeaderError("the file ends in it")
    return found
