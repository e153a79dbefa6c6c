"""The jobs of a sweep share the cores fairly, build nothing twice at once, and all stop together."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mlkit_build.engine.shared import Shared
from mlkit_build.errors import StageError
from mlkit_build.store import LayeredStore
from tests.processes import PATIENCE, eventually


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as executor:
        yield executor


@pytest.fixture
def store(tmp_path: Path) -> LayeredStore:
    return Shared().store(tmp_path, print)


@pytest.mark.parametrize("jobs", [1, 3])
def test_no_more_than_the_slots_are_held_and_all_of_them_are(threads: ThreadPoolExecutor, jobs: int) -> None:
    shared, held, most = Shared(jobs), [0], [0]
    full = threading.Barrier(jobs)

    def hold() -> None:
        with shared.slot():
            held[0] += 1
            most[0] = max(most[0], held[0])
            full.wait(PATIENCE)  # breaks unless `jobs` of them are in at once
            held[0] -= 1

    for future in [threads.submit(hold) for _ in range(2 * jobs)]:
        future.result(PATIENCE)
    assert most[0] <= jobs


def test_what_measures_time_runs_alone_and_is_not_starved(threads: ThreadPoolExecutor) -> None:
    shared, held = Shared(3), [0]
    lock = threading.Lock()

    def hold(alone: bool) -> int:
        with shared.slot(alone=alone):
            with lock:
                held[0] += 1
            time.sleep(0.01)
            with lock:
                beside = held[0] - 1
                held[0] -= 1
            return beside

    asked = [number % 3 == 1 for number in range(12)]
    found = [future.result(PATIENCE) for future in [threads.submit(hold, alone) for alone in asked]]
    assert [beside for alone, beside in zip(asked, found, strict=True) if alone] == [0] * 4


def test_one_key_is_built_by_one_at_a_time_and_others_at_once(threads: ThreadPoolExecutor, store: LayeredStore) -> None:
    shared, together, alone = Shared(4), threading.Barrier(2), threading.Lock()

    def build(key: str) -> None:
        with shared.flight(store, key):
            if key == "same":
                assert alone.acquire(blocking=False)
                alone.release()
            else:
                together.wait(PATIENCE)

    for future in [threads.submit(build, key) for key in ("one", "same", "other", "same", "same")]:
        future.result(PATIENCE)


def test_whoever_waits_ends_when_the_run_does(threads: ThreadPoolExecutor, store: LayeredStore) -> None:
    shared, inside, leave = Shared(1), threading.Event(), threading.Event()

    def first() -> None:
        with shared.flight(store, "key"), shared.slot():
            inside.set()
            leave.wait(PATIENCE)

    def second(what: str) -> None:
        with shared.slot() if what == "slot" else shared.flight(store, "key"):
            pytest.fail("let in")

    holder = threads.submit(first)
    assert inside.wait(PATIENCE)
    waiting = [threads.submit(second, what) for what in ("slot", "flight")]
    assert not eventually(lambda: any(future.done() for future in waiting), 0.1)
    shared.stop()
    for future in waiting:
        with pytest.raises(StageError, match="interrupted"):
            future.result(PATIENCE)
    leave.set()
    holder.result(PATIENCE)


def test_a_cache_is_opened_once_and_a_file_read_once_for_all(tmp_path: Path) -> None:
    shared = Shared()
    store = shared.store(tmp_path, print)
    assert shared.store(tmp_path, print) is store
    assert shared.store(None, print) is not store
    assert shared.files(store) is shared.files(store)
    shared.close()
