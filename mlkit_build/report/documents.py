"""Verdicts for machines: where they are asked for, and files that appear whole, also when a build fails."""

from __future__ import annotations

import errno
import os
import stat
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlkit_build.errors import ConfigError, StoreError
from mlkit_build.printable import in_utf8
from mlkit_build.recipe import Settings
from mlkit_build.records import dataclass

if TYPE_CHECKING:
    from mlkit_build.job import JobReport

STEP_SUMMARY = "GITHUB_STEP_SUMMARY"
_LINKS = 40
"""How many links Linux follows."""


@dataclass(frozen=True)
class Documents:
    """Which files are asked for.

    Attributes:
        junit: For JUnit XML.
        github_summary: For Markdown.
        appends: Whether the Markdown comes after what the file holds: a workflow's step has one summary.
    """

    junit: Path | None = None
    github_summary: Path | None = None
    appends: bool = False

    @classmethod
    def of(cls, settings: Settings) -> Documents:
        """Return those that the settings name. Raises ConfigError for `auto` outside of GitHub."""
        markdown, appends = settings.github_summary, settings.github_summary == "auto"
        if appends:
            markdown = os.environ.get(STEP_SUMMARY)
            if not markdown:
                raise ConfigError(
                    f"github_summary: auto means the file that ${STEP_SUMMARY} names, and it is not set",
                    "it is set in a step of a GitHub workflow; elsewhere name a file: github_summary=summary.md",
                )
        return cls(_path(settings.junit), _path(markdown), appends)

    @classmethod
    def stated(cls, overrides: Sequence[str], *, strict: bool = False) -> Documents:
        """Return those that a command line names: of a sweep, or where the configuration could not be read as a whole.

        Args:
            strict: Raise ConfigError for `auto` outside of GitHub, instead of doing without.
        """
        said = dict(item.lstrip("+").partition("=")[::2] for item in overrides)
        try:
            return cls.of(Settings(junit=said.get("junit") or None, github_summary=said.get("github_summary") or None))
        except ConfigError:
            if strict:
                raise
            return cls(_path(said.get("junit")))

    def write(self, reports: Sequence[JobReport]) -> None:
        """Write them. Raises StoreError where a file cannot be written."""
        if self.junit is not None:
            from mlkit_build.report.junit import junit

            replace_file("junit", self.junit, junit(reports))
        if self.github_summary is not None:
            from mlkit_build.report.github import github_summary

            text = in_utf8(github_summary(reports)).encode("utf-8")
            replace_file("github_summary", self.github_summary, text, after=self.appends)


def _path(stated: str | None) -> Path | None:
    return Path(stated).expanduser() if stated and stated != "null" else None


def replace_file(field: str, path: Path, data: bytes, after: bool = False) -> None:
    """Write a file whole or not at all, after what it holds where `after` says so.

    A link stays, and what it leads to is replaced; a pipe, a device or `/dev/stdout` is written to.

    Raises:
        StoreError: It cannot be written, or is a folder; names the field.
    """
    try:
        if _is_written_to(path):
            _write_to(path, data)
            return
        place = Path(os.path.realpath(path))
        if place.is_dir():
            raise StoreError(f"{field}: expected a file, found the folder {path}", "name a file in it")
        place.parent.mkdir(parents=True, exist_ok=True)
        before = place.read_bytes() if after and place.exists() else b""
        handle, name = tempfile.mkstemp(prefix=f".{place.name}.", dir=place.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(before + data)
            os.chmod(name, 0o666 & ~_umask())  # noqa: PTH101 - mkstemp's files are for the owner alone
            os.replace(name, place)  # noqa: PTH105 - a name, as mkstemp gives it
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        unread = error.errno == errno.ENXIO
        raise StoreError(
            f"{field}: {path} cannot be written: {'nobody reads that pipe' if unread else error.strerror or error}",
            "start its reader first" if unread else "name a file in a folder of yours",
        ) from error


def _is_written_to(path: Path) -> bool:
    """Return whether there is something that is no file and no folder, or an open file of this process."""
    if _descriptor(path) is not None:
        return True
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _write_to(path: Path, data: bytes) -> None:
    opened = _descriptor(path)
    if opened is None:
        descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)  # a pipe that nobody reads is not waited for
        os.set_blocking(descriptor, True)
    else:
        sys.stdout.flush()
        descriptor = os.dup(opened)  # opened once more, a file that stdout leads to would be written over from its beginning
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


def _descriptor(path: Path) -> int | None:
    """Return the open file of this process that a path such as `/dev/stdout` or a shell's `>(...)` stands for, if it does."""
    for _ in range(_LINKS):
        folder = os.path.realpath(path.parent)
        if path.name.isdecimal() and folder in ("/dev/fd", f"/proc/{os.getpid()}/fd"):
            return int(path.name)
        if not path.is_symlink():
            return None
        path = path.parent / path.readlink()
    return None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
