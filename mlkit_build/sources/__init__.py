"""Where trained models come from. One module per kind; adding one adds a line to the table below.

A kind answers two questions: which files it consists of (without TensorFlow, in the parent), and what graph, variables and
signatures are in them (with TensorFlow, in a child).
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from mlkit_build.graphs import OpenedModel

__all__ = ["SOURCES", "Source", "source"]

SOURCES = {
    "tf1_checkpoint": "mlkit_build.sources.tf1_checkpoint",
    "frozen_graph": "mlkit_build.sources.frozen_graph",
    "saved_model": "mlkit_build.sources.saved_model",
    "keras": "mlkit_build.sources.keras",
    "python": "mlkit_build.sources.python",
}


class Source(Protocol):
    """What a module of this package offers."""

    def files(self, source: Any, folder: Path) -> dict[str, Path]:
        """Return role -> file for everything the source consists of. Raises SourceError when a part is missing."""

    def load(self, files: Mapping[str, Path], source: Any) -> OpenedModel:
        """Open the files by role. Raises SourceError when one is not what it should be."""


def source(kind: str) -> Source:
    """Return the module that handles `kind`."""
    return cast(Source, import_module(SOURCES[kind]))
