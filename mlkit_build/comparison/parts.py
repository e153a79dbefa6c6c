"""Where the bytes of two models are: weights, metadata, the archive behind, and the graph itself."""

from __future__ import annotations

from collections.abc import Iterator

from mlkit_build.changes import Change
from mlkit_build.comparison.aspect import Aspect, aspect, changed
from mlkit_build.metrics.values import size
from mlkit_build.mlkit.associated_files import DamagedArchiveError
from mlkit_build.mlkit.model_file import ModelFile
from mlkit_build.mlkit.model_structure import content_of


def parts(first: ModelFile, second: ModelFile) -> Aspect:
    """Compare the size of every part."""
    return aspect(_grown(sizes(first), sizes(second)))


def sizes(file: ModelFile) -> dict[str, int]:
    """Return part -> its bytes, the whole first. They add up to it, whatever the file says of itself."""
    buffers = file.model.buffers
    named = {entry.buffer for entry in file.model.metadata or ()}
    used = {tensor.buffer for graph in file.model.subgraphs for tensor in graph.tensors or ()}
    weights = sum(len(content_of(buffers[index], file.data)) for index in used if index)
    metadata = sum(len(content_of(buffers[index], file.data)) for index in named - used if index < len(buffers))
    try:
        archive = sum(entry.size_bytes for entry in file.entries)
    except DamagedArchiveError:
        archive = 0
    total = len(file.data)
    weights = min(weights, total)
    metadata = min(metadata, total - weights)
    archive = min(archive, total - weights - metadata)
    return {
        "total": total,
        "weights and other constants": weights,
        "metadata": metadata,
        "files behind the model": archive,
        "graph": total - weights - metadata - archive,
    }


def _grown(before: dict[str, int], after: dict[str, int]) -> Iterator[Change]:
    for name, held in before.items():
        by = after[name] - held
        if by:
            grown = f" ({'+' if by > 0 else '-'}{size(abs(by))}{f', {100 * by / held:+.1f}%' if held else ''})"
            yield changed(name, (held, after[name]), size(held), f"{size(after[name])}{grown}")
