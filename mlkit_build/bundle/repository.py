"""The git repository that a recipe is kept in: which commit of it a bundle is made of, and whether that says all.

Git is only asked: it writes no index, runs no monitor of files, and is told nothing by a hook that this process may run in.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from urllib.parse import quote, urlsplit

from mlkit_build.fetch.urls import is_url, protocol, shown
from mlkit_build.records import dataclass
from mlkit_build.store import Tree

_WITHOUT_SCHEME = re.compile(r"(?:(?P<user>[^@/]+)@)?(?P<host>[^@/:]+):(?!//)(?P<path>.+)", re.DOTALL)
"""How git names a repository for ssh: `git@example.org:a/b.git`. A single letter before the colon is a drive."""
_HELPER = re.compile(r"[\w.+-]+::")
"""Begins what only a program of the user's understands, with its arguments (https://git-scm.com/docs/gitremote-helpers)."""
_OF_A_URI = "%/:?#[]@!$&'()*+,;=~"
"""What may stand in a URI besides letters, digits, `-`, `.` and `_` (RFC 3986, 2.2 and 2.3)."""
_SET_BY_GIT = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_DIR",
    "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_NAMESPACE",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_QUARANTINE_PATH",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
)
"""What `git rev-parse --local-env-vars` lists, but for configuration: of the repository whose hook runs, not of the recipe."""
_CONFIGURATION = (".yaml", ".yml")


@dataclass(frozen=True)
class Repository:
    """What a provenance says of a repository.

    Attributes:
        commit: The commit that is checked out, in hex.
        remote: Where it comes from, without secrets: a URI as SPDX and SLSA write it, `git+https://...`; None where it has none.
        dirty: Whether what the build read may be something else than that commit has.
    """

    commit: str
    remote: str | None
    dirty: bool


def repository_of(folder: Path, conf: Iterable[Path] = (), inputs: Iterable[Path | Tree] = ()) -> Repository | None:
    """Return the repository that `folder`, a recipe's, is in, or None outside of one.

    Dirty is a repository with changes to files that it has, which composing may have read; with new files in the recipe's folder
    or in `conf`; and where git was told to overlook a file there that was read: by `.gitignore`, or as assumed to be unchanged.

    Args:
        conf: The folders of configuration in use; those outside of the repository are not its matter.
        inputs: The files that the recipe names.
    """
    commit = _asked(folder, "rev-parse", "--verify", "HEAD")
    if not commit:
        return None
    remote = _asked(folder, "config", "--get", "remote.origin.url")
    return Repository(commit, _uri(remote.rstrip("\n")) if remote else None, _is_dirty(folder, list(conf), list(inputs)))


def _is_dirty(folder: Path, conf: Sequence[Path], inputs: Sequence[Path | Tree]) -> bool:
    if _asked(folder, "status", "--porcelain", "--untracked-files=no") != "":
        return True  # where git does not say, nobody may call it clean
    top = _asked(folder, "rev-parse", "--show-toplevel")
    if top is None:
        return True
    root = Path(top).resolve()
    inside = [place for place in map(Path.resolve, conf) if place.is_relative_to(root)]
    for place in (folder.resolve(), *inside):
        new = _asked(place, "status", "--porcelain", "--untracked-files=normal", "--", ".")
        others = _listed(place, "--others")
        assumed = _listed(place, "-v")
        if new != "" or others is None or assumed is None:
            return True
        read = set(_read_from(place, inputs))
        # a folder in the list is a repository of its own
        if any(name in read or (name.endswith("/") and any(item.startswith(name) for item in read)) for name in others):
            return True
        if place in inside and any(name.endswith(_CONFIGURATION) for name in others):
            return True
        if any(line[:1].islower() for line in assumed):  # `h` for a file that is assumed to be unchanged
            return True
    return False


def _read_from(place: Path, inputs: Sequence[Path | Tree]) -> Iterator[str]:
    """Yield what the build read in a folder, relative to it."""
    for path in (place / "recipe.yaml", *inputs):
        files = [path.root / name for name in path.listed()] if isinstance(path, Tree) else [path]
        for file in files:
            if (found := file.absolute()).is_relative_to(place) or (found := file.resolve()).is_relative_to(place):
                yield found.relative_to(place).as_posix()


def _listed(place: Path, *options: str) -> list[str] | None:
    found = _asked(place, "ls-files", "-z", *options, "--", ".")
    return None if found is None else [name for name in found.split("\0") if name]


def _asked(folder: Path, *arguments: str) -> str | None:
    """Return what git answers, without the end of its last line; None where it is missing, refuses, or hangs."""
    environment = {name: value for name, value in os.environ.items() if name not in _SET_BY_GIT}
    try:
        run = subprocess.run(
            ["git", "-c", "core.fsmonitor=false", "-C", str(folder), *arguments],
            capture_output=True,
            timeout=10,
            check=True,
            env={**environment, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return os.fsdecode(run.stdout).removesuffix("\n")  # names of files are bytes, and a remote may be any


def _uri(remote: str) -> str | None:
    """Return a remote of git as a URI, if it can be one."""
    if _HELPER.match(remote):
        return None
    if is_url(remote):
        cleaned = _of_files(remote) if protocol(remote) == "file" else shown(remote)
        return None if cleaned.endswith("://...") else f"git+{_escaped(cleaned)}"
    found = _WITHOUT_SCHEME.fullmatch(remote)
    if found and len(found["host"]) > 1:
        user = found["user"].partition(":")[0] + "@" if found["user"] else ""
        return f"git+ssh://{_escaped(user + found['host'])}/{_escaped(found['path'].lstrip('/'))}"
    return f"git+{Path(remote).absolute().as_uri()}"


def _of_files(remote: str) -> str:
    """Return a URL of files, which git takes as it is, without who may be before its host."""
    try:
        return urlsplit(remote)._replace(netloc=urlsplit(remote).netloc.rpartition("@")[2]).geturl()
    except ValueError:
        return "file://..."


def _escaped(text: str) -> str:
    return quote(os.fsencode(text), safe=_OF_A_URI)
