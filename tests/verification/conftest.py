"""A real bundle, built once, and copies of it to spoil."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlkit_build.engine.pool import Pool
from mlkit_build.plain import pretty
from mlkit_build.verification import Verified, verify
from mlkit_build.verification.places import open_place
from tests.conftest import built_once

Edit = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory, pool: Pool) -> Path:
    """The bundle of `recipe=multiply`. Never write to it: use `bundle`."""
    return built_once(tmp_path_factory.mktemp("published"), pool, "recipe=multiply") / "dist/multiply/float32"


@pytest.fixture
def bundle(published: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(published, tmp_path / "bundle")


def verified(place: Path | str) -> Verified:
    """Verify a place as the verb does."""
    with open_place(str(place)) as opened:
        return verify(opened)


def wrong(place: Path | str) -> dict[str, str]:
    """Return file -> what is wrong with it."""
    return {item.file: item.found for item in verified(place).wrong}


def sealed(bundle: Path) -> None:
    """Make provenance and checksums agree with the files there, as somebody who edits a bundle by hand would."""
    provenance = json.loads((bundle / "provenance.json").read_bytes())
    for subject in provenance["subject"]:
        file = bundle / subject["name"]
        if file.is_file():
            subject["digest"]["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
    (bundle / "provenance.json").write_bytes(pretty(provenance))
    names = sorted(path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file())
    lines = [f"{hashlib.sha256((bundle / name).read_bytes()).hexdigest()}  {name}\n" for name in names if name != "SHA256SUMS"]
    (bundle / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")


def edited(bundle: Path, edit: Edit) -> None:
    """Edit the manifest of a bundle, and seal it again."""
    manifest = json.loads((bundle / "manifest.json").read_bytes())
    edit(manifest)
    (bundle / "manifest.json").write_bytes(pretty(manifest))
    sealed(bundle)
