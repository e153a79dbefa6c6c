"""Regular expressions that a recipe states: searched with a limit, since a short one may take longer than anyone waits.

Python's `re` tries every way in which nested repetitions such as `(a+)+$` can share a text: 2^n of them for n letters. While it
does, it looks for signals (`Modules/_sre/sre_lib.h`, MAYBE_CHECK_SIGNALS).
"""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from mlkit_build.errors import ConfigError

LIMIT_S = 5.0
"""Processor time for all searches of one pattern. Those that end take microseconds each; a model has thousands of names."""
_SHOWN = 80


class Pattern:
    """One regular expression of a recipe.

    Args:
        text: The expression.
        where: The field that states it, for messages.
    """

    def __init__(self, text: str, where: str) -> None:
        self._pattern = re.compile(text)
        self._where = where
        self._left_s = LIMIT_S

    def found_in(self, name: str) -> bool:
        """Return whether it is found in the name.

        Raises:
            ConfigError: It takes too long. Only a process's main thread, which actions run in, can tell.
        """
        try:
            with self._limited():
                return self._pattern.search(name) is not None
        except _TooLongError:
            shown = name if len(name) <= _SHOWN else f"{name[:_SHOWN]}..."
            raise ConfigError(
                f"{self._where}: expected a regular expression that is searched for in moments, found "
                f"{self._pattern.pattern!r}, which was stopped after {LIMIT_S:g} s, at {shown!r}",
                "repetitions inside of repetitions, like `(a+)+`, take longer than anyone waits: write one, like `a+`",
            ) from None

    @contextmanager
    def _limited(self) -> Iterator[None]:
        """Let the block run until the pattern's time is up. Raises _TooLongError then."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGVTALRM, _stop)
        signal.setitimer(signal.ITIMER_VIRTUAL, self._left_s)
        try:
            yield
        finally:
            self._left_s = signal.setitimer(signal.ITIMER_VIRTUAL, 0)[0] or self._left_s
            signal.signal(signal.SIGVTALRM, before)


class _TooLongError(Exception):
    pass


def _stop(*_: object) -> None:
    raise _TooLongError
