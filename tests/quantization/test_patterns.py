"""A regular expression of a recipe is searched for, and stopped where it would never end."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from mlkit_build.errors import ConfigError
from mlkit_build.quantization import patterns
from mlkit_build.quantization.patterns import Pattern


def test_a_pattern_is_found_where_re_finds_it() -> None:
    pattern = Pattern("^block_[12]/", "there")
    assert [pattern.found_in(name) for name in ("block_1/x", "block_3/x", "a/block_1/x")] == [True, False, False]


def test_a_pattern_that_would_never_end_is_stopped_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "LIMIT_S", 0.2)
    before = signal.getsignal(signal.SIGVTALRM)
    pattern = Pattern("(a+)+$", "quantization.rules[1].tensor")
    with pytest.raises(ConfigError, match=r"^quantization\.rules\[1\]\.tensor: .*'\(a\+\)\+\$', which was stopped") as caught:
        pattern.found_in("a" * 200 + "b")
    assert "a" * 80 + "..." in caught.value.message
    assert caught.value.hint
    assert signal.getsignal(signal.SIGVTALRM) is before
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)


def test_slow_searches_share_one_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "LIMIT_S", 0.5)
    pattern = Pattern("(a+)+$", "there")
    with pytest.raises(ConfigError):
        any(map(pattern.found_in, ["a" * 18 + "b"] * 1000))  # 20 ms each


def test_another_thread_searches_without_a_limit() -> None:
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(Pattern("b$", "there").found_in("ab")))
    thread.start()
    thread.join()
    assert found == [True]


def test_a_limit_costs_next_to_nothing() -> None:
    pattern = Pattern("x", "there")
    started = time.process_time()
    for _ in range(10_000):
        pattern.found_in("a/b/c")
    assert time.process_time() - started < 1  # measured: 0.04 s
