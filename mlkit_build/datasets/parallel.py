"""Work on a dataset's batches on every core, with results in the dataset's order."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
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
    Batches are the same on any number of cores, and so is the first failure, of the dataset or of `run`, which is raised when its
    turn comes. Whoever stops before the end leaves no batch that is still to be run.
    """
    others = max(1, min(os.cpu_count() or 1, MOST_THREADS)) - 1
    batches = dataset.batches(size)
    decoding = threading.Lock()
    turns = count()

    def work() -> tuple[int, Future[tuple[Batch, T]]] | None:
        outcome: Future[tuple[Batch, T]] = Future()
        try:
            with decoding:
                turn = next(turns)
                batch = next(batches, None)
            if batch is None:
                return None
            outcome.set_result((batch, run(batch)))
        except Exception as error:
            outcome.set_exception(error)
        return turn, outcome

    done: dict[int, Future[tuple[Batch, T]]] = {}
    yielded, told = 0, 0
    with ThreadPoolExecutor(max(1, others)) as executor:
        pending = deque(executor.submit(work) for _ in range(AHEAD * others))
        is_over = False
        try:
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
                turn, done[turn] = finished
                while yielded in done:
                    batch, result = done.pop(yielded).result()
                    yielded += 1
                    told += len(batch)
                    tell(told, len(dataset))
                    yield batch, result
        finally:
            for waiting in pending:
                waiting.cancel()
