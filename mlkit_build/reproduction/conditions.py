"""The conditions that a build is repeated under: what differs between two machines, and may not show in the bytes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

from mlkit_build.records import dataclass
from mlkit_build.reproduction.held import code

OTHERWISE = Path(__file__).with_name("otherwise")
VARIED = (
    "working folder", "TMPDIR", "HOME", "PATH", "TZ", "locale", "umask", "hash seed", "user name", "host name", "network card",
    "number of threads", "order of files", "time",
)  # fmt: skip
TIDY_S = 20.0
"""Seconds that a build is given to end when it is told to: it only kills its processes and removes its folders."""


@dataclass(frozen=True)
class Conditions:
    """How a build is run.

    Attributes:
        name: A folder of that name keeps what it made.
        folder: Where it is kept, and everything else that the build writes.
        environment: Variables that are set besides those that are.
        umask: Of the build; None leaves it.
        cores: How many of this process's cores it may use; None leaves it.
        overrides: What the command line says besides.
    """

    name: str
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    umask: int | None = None
    cores: int | None = None
    overrides: tuple[str, ...] = ()

    @property
    def cache(self) -> Path:
        """The build cache, which begins empty."""
        return self.folder / "cache"

    @property
    def output(self) -> Path:
        """The folder for bundles."""
        return self.folder / "dist"

    @property
    def stated(self) -> tuple[str, ...]:
        """The overrides that bring a build here, and keep it to itself: nobody signs what is compared and thrown away."""
        places = (f"cache.dir='{self.cache}'", "cache.enabled=true", f"output_dir='{self.output}'")
        unsigned = ("key=null", "password_file=null", "certificate=null", "sigstore=false", "identity_token=null")
        quiet = ("junit=null", "github_summary=null", *(f"package.sign.{field}" for field in unsigned))
        return (*places, *quiet, *self.overrides)

    def run(self, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run mlkit-build with the arguments; return how it ended, with what it said."""
        working = self.folder / "working folder"
        for folder in (working, *(Path(self.environment[name]) for name in ("HOME", "TMPDIR") if name in self.environment)):
            folder.mkdir(parents=True, exist_ok=True)

        def prepare() -> None:
            if self.umask is not None:
                os.umask(self.umask)
            if self.cores is not None and hasattr(os, "sched_setaffinity"):
                os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: self.cores])

        return _run_held(
            [sys.executable, "-P", "-c", code(), *arguments, *self.stated],
            cwd=working,
            env={**os.environ, **self.environment},
            text=True,
            errors="replace",
            preexec_fn=prepare,
        )


def _run_held(command: Sequence[str], **settings: Any) -> subprocess.CompletedProcess[str]:
    """Run a build that ends with this process; where this process is interrupted, it is waited for.

    It has a session of its own: Ctrl-C in a terminal would interrupt it, and then interrupt it again while it tidies up.
    """
    line, held = os.pipe()
    with open(held, "wb", buffering=0) as end:  # noqa: PTH123 - a descriptor
        try:
            process: subprocess.Popen[str] = subprocess.Popen(
                command, stdin=line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, **settings
            )
        finally:
            os.close(line)
        with process:
            try:
                out, err = process.communicate()
            except BaseException:
                end.close()
                try:
                    process.communicate(timeout=TIDY_S)
                except BaseException:  # interrupted again, or it hangs; its own children end when it is dead
                    process.kill()
                    process.wait()
                raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def as_is(folder: Path) -> Conditions:
    """Return the conditions that this process has."""
    return Conditions("as-is", folder / "as-is")


def otherwise(folder: Path) -> Conditions:
    """Return conditions in which everything of `VARIED` is another. See `otherwise/sitecustomize.py` for half of them."""
    place = folder / "otherwise"
    python_path = os.pathsep.join(filter(None, (str(OTHERWISE), os.environ.get("PYTHONPATH", ""))))
    user, threads = _another("USER", "somebody", "anybody"), "1" if (os.cpu_count() or 1) > 1 else "2"
    variables = {
        "HOME": str(place / "home"),
        "PATH": os.pathsep.join((str(place / "home" / "bin"), os.environ.get("PATH", os.defpath))),
        "TMPDIR": str(place / "ä temporary folder"),
        "TZ": _another("TZ", "Pacific/Kiritimati", "America/St_Johns"),
        "LC_ALL": _another("LC_ALL", "C", "C.UTF-8"),
        "LANG": _another("LANG", "C", "C.UTF-8"),
        "PYTHONUTF8": "1",
        "PYTHONHASHSEED": _another("PYTHONHASHSEED", "20181", "20182"),
        "USER": user,
        "LOGNAME": user,
        "OMP_NUM_THREADS": threads,
        "TF_NUM_INTRAOP_THREADS": threads,
        "COLUMNS": _another("COLUMNS", "40", "60"),
        "PYTHONPATH": python_path,
    }
    return Conditions("otherwise", place, variables, umask=_another_umask(), cores=1, overrides=("jobs=1",))


def _another(variable: str, one: str, other: str) -> str:
    return other if os.environ.get(variable) == one else one


def _another_umask() -> int:
    own = os.umask(0o077)  # it can only be read by setting it
    os.umask(own)
    return 0o027 if own == 0o077 else 0o077
