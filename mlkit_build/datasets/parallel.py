"""Work on a dataset's batches on every core, with results in the dataset's order."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from mlkit_build.datasets import Batch, Dataset
from mlkit_build.progress import tell

MOST_THREADS = 8

T = TypeVar("T")


def in_order(dataset: Dataset, size: int, run: Callable[[Batch], T]) -> Iterator[tuple[Batch, T]]:
    """Yield each batch of `size` samples with what `run` makes of it, in the dataset's order. Holds few batches at a time.

    One thread per core decodes a batch and runs it, so that one decodes while another infers: `Interpreter.invoke` and
    `Session.run` release the GIL. Batches are the same on any number of cores.
    """
    workers = max(1, min(os.cpu_count() or 1, MOST_THREADS))
    batches = dataset.batches(size)
    decoding = threading.Lock()

    def work() -> tuple[Batch, T] | None:
        with decoding:
            batch = next(batches, None)
        return None if batch is None else (batch, run(batch))

    done: dict[int, tuple[Batch, T]] = {}
    expected = 0
    with ThreadPoolExecutor(workers) as executor:
        pending = deque(executor.submit(work) for _ in range(2 * workers))
        while pending:
            finished = pending.popleft().result()
            if finished is None:
                continue
            pending.append(executor.submit(work))
            done[finished[0].first] = finished
            while expected in done:
                batch, result = done.pop(expected)
                expected += len(batch)
                tell(expected, len(dataset))
                yield batch, result
