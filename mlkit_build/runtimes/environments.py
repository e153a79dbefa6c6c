"""Python environments with one interpreter each, kept in the cache: made once, whole or not at all, and found without a process.

Layout: `v1/runtimes/<key>/`, a virtual environment with `environment.json`, which says what is in it: its digest stands for the
environment in the keys of actions. The key is of the requirement, the Python and the machine. Nothing of it is run as a script,
so that it can be made elsewhere and moved.
"""

from __future__ import annotations

import errno
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import secrets
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from mlkit_build.bounded import read_regular
from mlkit_build.errors import SourceError
from mlkit_build.plain import canonical, pretty
from mlkit_build.runtimes import FIELD, PACKAGES, Requirement, parse_all
from mlkit_build.store import Digest, DiskStore
from mlkit_build.store.folders import locked, move, sweep
from mlkit_build.temporary import no_room, temporary_folder

RECORD = "environment.json"
_SCHEMA = 1
_FOLDER = "runtimes"
_PREFIX = "runtime-"

_PIP = """
import ctypes, runpy, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: what is killed leaves no pip behind
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""
_OPTIONS = ("--only-binary", ":all:", "--no-warn-conflicts", "--no-input", "--no-color", "--disable-pip-version-check", "--quiet")
_FULL_DISK = re.compile(rf"\[Errno ({errno.ENOSPC}|{errno.EDQUOT})\]")
_CLOSING = "'\") "
_BROKEN_CONNECTION = re.compile(r"after connection broken by '(.*)': ")


def python_of(record: Path) -> Path:
    """Return the Python of the environment whose record is at the path."""
    return record.parent / "bin" / "python"


class Environments:
    """Finds environments, and makes those that are missing; see `open_environments`."""

    def __init__(
        self,
        cache: DiskStore | None,
        stack: ExitStack,
        warn: Callable[[str], None],
        progress: Callable[[str, int, int | None], None],
        *,
        makes: bool,
    ) -> None:
        self._cache = cache
        self._stack = stack
        self._warn = warn
        self._progress = progress
        self._makes = makes

    def record(self, requirement: Requirement) -> Path:
        """Return the record of the environment: a file that equal environments have in common, beside its Python.

        Raises:
            SourceError: It is not here and cannot be made, or may not be.
            StoreError: No disk takes it.
        """
        key = _key(requirement)
        if self._cache and (found := _whole(self._cache, key)):
            return found
        if not self._makes:
            raise SourceError(f"{FIELD}: {requirement} is not in the cache, and a plan installs nothing", "build it once")
        if self._cache:
            try:
                with locked(self._cache, f"{_PREFIX}{key}", lambda: self._progress(_shown(requirement), 0, None)) as alone:
                    return _whole(self._cache, key) or self._made(self._cache, requirement, key, alone)
            except OSError as error:
                reason = f"cache {self._cache.root.parent}: {error.strerror or error}"
                self._warn(f"{reason}; {requirement} is installed for this build and forgotten at its end")
        try:
            store = DiskStore(self._stack.enter_context(temporary_folder()))
            return self._made(store, requirement, key, alone=True)
        except OSError as error:
            raise no_room(error) from error

    def _made(self, store: DiskStore, requirement: Requirement, key: str, alone: bool) -> Path:
        work = store.root.absolute() / "tmp" / f"{_PREFIX}{key}-{secrets.token_hex(8)}"
        sweep(work.parent, _PREFIX, key if alone else None)
        self._progress(_shown(requirement), 0, None)
        try:
            work.mkdir(parents=True)
            packages = _install(work, requirement)
            described = {"schema": _SCHEMA, "requirement": requirement.stated, **_machine(), "packages": packages}
            (work / RECORD).write_bytes(pretty(described))
            size = sum(path.lstat().st_size for path in work.rglob("*"))
            move(work, _place(store, key), lambda: _whole(store, key) is not None)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        self._progress(_shown(requirement), size, size)
        return _place(store, key) / RECORD


@contextmanager
def open_environments(
    cache: Path | None, warn: Callable[[str], None], progress: Callable[[str, int, int | None], None], *, makes: bool
) -> Iterator[Environments]:
    """Open the environments of a build cache; None, or one that cannot be written: until the end of the block.

    Args:
        cache: The folder of the build cache, as `open_store` takes it.
        warn: Told that the cache cannot be used.
        progress: Told what is being installed, as something that is fetched.
        makes: Whether what is missing may be made.
    """
    with ExitStack() as stack:
        yield Environments(DiskStore(cache) if cache else None, stack, warn, progress, makes=makes)


@contextmanager
def prepared(
    stated: tuple[str, ...],
    cache: Path | None,
    warn: Callable[[str], None],
    progress: Callable[[str, int, int | None], None],
    *,
    makes: bool,
) -> Iterator[Callable[[], tuple[Path, ...]]]:
    """Yield a function that returns the record of each environment that a recipe states; see `open_environments`."""
    with open_environments(cache, warn, progress, makes=makes) as environments:
        yield lambda: tuple(environments.record(requirement) for requirement in parse_all(stated))


def _machine() -> dict[str, str]:
    """Return what decides which wheels fit."""
    python = f"{sys.implementation.name} {sys.version_info.major}.{sys.version_info.minor}"
    return {"python": python, "platform": sysconfig.get_platform()}


def _key(requirement: Requirement) -> str:
    return Digest.of_bytes(canonical([_SCHEMA, requirement.to_install, _machine()])).sha256


def _place(store: DiskStore, key: str) -> Path:
    return store.root.absolute() / _FOLDER / key


def _shown(requirement: Requirement) -> str:
    return f"{requirement.stated} with pip"


def _whole(store: DiskStore, key: str) -> Path | None:
    """Return the record of an environment that is there and whose Python still is."""
    record = _place(store, key) / RECORD
    try:
        value: Any = json.loads(read_regular(record))
        return record if value["schema"] == _SCHEMA and python_of(record).exists() else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _install(folder: Path, requirement: Requirement) -> dict[str, str]:
    """Make a virtual environment with what is required and return package -> version of all that is in it.

    The pip of the running Python installs, so that all of the user's configuration holds; an environment's own has none.

    Raises:
        SourceError: It cannot be installed, or does not run on this machine.
        OSError: The disk is full.
    """
    import venv

    has_pip = importlib.util.find_spec("pip") is not None
    try:
        venv.EnvBuilder(symlinks=True, with_pip=not has_pip).create(folder)
    except subprocess.CalledProcessError as error:
        raise _refused(requirement, "this Python has no pip", "install pip into the environment of mlkit-build") from error
    python, site = folder / "bin" / "python", Path(sysconfig.get_path("purelib", "venv", vars={"base": str(folder)}))
    command = [sys.executable, "-P"] if has_pip else [str(python), "-I"]
    said = _run([*command, "-c", _PIP, "install", "--target", str(site), *_OPTIONS, *requirement.to_install])
    if said is not None:
        if full := _FULL_DISK.search(said):  # of the cache, or of the temporary folder that pip unpacks in
            raise OSError(int(full[1]), os.strerror(int(full[1])))
        raise _refused(requirement, f"pip says: {_reason(said)}", _what_to_do(requirement, said))
    module = PACKAGES[requirement.package].interpreter.partition(":")[0]
    said = _run([str(python), "-IB", "-c", f"import importlib; importlib.import_module({module!r})"])
    if said is not None:
        raise _refused(requirement, f"its import fails: {(said.splitlines() or [''])[-1]}", "choose another version of it")
    found = importlib.metadata.distributions(path=[str(site)])
    return dict(sorted((str(each.metadata["Name"]).lower().replace("_", "-"), each.version) for each in found))


def _run(command: Sequence[str]) -> str | None:
    """Run a command that asks nothing; return what it said on stderr if it failed, else None. What it unpacks goes afterwards."""
    settings = {"PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0"}  # they are about the running Python, which is left alone
    with temporary_folder() as folder:
        environment = {**os.environ, **settings, "TMPDIR": str(folder)}
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace"
        )
    return None if done.returncode == 0 else done.stderr.strip()


def _refused(requirement: Requirement, why: str, hint: str) -> SourceError:
    python = platform.python_version_tuple()
    asked = " ".join(requirement.to_install)
    where = f"for Python {python[0]}.{python[1]} on {sysconfig.get_platform()}"
    return SourceError(f"{FIELD}: {requirement}: `pip install {asked}` failed {where}; {why}", hint)


def _reason(said: str) -> str:
    """Return pip's own reason in one line."""
    broken = _BROKEN_CONNECTION.search(said)
    if broken:
        return f"no connection to the registry: {broken[1].rpartition(': ')[2].partition(' (')[0].strip(_CLOSING)}"
    errors = [line.partition("ERROR:")[2].strip() for line in said.splitlines() if line.startswith("ERROR:")]
    lines = [line for line in errors or said.splitlines() if line.strip()]
    return lines[0][:300] if lines else "nothing"


def _what_to_do(requirement: Requirement, said: str) -> str:
    package = PACKAGES[requirement.package]
    if _BROKEN_CONNECTION.search(said):
        return "it is installed once, and kept; pip takes the registry that its environment variables and pip.conf name"
    wheels = f"; {requirement.package} has wheels for Python {package.pythons}" if package.pythons else ""
    return f"state a version that the registry has for this Python{wheels}, or leave {requirement.stated} out of {FIELD}"
