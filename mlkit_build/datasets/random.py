"""`random`: numbers drawn evenly, in the shapes of the model's inputs. Only for who asks for it: noise decides nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mlkit_build.datasets.records import Record, RecordDataset, wanted_input
from mlkit_build.errors import ConfigError
from mlkit_build.recipe import Random
from mlkit_build.signature import FrozenSignature


class RandomDataset(RecordDataset):
    """Drawn numbers. See `mlkit_build.datasets.Dataset`."""

    def __init__(self, spec: Random, path: Path, where: str, signature: FrozenSignature | None) -> None:
        super().__init__(f"{where}: random", {feature: feature for feature in spec.features}, labelled=False)
        if not spec.features:
            raise ConfigError(f"{where}.features: expected a model input and what is drawn for it, found none")
        self._spec = spec
        self._shapes: dict[str, tuple[int, ...]] = {}
        for feature in self.names:
            wanted = wanted_input(signature, feature)
            if wanted is None:
                raise ConfigError(f"{where}.features.{feature}: the shape of the model's input is not known here")
            self._shapes[feature] = tuple(wanted.shape[1:])
        self.settle(spec, path, where, "ask for samples")

    def shape(self, feature: str) -> tuple[int, ...]:
        return self._shapes[feature]

    def count(self) -> int:
        return self._spec.samples

    def records(self) -> Iterator[Record]:
        for number in range(self._spec.samples):
            source = np.random.Generator(np.random.PCG64([self._spec.seed, number]))
            stored = []
            for feature in self.names:
                drawn = self._spec.features[feature]
                if drawn.type == "float32":
                    values = source.random(self._shapes[feature], np.float32)
                    stored.append(np.float32(drawn.min) + values * np.float32(drawn.max - drawn.min))
                else:
                    least, most = int(np.ceil(drawn.min)), int(np.floor(drawn.max))
                    stored.append(source.integers(least, most, self._shapes[feature], np.dtype(drawn.type), endpoint=True))
            yield Record(f"sample {number}", tuple(stored), None)


def open_dataset(spec: Random, path: Path, where: str, signature: FrozenSignature | None = None) -> RandomDataset:
    """Draw the numbers. See `mlkit_build.datasets.open_dataset`."""
    return RandomDataset(spec, path, where, signature)
