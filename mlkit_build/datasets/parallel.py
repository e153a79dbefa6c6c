"""Work on a dataset's batches on every core, with results in the dataset's order."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from mlkit_build.datasets import Batch, Dataset
from mlkit_build.progress import tell

MOST_THREADS = 8
AHEAD = 3
"""Batches that wait for each of the other threads: they last while the caller's runs its own and does what it does with it."""

T = TypeVar("T")


def in_order(dataset: Dataset, size: int, run: Callable[[Batch], T]) -> Iterator[tuple[Batch, T]]:
    """Yield each batch of `size` samples with what `run` makes of it, in the dataset's order. Holds few batches at a time.

    One thread per core decodes a batch and runs it, so that one decodes while another infers: `Interpreter.invoke` and
    `Session.run` release the GIL. The caller's thread is one of them: were there one more than cores, they would take turns.
    Batches are the same on any number of cores, and so is the first failure of `run`, which is raised when its turn comes.
    """
    others = max(1, min(os.cpu_count() or 1, MOST_THREADS)) - 1
    batches = dataset.batches(size)
    decoding = threading.Lock()

    def work() -> tuple[Batch, Future[T]] | None:
        with decoding:
            batch = next(batches, None)
        if batch is None:
            return None
        outcome: Future[T] = Future()
        try:
            outcome.set_result(run(batch))
        except Exception as error:
            outcome.set_exception(error)
        return batch, outcome

    done: dict[int, tuple[Batch, Future[T]]] = {}
    expected = 0
    with ThreadPoolExecutor(max(1, others)) as executor:
        pending = deque(executor.submit(work) for _ in range(AHEAD * others))
        is_over = False
        while pending or not is_over:
            if pending and (is_over or len(done) > AHEAD * others or pending[0].done()):
                finished = pending.popleft().result()
                if not is_over and finished is not None:
                    pending.append(executor.submit(work))
            else:
                finished = work()
                is_over = finished is None
            if finished is None:
                continue
            done[finished[0].first] = finished
            while expected in done:
                batch, outcome = done.pop(expected)
                expected += len(batch)
                tell(expected, len(dataset))
                yield batch, outcome.result()
