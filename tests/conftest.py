"""Fixtures that every test shares: one set of fork servers per worker, and a workspace to build in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from omegaconf import OmegaConf

from mlkit_build.config import Roots, compose
from mlkit_build.config.roots import builtin
from mlkit_build.engine.pool import Pool
from mlkit_build.job import Job, JobReport
from mlkit_build.report.screens import Quiet
from mlkit_build.workflow import build

settings.register_profile("unhurried", parent=settings(), deadline=None)  # how long an example takes says how busy the machine is
settings.load_profile("unhurried")

SHARED_MODELS = Path(os.environ.get("MLKIT_BUILD_TEST_MODELS", Path(__file__).parents[2] / "shared" / "models"))


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name bytes by their length: compressed ones may hold the time, and every worker must collect tests of the same names."""
    return f"{argname}-{len(val)}-bytes" if isinstance(val, bytes) else None


@dataclass
class Workspace:
    """A folder of its own, with its own cache, to keep recipes in and build them.

    Attributes:
        folder: The current folder of every build; its `recipes/` come first.
        cache: The build cache.
    """

    folder: Path
    cache: Path
    pool: Pool

    def copy(self, name: str, to: str | None = None) -> Path:
        """Copy the built-in recipe `name` here, so that a test may change it; return its folder."""
        target = self.folder / "recipes" / (to or name)
        shutil.copytree(builtin("recipes") / name, target)
        return target

    def edit(self, name: str, changes: Mapping[str, Any]) -> None:
        """Set dotted keys of a copied recipe; None deletes the key."""
        file = self.folder / "recipes" / name / "recipe.yaml"
        config = OmegaConf.load(file)
        for key, value in changes.items():
            if value is None:
                parent, _, last = key.rpartition(".")
                (OmegaConf.select(config, parent) if parent else config).pop(last, None)
            else:
                OmegaConf.update(config, key, value, merge=False, force_add=True)
        OmegaConf.save(config, file)

    def write(self, name: str, recipe: Mapping[str, Any]) -> Path:
        """Write a recipe from scratch; return its folder."""
        target = self.folder / "recipes" / name
        target.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(OmegaConf.create({"name": name, **recipe}), target / "recipe.yaml")
        return target

    def compose(self, *overrides: str) -> Job:
        """Compose a job as the command line does. Raises ConfigError."""
        return compose(list(overrides), Roots.find())

    def build(self, *overrides: str) -> JobReport:
        """Build in this process, on the worker's fork servers."""
        return build(self.compose(*overrides), self.pool, Quiet(), ["mlkit-build", *overrides])

    def cli(
        self, *arguments: str, env: Mapping[str, str] | None = None, timeout: float = 180
    ) -> subprocess.CompletedProcess[str]:
        """Run the command line as a user does, in a process of its own."""
        command = [sys.executable, "-m", "mlkit_build.cli", *arguments]
        return subprocess.run(
            command, cwd=self.folder, env={**os.environ, **(env or {})}, capture_output=True, text=True, timeout=timeout
        )

    def ran(self, report: JobReport) -> set[str]:
        """Return the names of the actions that were not reused."""
        return {result.action.name for result in report.actions if not result.cached}


@pytest.fixture(scope="session")
def pool() -> Iterator[Pool]:
    """Fork servers that live as long as the worker: TensorFlow is imported once."""
    servers = Pool()
    yield servers
    servers.close()


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: Pool) -> Workspace:
    """An empty workspace with an empty cache."""
    folder, cache = tmp_path / "work", tmp_path / "cache"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MLKIT_BUILD_CACHE", str(cache))
    monkeypatch.delenv("MLKIT_BUILD_PATH", raising=False)
    return Workspace(folder, cache, pool)


def built_once(folder: Path, pool: Pool, *overrides: str) -> Path:
    """Build in a folder of its own, for tests that only read it; return the folder, which holds `cache` and `dist`."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        assert build(compose([*overrides, f"cache.dir={folder / 'cache'}"], Roots.find()), pool, Quiet()).exit_code == 0
    finally:
        os.chdir(before)
    return folder


@pytest.fixture(scope="session")
def warm_cache(tmp_path_factory: pytest.TempPathFactory, pool: Pool) -> Path:
    """A cache in which `mnist` and the two smallest recipes were built. Never write to it: use `warm_workspace`."""
    folder = tmp_path_factory.mktemp("warm")
    for name in ("mnist", "add_one", "multiply"):
        built_once(folder, pool, f"recipe={name}")
    return folder / "cache"


@pytest.fixture
def warm_workspace(workspace: Workspace, warm_cache: Path) -> Workspace:
    """A workspace whose cache, a copy of its own, already holds these builds.

    A module in which no test is about a first build says `pytestmark = pytest.mark.usefixtures("warm_workspace")`.
    """
    shutil.copytree(warm_cache, workspace.cache)
    return workspace


@pytest.fixture(scope="session")
def shared_model() -> Callable[[str], Path]:
    """Return a path among the models made by others, or skip the test, saying so, where they are not."""

    def find(relative: str) -> Path:
        path = SHARED_MODELS / relative
        if not SHARED_MODELS.is_dir():
            pytest.skip(f"the folder of models made by others is not here: {SHARED_MODELS} (set MLKIT_BUILD_TEST_MODELS)")
        return path

    return find


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Datasets that TensorFlow Datasets prepared, as `datasets/prepare.py` says, with 300 digits of MNIST. Never write there."""
    pytest.importorskip("tensorflow_datasets", reason="TensorFlow Datasets is not installed: pip install 'mlkit-build[test]'")
    folder = tmp_path_factory.mktemp("prepared")
    with np.load(builtin("recipes") / "mnist" / "data" / "mnist_test.npz") as archive:
        np.savez(folder / "digits.npz", images=archive["images"][:300], labels=archive["labels"][:300])
    command = [sys.executable, str(Path(__file__).parent / "datasets" / "prepare.py"), str(folder), str(folder / "digits.npz")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder
