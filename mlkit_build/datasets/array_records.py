"""ArrayRecord files, which no other library reads: the extra `tfds` brings it, without TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlkit_build.datasets.choice import MAX_SAMPLE_BYTES
from mlkit_build.errors import ConfigError, SourceError

_AT_ONCE = 32
_AGAIN = "prepare the dataset again, or fetch it again"


def array_records_in(path: Path, name: str, first: int, end: int, expected: int) -> Iterator[bytes]:
    """Yield the bytes of the records from `first` on, the one at `end` not among them.

    Args:
        name: What to call the file in messages.
        expected: How many records the file should have.

    Raises:
        ConfigError: The library is not installed.
        SourceError: It is no such file, damaged, or has another number of records.
    """
    try:
        reader = _reader(path)
        count = reader.num_records()
        if not reader.ok():
            reader.read([0])  # says why
    except (RuntimeError, ValueError, IndexError, OSError) as error:
        raise SourceError(f"{name}: expected an ArrayRecord file, found something else: {error}", _AGAIN) from error
    try:
        if count != expected:
            raise SourceError(f"{name}: expected {expected} samples, as dataset_info.json says, found {count}", _AGAIN)
        for start in range(first, end, _AT_ONCE):
            for number, data in enumerate(_read(reader, start, min(start + _AT_ONCE, end), name), start):
                if len(data) > MAX_SAMPLE_BYTES:
                    raise SourceError(f"{name}: record {number}: expected at most {MAX_SAMPLE_BYTES} bytes, found {len(data)}")
                yield data
    finally:
        reader.close()


def _reader(path: Path) -> Any:
    try:
        from array_record.python.array_record_module import ArrayRecordReader
    except ImportError as error:
        raise ConfigError(
            f"{path}: reading array_record needs the package array-record, which cannot be imported: {error}",
            "install it with `pip install \"mlkit-build[tfds]\"`, or prepare the dataset with `file_format='tfrecord'`",
        ) from error
    return ArrayRecordReader(str(path))


def _read(reader: Any, start: int, end: int, name: str) -> list[bytes]:
    try:
        found: list[bytes] = reader.read(list(range(start, end)))
    except (RuntimeError, ValueError, IndexError) as error:
        raise SourceError(f"{name}: records {start} to {end - 1}: damaged: {error}", _AGAIN) from error
    return found
