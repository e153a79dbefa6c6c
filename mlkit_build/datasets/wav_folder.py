"""`wav_folder`: sounds, with a folder per class or a table. The identity of a sample is that of its file's bytes.

Python's own `wave` reads no float files, and before 3.12 none of the extensible format; the chunks are read here (Microsoft's
"Multimedia Programming Interface and Data Specifications 1.0", RIFF and WAVE).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from mlkit_build.datasets.folders import records_of
from mlkit_build.datasets.records import Record, RecordDataset, wanted_input
from mlkit_build.errors import ConfigError, SourceError
from mlkit_build.recipe import WavFolder
from mlkit_build.records import dataclass
from mlkit_build.signature import FrozenSignature

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_FORMATS = {(_PCM, 8), (_PCM, 16), (_PCM, 24), (_PCM, 32), (_FLOAT, 32), (_FLOAT, 64)}
_MOST_CHANNELS = 64


class WavFolderDataset(RecordDataset):
    """An open folder. See `mlkit_build.datasets.Dataset`."""

    def __init__(self, spec: WavFolder, path: Path, where: str, signature: FrozenSignature | None) -> None:
        super().__init__(f"{where}.path: {path}", {spec.input: "sound"}, labelled=spec.label is not None)
        wanted = wanted_input(signature, spec.input)
        if wanted is None:
            raise ConfigError(f"{where}.input: the length of the model's input is not known here")
        self._shape = tuple(wanted.shape[1:])
        if len(self._shape) not in (1, 2) or self._shape[1:] not in ((), (1,)):
            raise ConfigError(
                f"{where}.input: expected an input [1, length] or [1, length, 1] for sounds, found {wanted.name!r} with "
                f"{list(wanted.shape)}",
                "a model of spectrograms is fed what the app computes: write arrays, and use kind npz or python",
            )
        self._rate = spec.sample_rate
        self._field = f"{where}.sample_rate"
        self._records = records_of(spec, path, where)
        empty = f"sounds end with {', '.join(spec.suffixes)}" if spec.table is None else "the table has no row below its header"
        self.settle(spec, path, where, empty)

    def shape(self, feature: str) -> tuple[int, ...]:
        return self._shape

    def count(self) -> int:
        return len(self._records)

    def records(self) -> Iterator[Record]:
        return iter(self._records)

    def decode(self, feature: str, stored: Any, place: str) -> NDArray[Any]:
        name = f"{self.origin}: {place}"
        try:
            with stored.open("rb") as file:
                head = _head(file, name)
                if head.rate != self._rate:
                    raise SourceError(
                        f"{name}: expected {self._rate} Hz ({self._field}), found {head.rate} Hz",
                        "resample the files as the model's training did",
                    )
                return _mono(file, head, self._shape[0], name).reshape(self._shape)
        except OSError as error:
            raise SourceError(f"{name}: the sound cannot be read: {error.strerror}") from error


@dataclass(frozen=True)
class _Head:
    """What the chunks before the samples say."""

    format: int
    channels: int
    rate: int
    bits: int
    data_bytes: int


def _head(file: IO[bytes], name: str) -> _Head:
    """Read up to the first sample."""
    riff = file.read(12)
    if len(riff) < 12 or riff[:4] != b"RIFF" or riff[8:] != b"WAVE":
        raise SourceError(f"{name}: expected a WAV file, which begins with RIFF, found {riff[:4]!r}", "convert it to WAV")
    stated: tuple[int, int, int, int] | None = None
    while len(chunk := file.read(8)) == 8:
        kind, size = struct.unpack("<4sI", chunk)
        if kind == b"data":
            if stated is None:
                raise SourceError(f"{name}: its samples come before their format", "write the file again")
            return _Head(*stated, size)
        if kind == b"fmt ":
            stated = _format(file.read(min(size, 40)), name)
            file.seek(max(0, size - 40) + size % 2, 1)
        else:
            file.seek(size + size % 2, 1)
    raise SourceError(f"{name}: truncated: it ends before its samples", "write the file again")


def _format(chunk: bytes, name: str) -> tuple[int, int, int, int]:
    if len(chunk) < 16:
        raise SourceError(f"{name}: truncated within its header", "write the file again")
    kind, channels, rate, _, _, bits = struct.unpack("<HHIIHH", chunk[:16])
    if kind == _EXTENSIBLE and len(chunk) >= 26:
        kind = struct.unpack("<H", chunk[24:26])[0]
    if (kind, bits) not in _FORMATS or not 0 < channels <= _MOST_CHANNELS:
        raise SourceError(
            f"{name}: expected PCM of 8, 16, 24 or 32 bits, or float, found format {kind}, {bits} bits, {channels} channels",
            "convert it to PCM",
        )
    return kind, channels, rate, bits


def _mono(file: IO[bytes], head: _Head, length: int, name: str) -> NDArray[np.float32]:
    """Return the first `length` samples as float32 in -1..1, the mean of the channels; silence where the file is shorter."""
    frame = head.channels * head.bits // 8
    wanted = min(length, head.data_bytes // frame) * frame
    if not wanted:
        raise SourceError(f"{name}: expected a sound, its header says that it has no samples", "record it again, or leave it out")
    data = file.read(wanted)
    if len(data) < wanted:
        raise SourceError(f"{name}: truncated: its samples end {wanted - len(data)} bytes early", "write the file again")
    values = _numbers(data, head).reshape(-1, head.channels)
    if not np.isfinite(values).all():
        raise SourceError(f"{name}: expected finite samples, found NaN or infinity", "write the file again")
    out = np.zeros(length, np.float32)
    out[: len(values)] = values[:, 0] if head.channels == 1 else values.mean(axis=1)
    return out


def _numbers(data: bytes, head: _Head) -> NDArray[Any]:
    """Return samples scaled to -1..1: PCM by its least value, 8 bits are unsigned."""
    if head.format == _FLOAT:
        return np.frombuffer(data, f"<f{head.bits // 8}")
    values: NDArray[np.float64]
    if head.bits == 8:
        values = np.frombuffer(data, np.uint8).astype(np.float64) - 128
    elif head.bits == 24:
        wide = np.zeros((len(data) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        values = wide.view("<i4").reshape(-1) / 256.0
    else:
        values = np.frombuffer(data, f"<i{head.bits // 8}").astype(np.float64)
    return values / 2.0 ** (head.bits - 1)


def open_dataset(spec: WavFolder, path: Path, where: str, signature: FrozenSignature | None = None) -> WavFolderDataset:
    """Open the folder. See `mlkit_build.datasets.open_dataset`."""
    return WavFolderDataset(spec, path, where, signature)
