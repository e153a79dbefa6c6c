from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from mlkit_build.reproduction.conditions import Conditions, as_is, otherwise

PROBE = """
import glob, os, pathlib, sys, time
where = sys.argv[1]
with os.scandir(where) as entries:
    scanned = [entry.name for entry in entries]
print(os.listdir(where), scanned, [path.name for path in pathlib.Path(where).iterdir()], sep="|")
"""


def listed(where: Path, conditions: Conditions) -> list[list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, str(where)],
        env={**os.environ, **conditions.environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return [eval(part) for part in done.stdout.strip().split("|")]


def test_folders_list_their_files_in_the_opposite_order(tmp_path: Path) -> None:
    where = tmp_path / "files"
    where.mkdir()
    for name in ("one", "two", "three", "four"):
        (where / name).touch()
    plain, reversed_ = (listed(where, conditions) for conditions in (as_is(tmp_path), otherwise(tmp_path)))
    assert [names[::-1] for names in plain] == reversed_
    assert set(plain[0]) == {"one", "two", "three", "four"}


def test_everything_that_is_said_to_vary_does(tmp_path: Path) -> None:
    plain, other = as_is(tmp_path), otherwise(tmp_path)
    assert not plain.environment
    assert plain.umask is None
    assert {"TMPDIR", "HOME", "TZ", "LC_ALL", "PYTHONHASHSEED", "USER", "OMP_NUM_THREADS"} <= other.environment.keys()
    assert all(os.environ.get(name) != value for name, value in other.environment.items() if name not in ("LC_ALL", "LANG"))
    assert other.umask == 0o077
    assert plain.cache != other.cache
