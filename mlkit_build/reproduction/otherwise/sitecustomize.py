"""Imported by every Python of a build under other conditions: another time, host, user, network card, and order of files.

What a process cannot be given by its environment is put into Python's own modules. What asks the system itself, such as
TensorFlow's file system and `tf.timestamp`, sees no difference.
"""

import _socket
import datetime
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

BACK_S = ((400 * 24 + 5) * 60 + 7) * 60 + 11
"""Another year, month, day of the week, hour, minute and second. Into the past: were it the future, what other builds are just
making in the cache would look abandoned, and be removed."""
NAME = "elsewhere"
NODE = 0x02_00_5E_10_00_00
"""A network card's address; the second lowest bit of its first byte says that no maker gave it (IEEE 802)."""

_listdir, _scandir = os.listdir, os.scandir
_time, _time_ns, _strftime, _asctime = time.time, time.time_ns, time.strftime, time.asctime
_Datetime = datetime.datetime


class _Reversed:
    def __init__(self, *where: Any) -> None:
        with _scandir(*where) as entries:
            self._entries = iter(list(entries)[::-1])

    def __iter__(self) -> Iterator[Any]:
        return self._entries

    def __next__(self) -> Any:
        return next(self._entries)

    def __enter__(self) -> "_Reversed":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Every entry was read at the beginning."""


def _listed(*where: Any) -> list[Any]:
    return _listdir(*where)[::-1]


def _now() -> float:
    return _time() - BACK_S


def _now_ns() -> int:
    return _time_ns() - BACK_S * 1_000_000_000


def _at(real: Callable[[float], Any]) -> Callable[..., Any]:
    """Return the function with what is now for the seconds that are not stated."""
    return lambda seconds=None: real(_now() if seconds is None else seconds)


def _clock(real: Callable[[int], Any], now: Callable[[], Any]) -> Callable[[int], Any]:
    """Return the function with another real-time clock; timeouts use those that count from the start of the machine."""
    return lambda clock: now() if clock == time.CLOCK_REALTIME else real(clock)


class _AnyDatetime(type):
    """Those that C code makes are of the real class."""

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, _Datetime) if cls is _Shifted else super().__instancecheck__(value)

    def __subclasscheck__(cls, other: type) -> bool:
        return issubclass(other, _Datetime) if cls is _Shifted else super().__subclasscheck__(other)


class _Shifted(_Datetime, metaclass=_AnyDatetime):
    """`datetime.datetime`, which asks the system for the time: `date.today` asks `time.time`."""

    @classmethod
    def now(cls, tz: Any = None) -> Any:
        return cls.fromtimestamp(_now(), tz)

    @classmethod
    def utcnow(cls) -> Any:
        return cls.fromtimestamp(_now(), datetime.UTC).replace(tzinfo=None)


_Shifted.__name__ = _Shifted.__qualname__ = "datetime"
_Shifted.__module__ = "datetime"

_cores = 1 if (os.cpu_count() or 1) > 1 else 2


def _cpu_count() -> int:
    return _cores


vars(os).update(listdir=_listed, scandir=_Reversed, cpu_count=_cpu_count)
if sys.version_info >= (3, 13):
    vars(os).update(process_cpu_count=_cpu_count)
vars(datetime).update(datetime=_Shifted)
vars(time).update(
    time=_now,
    time_ns=_now_ns,
    localtime=_at(time.localtime),
    gmtime=_at(time.gmtime),
    ctime=_at(time.ctime),
    asctime=lambda stated=None: _asctime(time.localtime() if stated is None else stated),
    strftime=lambda form, stated=None: _strftime(form, time.localtime() if stated is None else stated),
)
if hasattr(time, "clock_gettime"):
    vars(time).update(
        clock_gettime=_clock(time.clock_gettime, _now),
        clock_gettime_ns=_clock(time.clock_gettime_ns, _now_ns),
    )

vars(_socket).update(gethostname=lambda: NAME)
if hasattr(os, "uname"):
    import pwd

    _uname, _getpwuid = os.uname, pwd.getpwuid

    def _machine() -> os.uname_result:
        return os.uname_result((_uname()[0], NAME, *_uname()[2:]))

    def _user(number: int) -> pwd.struct_passwd:
        found = _getpwuid(number)
        if number != os.getuid():
            return found
        home, name = os.environ.get("HOME", found.pw_dir), os.environ.get("LOGNAME", found.pw_name)
        return pwd.struct_passwd((name, *found[1:5], home, found.pw_shell))

    vars(os).update(uname=_machine, getlogin=lambda: os.environ.get("LOGNAME", NAME))
    vars(pwd).update(getpwuid=_user)

import uuid  # noqa: E402 - it asks for the name of the machine when it is imported

vars(uuid).update(getnode=lambda: NODE, _generate_time_safe=None)  # without the system's library, `uuid1` asks `getnode`
