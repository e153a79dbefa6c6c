"""What a tensor is while a graph is interpreted: a known array, a tensor of the graph being written, an array of tensors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

Shape = tuple[int | None, ...] | None
"""The sizes that are known; None where not even the rank is."""


@dataclass(frozen=True, slots=True)
class Spec:
    """The type of a tensor, as TensorFlow's enum, and its shape."""

    dtype: int
    shape: Shape

    @property
    def static(self) -> bool:
        """Whether every size is known."""
        return self.shape is not None and None not in self.shape


class Known:
    """A small tensor whose value is known. Equal bytes are one constant, under the first one's name."""

    __slots__ = ("array", "key", "name", "spec")

    def __init__(self, array: NDArray[Any], dtype: int, name: str) -> None:
        self.array = array
        self.name = name
        self.spec = Spec(dtype, array.shape)
        self.key = (dtype, array.shape, array.tobytes())


@dataclass(frozen=True, slots=True)
class Symbol:
    """A tensor of a graph that is being written.

    Attributes:
        owner: The number of the graph or function that computes it.
    """

    owner: int
    node: str
    index: int
    spec: Spec = field(compare=False)

    def __str__(self) -> str:
        return f"{self.node}:{self.index}"


@dataclass(frozen=True, slots=True)
class Nothing:
    """What is never computed, or cannot be, and why. Only an output that needs it makes it an error."""

    reason: str
    hint: str = ""


class Elements:
    """A persistent map from an index to a tensor: a write leaves the map that it is applied to as it was.

    Successive writes share one dictionary, each entry stamped with the version that wrote it, so that n writes cost n. Only a
    write to a version that is not the newest copies.
    """

    __slots__ = ("_entries", "_version")

    def __init__(self, entries: dict[int, tuple[int, Tensor]] | None = None, version: int = 0) -> None:
        self._entries = {} if entries is None else entries
        self._version = version

    def get(self, index: int) -> Tensor | None:
        """Return the element, or None where nothing was written."""
        stamp, value = self._entries.get(index, (self._version + 1, None))
        return value if stamp <= self._version else None

    def with_element(self, index: int, value: Tensor) -> Elements:
        """Return a map that also holds `value`."""
        entries = self._entries
        if index in entries or len(entries) != self._version:
            mine = [item for item in self if item[0] != index]
            entries = {key: (number + 1, kept) for number, (key, kept) in enumerate(mine)}
        entries[index] = (len(entries) + 1, value)
        return Elements(entries, len(entries))

    def __iter__(self) -> Iterator[tuple[int, Tensor]]:
        return ((index, value) for index, (stamp, value) in self._entries.items() if stamp <= self._version)

    def __len__(self) -> int:
        return self._version


@dataclass(frozen=True, slots=True)
class ArraySpec:
    """What a TensorArray was created with.

    Attributes:
        size: None where data decide it.
        element: The shape of an element, as far as the graph states it.
    """

    name: str
    dtype: int
    size: int | None
    element: Shape
    dynamic: bool


@dataclass(frozen=True, slots=True)
class ArrayHandle:
    """The TensorArray itself; what it holds comes with its flow."""

    spec: ArraySpec


@dataclass(frozen=True, slots=True)
class Array:
    """A TensorArray's flow: what it holds at this point of the computation.

    Attributes:
        stacked: One tensor of all elements in order, where it exists already.
    """

    spec: ArraySpec
    elements: Elements
    stacked: Tensor | None = None

    @property
    def size(self) -> int | None:
        """How many elements it has, written or not; None where data decide."""
        if self.spec.size is None:
            return None
        return max([self.spec.size, *(index + 1 for index, _ in self.elements)]) if self.spec.dynamic else self.spec.size


@dataclass(frozen=True, slots=True)
class ListArray:
    """A TensorArray's flow as a TensorList: what a functional loop carries."""

    spec: ArraySpec
    handle: Symbol


Tensor = Known | Symbol
Value = Known | Symbol | Nothing | ArrayHandle | Array | ListArray
