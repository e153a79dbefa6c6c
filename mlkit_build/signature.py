"""The resolved signature: what the frozen graph and everything made of it take and return."""

from __future__ import annotations

import json
from pathlib import Path

from mlkit_build.plain import from_plain, pretty
from mlkit_build.records import dataclass

SIGNATURE_KEY = "serving_default"
"""The one SignatureDef written into every `.tflite`."""


@dataclass(frozen=True)
class TensorSpec:
    """One named tensor.

    Attributes:
        name: The recipe's name for it.
        tensor: The frozen graph's name for it, `node:0`.
        shape: Fully static, batch first.
        dtype: NumPy's name of the type, e.g. `float32`.
    """

    name: str
    tensor: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def size(self) -> int:
        """The number of values in one sample."""
        size = 1
        for dimension in self.shape:
            size *= dimension
        return size

    @property
    def is_vector(self) -> bool:
        """Whether a sample is one row of several values: `[1, C]` or `[1, 1, 1, C]`."""
        return self.size > 1 and sum(dimension != 1 for dimension in self.shape[1:]) <= 1


@dataclass(frozen=True)
class FrozenSignature:
    """Inputs and outputs in the recipe's order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @classmethod
    def read(cls, path: Path) -> FrozenSignature:
        """Return the signature that freeze wrote to `path`."""
        return from_plain(cls, json.loads(path.read_bytes()))

    def write(self, path: Path) -> None:
        """Write it as deterministic JSON."""
        path.write_bytes(pretty(self))

    def input(self, name: str) -> TensorSpec:
        """Return the input called `name`."""
        return next(spec for spec in self.inputs if spec.name == name)
