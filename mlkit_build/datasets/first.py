"""The first samples of a dataset, as a dataset: where a few say enough."""

from __future__ import annotations

from collections.abc import Iterator

from mlkit_build.datasets import Batch, Dataset


class FirstSamples:
    """At most `count` samples of another dataset. See `mlkit_build.datasets.Dataset`."""

    def __init__(self, dataset: Dataset, count: int) -> None:
        self.origin = dataset.origin
        self.skipped = dataset.skipped
        self._dataset = dataset
        self._count = min(count, len(dataset))

    def __len__(self) -> int:
        return self._count

    def sample_shape(self, feature: str) -> tuple[int, ...]:
        return self._dataset.sample_shape(feature)

    def array_name(self, feature: str) -> str:
        return self._dataset.array_name(feature)

    def sample(self, index: int) -> str:
        return self._dataset.sample(index)

    def batches(self, size: int) -> Iterator[Batch]:
        for batch in self._dataset.batches(size):
            left = self._count - batch.first
            if left <= 0:
                return
            yield batch if len(batch) <= left else _cut(batch, left)

    def identities(self) -> list[bytes]:
        return self._dataset.identities()[: self._count]


def _cut(batch: Batch, count: int) -> Batch:
    labels = None if batch.labels is None else batch.labels[:count]
    return Batch(batch.first, {name: values[:count] for name, values in batch.features.items()}, labels)
