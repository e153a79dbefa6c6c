"""`constraints.txt` states one version of everything that a build needs, and the released results were made with these."""

from __future__ import annotations

import tomllib
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mlkit_build.engine.toolchain import KERAS_LOADERS, NO_PACKAGES, installed_name, whole_toolchain

ROOT = Path(__file__).parents[1]
FOUNDATIONS = ("pip", "setuptools", "wheel")
"""What a virtual environment brings, and what TensorFlow demands of old and never uses at run time."""


@pytest.fixture(scope="module")
def pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    stated = [Requirement(line) for line in lines if line and not line.startswith("#")]
    assert all([part.operator for part in requirement.specifier] == ["=="] for requirement in stated)
    assert [requirement.name for requirement in stated] == sorted({canonicalize_name(one.name) for one in stated})
    return {requirement.name: next(iter(requirement.specifier)).version for requirement in stated}


def test_every_package_of_the_toolchain_is_pinned(pinned: dict[str, str]) -> None:
    assert set(whole_toolchain(KERAS_LOADERS)) - set(NO_PACKAGES) <= pinned.keys()


def test_every_package_that_an_installation_brings_is_pinned(pinned: dict[str, str]) -> None:
    assert needed("mlkit-build", "keras2", "joblib") - {*FOUNDATIONS, "mlkit-build"} <= pinned.keys()


def test_what_is_pinned_may_be_installed(pinned: dict[str, str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for stated in (*project["dependencies"], *project["optional-dependencies"]["keras2"]):
        requirement = Requirement(stated)
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), stated


def test_what_is_installed_is_what_is_pinned_or_the_difference_is_told(pinned: dict[str, str]) -> None:
    names = set(whole_toolchain(KERAS_LOADERS)) - set(NO_PACKAGES)
    found = {name: version(installed_name(name)) for name in sorted(names)}
    others = [f"{name} {found[name]} in place of {pinned[name]}" for name in found if found[name] != pinned[name]]
    if others:
        pytest.skip(f"these tests ran with {', '.join(others)}, as its bounds allow; the pins stand for the last release")


def needed(name: str, *extras: str) -> set[str]:
    """Return what installing a package here installs, and itself."""
    found: set[str] = set()
    pending = [(canonicalize_name(name), extras)]
    while pending:
        package, wanted = pending.pop()
        if package in found:
            continue
        try:
            stated = requires(package) or []
        except PackageNotFoundError:
            continue  # of another system
        found.add(package)
        for requirement in map(Requirement, stated):
            if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in ("", *wanted)):
                pending.append((canonicalize_name(requirement.name), tuple(requirement.extras)))
    return found
