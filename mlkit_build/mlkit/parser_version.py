"""Which parser a model's metadata need: the version of the newest thing in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from mlkit_build.mlkit import metadata_schema as schema

_FIRST = (1, 0, 0)
_TABLES: dict[type, tuple[int, int, int]] = {
    schema.BertTokenizerOptions: (1, 1, 0),
    schema.SentencePieceTokenizerOptions: (1, 1, 0),
    schema.RegexTokenizerOptions: (1, 2, 1),
    schema.AudioProperties: (1, 3, 0),
}
_FIELDS: dict[tuple[type, str], tuple[int, int, int]] = {
    (schema.SubGraphMetadata, "input_process_units"): (1, 1, 0),
    (schema.SubGraphMetadata, "output_process_units"): (1, 1, 0),
    (schema.SubGraphMetadata, "input_tensor_groups"): (1, 2, 0),
    (schema.SubGraphMetadata, "output_tensor_groups"): (1, 2, 0),
    (schema.AssociatedFile, "version"): (1, 4, 1),
    (schema.SubGraphMetadata, "custom_metadata"): (1, 5, 0),
}
_FILES = {schema.FileType.VOCABULARY: (1, 0, 1), schema.FileType.SCANN_INDEX_FILE: (1, 4, 0)}
"""What came after version 1.0.0, and with which (the history in `metadata_schema.fbs`, and `metadata_version.cc`, which asks the
same of every field that is set)."""


def min_parser_version(tables: schema.ModelMetadata) -> str:
    """Return the oldest parser that understands all of the metadata: `1.0.0` for what a classifier needs."""
    return ".".join(map(str, max(_versions(tables), default=_FIRST)))


def _versions(table: Any) -> Iterator[tuple[int, int, int]]:
    yield _TABLES.get(type(table), _FIRST)
    if isinstance(table, schema.AssociatedFile):
        yield _FILES.get(table.type, _FIRST)  # type: ignore[call-overload]
    for field in fields(table):
        value = getattr(table, field.name)
        if value:
            yield _FIELDS.get((type(table), field.name), _FIRST)
        for item in value if isinstance(value, tuple) else (value,):
            if is_dataclass(item):
                yield from _versions(item)
