"""Where trained models come from. One module per kind; adding one adds a line to the table below.

A kind answers two questions: which files it consists of (without TensorFlow, in the parent), and what graph, variables and
signatures are in them (with TensorFlow, in a child).
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from mlkit_build.records import dataclass

if TYPE_CHECKING:
    from mlkit_build.graphs import OpenedModel

__all__ = ["SOURCES", "Kind", "Source", "source"]


@dataclass(frozen=True)
class Kind:
    """A line of the table.

    Attributes:
        module: Offers what Source says.
        accepts: The forms that it takes, for the documentation.
    """

    module: str
    accepts: str


SOURCES = {
    "tf1_checkpoint": Kind(
        "mlkit_build.sources.tf1_checkpoint",
        "V2 (`.index`, `.data-*`) and V1 (one file) checkpoints, by prefix, `.meta` file or folder, also with an empty prefix; "
        "the graph from `.meta` or a separate `.pb`/`.pbtxt`; training graphs as they are",
    ),
    "frozen_graph": Kind(
        "mlkit_build.sources.frozen_graph",
        "a GraphDef without variables, binary (`.pb`) or text (`.pbtxt`); of a MetaGraphDef, its graph",
    ),
    "saved_model": Kind(
        "mlkit_build.sources.saved_model",
        "the folder that TensorFlow 1 or 2 wrote, with `saved_model.pb` or `.pbtxt`; by tags and signature where there are "
        "several; also models that today's `tf.saved_model.load` refuses",
    ),
    "keras": Kind(
        "mlkit_build.sources.keras",
        "whole models: `.keras` and `.h5`/`.hdf5` of Keras 3 and, with the extra `keras2`, of Keras 2",
    ),
    "python": Kind(
        "mlkit_build.sources.python",
        "a function of the recipe's folder that returns a Keras model, a `tf.function` with its input signature, a concrete "
        "function, a `tf.Module` with one of these, or a TensorFlow 1 session with its tensors",
    ),
}


class Source(Protocol):
    """What a module of this package offers."""

    def files(self, source: Any, folder: Path) -> dict[str, Path]:
        """Return role -> file for everything the source consists of. Raises SourceError when a part is missing."""

    def load(self, files: Mapping[str, Path], source: Any) -> OpenedModel:
        """Open the files by role. Raises SourceError when one is not what it should be."""


def source(kind: str) -> Source:
    """Return the module that handles `kind`."""
    return cast(Source, import_module(SOURCES[kind].module))
