"""Datasets that show the samples of another one: the first of them, or all of them from memory."""

from __future__ import annotations

from collections.abc import Iterator

from mlkit_build.datasets import Batch, Dataset


class DatasetView:
    """All samples of another dataset, as it yields them. See `mlkit_build.datasets.Dataset`."""

    def __init__(self, dataset: Dataset) -> None:
        self.origin = dataset.origin
        self.skipped = dataset.skipped
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def sample_shape(self, feature: str) -> tuple[int, ...]:
        return self._dataset.sample_shape(feature)

    def array_name(self, feature: str) -> str:
        return self._dataset.array_name(feature)

    def sample(self, index: int) -> str:
        return self._dataset.sample(index)

    def batches(self, size: int) -> Iterator[Batch]:
        return self._dataset.batches(size)

    def identities(self) -> list[bytes]:
        return self._dataset.identities()


class FirstSamples(DatasetView):
    """At most `count` samples: where a few say enough."""

    def __init__(self, dataset: Dataset, count: int) -> None:
        super().__init__(dataset)
        self._count = min(count, len(dataset))

    def __len__(self) -> int:
        return self._count

    def batches(self, size: int) -> Iterator[Batch]:
        for batch in self._dataset.batches(size):
            left = self._count - batch.first
            if left <= 0:
                return
            yield batch if len(batch) <= left else _cut(batch, left)

    def identities(self) -> list[bytes]:
        return self._dataset.identities()[: self._count]


class HeldSamples(DatasetView):
    """Samples that are read once, `size` at a time, and kept: models run on them many times."""

    def __init__(self, dataset: Dataset, size: int) -> None:
        super().__init__(dataset)
        self._size = size
        self._batches = list(dataset.batches(size))

    def batches(self, size: int) -> Iterator[Batch]:
        assert size == self._size, "they are held as they were read"
        return iter(self._batches)


def _cut(batch: Batch, count: int) -> Batch:
    labels = None if batch.labels is None else batch.labels[:count]
    return Batch(batch.first, {name: values[:count] for name, values in batch.features.items()}, labels)
