"""A source, opened: what every kind of source hands to freeze."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from mlkit_build.records import dataclass

if TYPE_CHECKING:
    from tensorflow.core.framework.graph_pb2 import GraphDef

Shape = tuple[int | None, ...]
"""A shape as a model states it; None is a size that only running decides."""


@dataclass(frozen=True)
class DeclaredTensor:
    """An input or output that the model's author named.

    Attributes:
        name: The author's name for it.
        tensor: The graph's name for it, `node:0`.
        shape: None when even the number of dimensions is unknown.
        dtype: NumPy's name of the type.
    """

    name: str
    tensor: str
    shape: Shape | None
    dtype: str


@dataclass(frozen=True)
class DeclaredSignature:
    """Inputs and outputs that the model's author declared together.

    Attributes:
        key: The author's name for the signature; empty where the format has none.
    """

    key: str
    inputs: tuple[DeclaredTensor, ...]
    outputs: tuple[DeclaredTensor, ...]


@dataclass(frozen=True)
class LoadedGraph:
    """A graph and the values of its variables.

    Attributes:
        graph_def: The graph as its author saved it.
        variable: Variable node name -> its value. Raises SourceError when it has none, with the reason.
        origin: The file to name in messages.
        together: Reads many variables at once, where that is faster than one by one; leaves out those without a value.
    """

    graph_def: GraphDef
    variable: Callable[[str], NDArray[Any]]
    origin: str
    together: Callable[[Sequence[str]], Mapping[str, NDArray[Any]]] | None = None


@dataclass(frozen=True)
class OpenedModel:
    """A source, opened.

    Attributes:
        origin: The file to name in messages.
        graph: Declared input -> static shape, to the graph. A kind that traces its model does so with these shapes; the others
            have one graph.
        declared: The signatures it brings; none for a bare graph.
    """

    origin: str
    graph: Callable[[Mapping[str, tuple[int, ...]]], LoadedGraph]
    declared: tuple[DeclaredSignature, ...] = field(default=())

    @classmethod
    def of(cls, loaded: LoadedGraph, declared: tuple[DeclaredSignature, ...] = ()) -> OpenedModel:
        """Return the opened form of a source that has one graph."""
        return cls(loaded.origin, lambda shapes: loaded, declared)
