"""The tools whose versions decide bytes, by runtime. Read from package metadata: nothing is imported."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from mlkit_build import __version__
from mlkit_build.engine.processor import processor

ABSENT = "absent"
NO_PACKAGES = ("cpu", "machine", "mlkit-build", "python")
"""Tools that no package on the registry stands for."""

_NAME = re.compile(r"[A-Z0-9]|[A-Z0-9][A-Z0-9._-]*[A-Z0-9]", re.ASCII | re.IGNORECASE)
"""What a package may be called (https://packaging.python.org/en/latest/specifications/name-normalization/)."""
_OTHER_NAMES: Mapping[str, tuple[str, ...]] = {"tensorflow": ("tensorflow-cpu", "tensorflow-macos")}
_PACKAGES: Mapping[str, tuple[str, ...]] = {
    # protobuf reads and writes graphs, flatbuffers models; ml-dtypes does the arithmetic of constants that NumPy has no type for
    "tensorflow": ("tensorflow", "keras", "ai-edge-litert", "flatbuffers", "ml-dtypes", "numpy", "protobuf"),
    "litert": ("ai-edge-litert", "flatbuffers", "numpy"),
    "quantizer": ("ai-edge-litert", "ai-edge-quantizer", "flatbuffers", "ml-dtypes", "numpy", "scipy"),
    "jinja2": ("jinja2", "markupsafe"),
    "python": (),
}
"""What inflates (isal, zlib) and what fetches is not among them: its result is right, or it is refused."""

DECODERS = ("pillow",)
"""What decodes samples, for the actions that read such."""

TEMPLATES = _PACKAGES["jinja2"]
"""What fills templates, for the actions that do that besides."""

PROCESSOR = ("cpu",)
"""What sums floats, for the actions that take samples through a model: no package, but in their keys like one."""

KERAS_LOADERS = ("h5py", "tf-keras")
"""What reads Keras files, for the actions that open such: a Keras 2 file needs the extra `keras2`."""


@cache
def toolchain(runtime: str, packages: tuple[str, ...] = ()) -> dict[str, str]:
    """Return tool -> version for an action that runs with `runtime` and `packages`; `absent` where one is not installed.

    A package under another name counts as the first.
    """
    tools = {"python": ".".join(platform.python_version_tuple()[:2]), "machine": platform.machine()}
    for name in (*_PACKAGES[runtime], *packages):
        tools[name] = next((found for known in _names(name) if (found := _version(known))), ABSENT)
    return tools


def whole_toolchain(packages: Iterable[str] = ()) -> dict[str, str]:
    """Return every tool that can decide bytes, with mlkit-build itself and the `packages` of the build's actions."""
    merged: dict[str, str] = {"mlkit-build": __version__}
    for runtime in _PACKAGES:
        merged |= toolchain(runtime, (*DECODERS, *sorted(set(packages) - {*DECODERS})))
    return dict(sorted(merged.items()))


def toolchain_beside(stated: Iterable[str]) -> dict[str, str]:
    """Return the versions here of the tools that a manifest or a lock names, and of every other that can decide bytes."""
    known = whole_toolchain()
    return whole_toolchain(name for name in stated if name not in known)


def purl(name: str, version: str) -> str:
    """Return the package URL of a tool of the toolchain (https://github.com/package-url/purl-spec)."""
    if name in NO_PACKAGES:
        return f"pkg:generic/{name}@{_escaped(version)}"
    return f"pkg:pypi/{name}@{_escaped(version)}"


def installed_name(name: str) -> str:
    """Return under which of its names a package is installed."""
    return next((known for known in _names(name) if _version(known)), name)


def _names(name: str) -> tuple[str, ...]:
    return (name, *_OTHER_NAMES.get(name, ()))


def _escaped(text: str) -> str:
    """Return a version as a package URL has it: the `+` of a local version is escaped."""
    return text.replace("%", "%25").replace("+", "%2B")


@cache
def _version(package: str) -> str | None:
    if package in PROCESSOR:
        return processor()
    if not _NAME.fullmatch(package):  # a manifest or a lock may name anything, and metadata are looked for in folders
        return None
    try:
        return version(package)
    except PackageNotFoundError:
        return None
