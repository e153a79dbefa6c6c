"""Whether embeddings still mean the same: where they point, and which other samples they find."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mlkit_build.errors import ConfigError
from mlkit_build.metrics import Measurement, Subject, Table, significant
from mlkit_build.metrics.options import EmbeddingOptions
from mlkit_build.metrics.parity import cosines

MOST_VALUES = 1 << 24
"""How many values of embeddings are held for each of the two models: 64 MB."""


class Embedding:
    """The mean and the least cosine between a sample's embedding and TensorFlow's; and of each sample's k nearest neighbours by
    cosine, the share that TensorFlow's embeddings find too. Neighbours are looked for among at most `samples` evenly spaced
    samples of the dataset; among equally near ones the first come first.
    """

    def __init__(self, options: EmbeddingOptions, subject: Subject) -> None:
        if subject.output.size < 2:
            raise ConfigError(
                f"validation.metrics: embedding: expected at least 2 values of the output {subject.output.name!r}, found 1"
            )
        if subject.samples <= options.k:
            raise ConfigError(
                f"validation.metrics: embedding.k: expected less than the {subject.samples} samples of the dataset, "
                f"found {options.k}"
            )
        count = min(options.samples, subject.samples)
        if count * subject.output.size > MOST_VALUES:
            raise ConfigError(
                f"validation.metrics: embedding.samples: expected at most {MOST_VALUES // subject.output.size} samples of the "
                f"{subject.output.size} values that the output {subject.output.name!r} has, found {count}",
                "so many are held in memory; state less samples, or name a smaller output with validation.output",
            )
        self._k = options.k
        self._held = np.zeros((2, count, subject.output.size), np.float32)
        self._wanted = np.arange(count, dtype=np.int64) * subject.samples // count
        self._samples = 0
        self._sum, self._least = 0.0, 1.0

    def update(self, outputs: NDArray[np.float32], reference: NDArray[np.float32], labels: object = None) -> None:
        ours, theirs = outputs.reshape(len(outputs), -1), reference.reshape(len(reference), -1)
        found = cosines(ours.astype(np.float64), theirs.astype(np.float64))
        self._sum += float(found.sum())
        self._least = min(self._least, float(found.min()))
        places = np.nonzero((self._wanted >= self._samples) & (self._wanted < self._samples + len(ours)))[0]
        rows = self._wanted[places] - self._samples
        self._held[0, places], self._held[1, places] = ours[rows], theirs[rows]
        self._samples += len(ours)

    def result(self) -> dict[str, Measurement]:
        return {
            "embedding_cosine": Measurement(significant(self._sum / self._samples)),
            "worst_embedding_cosine": Measurement(significant(self._least)),
            "retrieval_agreement": Measurement(significant(self._agreement())),
        }

    def tables(self) -> dict[str, Table]:
        return {}

    def _agreement(self) -> float:
        unit = [_unit(held) for held in self._held]
        shared = 0
        for start in range(0, len(unit[0]), 256):
            near = [_nearest(rows, start, min(start + 256, len(rows)), self._k) for rows in unit]
            shared += int((near[0][:, :, np.newaxis] == near[1][:, np.newaxis, :]).sum())
        return shared / (len(unit[0]) * self._k)


def _unit(held: NDArray[np.float32]) -> NDArray[np.float64]:
    rows = held.astype(np.float64)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms > 0, norms, 1)


def _nearest(rows: NDArray[np.float64], start: int, end: int, k: int) -> NDArray[np.int64]:
    """Return the k nearest others of the samples `start` to `end`."""
    similar = rows[start:end] @ rows.T
    similar[np.arange(end - start), np.arange(start, end)] = -np.inf
    nearest: NDArray[np.int64] = np.argsort(-similar, axis=1, kind="stable")[:, :k]
    return nearest
