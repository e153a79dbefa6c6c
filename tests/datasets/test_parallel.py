"""Batches on every core: in the dataset's order, few at a time, each once, and the first failure ends it."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from mlkit_build.datasets import Batch
from mlkit_build.datasets.parallel import AHEAD, MOST_THREADS, in_order


class Counted(np.ndarray):  # type: ignore[type-arg]
    """An array whose end can be noticed."""


class Stream:
    """A dataset of numbers that counts which of its batches are still in memory."""

    origin = "stream"

    def __init__(self, count: int) -> None:
        self.count = count
        self.alive = self.most = self.made = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self.count

    def batches(self, size: int) -> Iterator[Batch]:
        for first in range(0, self.count, size):
            values = np.arange(first, min(first + size, self.count)).view(Counted)
            with self._lock:
                self.made += 1
                self.alive += 1
                self.most = max(self.most, self.alive)
            weakref.finalize(values, self._gone)
            yield Batch(first, {"x": values}, None)

    def _gone(self) -> None:
        with self._lock:
            self.alive -= 1

    def sample_shape(self, feature: str) -> tuple[int, ...]:
        raise NotImplementedError

    def array_name(self, feature: str) -> str:
        raise NotImplementedError

    def sample(self, index: int) -> str:
        raise NotImplementedError

    def identities(self) -> list[bytes]:
        raise NotImplementedError


def cores(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr("mlkit_build.datasets.parallel.os.cpu_count", lambda: count)


@pytest.mark.parametrize("count", [1, 2, 8])
def test_results_come_in_the_datasets_order_whatever_takes_longest(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    cores(monkeypatch, count)
    rng = np.random.default_rng(5)
    naps = rng.uniform(0, 0.004, 40)

    def run(batch: Batch) -> int:
        time.sleep(naps[batch.first // 3])
        return int(batch.features["x"].sum())

    found = [(batch.first, result) for batch, result in in_order(Stream(100), 3, run)]
    assert found == [(first, sum(range(first, min(first + 3, 100)))) for first in range(0, 100, 3)]


@pytest.mark.parametrize("count", [1, 2, 8, 64])
def test_few_batches_are_in_memory_at_a_time(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    cores(monkeypatch, count)
    stream = Stream(1000)
    for _batch, first in in_order(stream, 2, lambda batch: batch.first):
        if first % 200 == 0:
            time.sleep(0.02)  # whoever is slow at taking results finds no more waiting
    del _batch
    gc.collect()
    assert stream.made == 500
    # So many are done before one that they wait for, as many wait for being fetched, and two are in hand.
    assert stream.most <= 2 * AHEAD * min(count, MOST_THREADS) + 2
    assert stream.alive == 0


def test_every_core_has_a_batch_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    cores(monkeypatch, 4)
    meeting = threading.Barrier(4, timeout=20)
    found = [result for _, result in in_order(Stream(8), 1, lambda batch: meeting.wait() >= 0)]
    assert found == [True] * 8


def test_batches_are_decoded_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    cores(monkeypatch, 8)

    class Careful(Stream):
        def batches(self, size: int) -> Iterator[Batch]:
            inside = threading.Lock()
            for batch in super().batches(size):
                assert inside.acquire(blocking=False)
                time.sleep(0.001)
                inside.release()
                yield batch

    assert len(list(in_order(Careful(40), 1, len))) == 40


def test_a_failure_reaches_the_caller_and_ends_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    cores(monkeypatch, 4)
    stream = Stream(1000)

    def run(batch: Batch) -> Any:
        if batch.first == 10:
            raise ValueError("sample 10")
        return batch.first

    with pytest.raises(ValueError, match="sample 10"):
        list(in_order(stream, 1, run))
    assert stream.made < 100


def test_the_first_failure_in_the_datasets_order_is_the_one_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    cores(monkeypatch, 4)

    def run(batch: Batch) -> int:
        if batch.first == 6:
            time.sleep(0.05)  # all that come later have failed before
        if batch.first >= 6:
            raise ValueError(f"sample {batch.first}")
        return batch.first

    found = in_order(Stream(1000), 2, run)
    assert [next(found)[1] for _ in range(3)] == [0, 2, 4]
    with pytest.raises(ValueError, match=r"^sample 6$"):
        next(found)


@pytest.mark.parametrize("slow", ["the caller", "another"])
def test_whoever_waits_for_a_slow_batch_does_not_run_away(monkeypatch: pytest.MonkeyPatch, slow: str) -> None:
    cores(monkeypatch, 2)
    stream, caller = Stream(1000), threading.current_thread()
    is_slow = threading.Event()

    def run(batch: Batch) -> int:
        is_mine = (threading.current_thread() is caller) == (slow == "the caller")
        if batch.first >= 100 and is_mine and not is_slow.is_set():
            is_slow.set()
            time.sleep(0.1)
        return batch.first

    assert [first for _, first in in_order(stream, 1, run)] == list(range(1000))
    assert stream.most <= 2 * AHEAD + 4


def test_an_empty_dataset_gives_nothing() -> None:
    assert list(in_order(Stream(0), 4, len)) == []


@pytest.mark.parametrize("fails", [True, False])
def test_a_damaged_sample_is_told_after_all_that_comes_before_it(monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    cores(monkeypatch, 2)
    caller, has_begun = threading.current_thread(), threading.Event()

    class Damaged(Stream):
        def batches(self, size: int) -> Iterator[Batch]:
            yield from super().batches(size)
            raise OSError("the file ends early")

    def run(batch: Batch) -> int:
        if threading.current_thread() is caller:
            assert has_begun.wait(20)
        elif not has_begun.is_set():
            has_begun.set()
            time.sleep(0.1)  # the caller's thread comes to the end of the file meanwhile
            if fails:
                raise ValueError("a sample before it")
        return batch.first

    found: list[int] = []
    with pytest.raises(ValueError if fails else OSError, match="a sample before it" if fails else "ends early"):
        found.extend(result for _, result in in_order(Damaged(3), 1, run))
    assert fails or found == [0, 1, 2]


def test_who_stops_before_the_end_waits_for_what_has_begun_only(monkeypatch: pytest.MonkeyPatch) -> None:
    cores(monkeypatch, 8)
    caller, stopped = threading.current_thread(), threading.Event()
    others: list[int] = []

    def run(batch: Batch) -> int:
        if threading.current_thread() is not caller:
            others.append(batch.first)
            assert batch.first == 0 or stopped.wait(20)
        return batch.first

    found = in_order(Stream(1000), 1, run)
    next(found)
    later = threading.Timer(0.2, stopped.set)
    later.start()
    found.close()  # type: ignore[attr-defined]
    assert len(others) <= 8 < AHEAD * 7
