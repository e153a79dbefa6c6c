"""The tools whose versions decide bytes, by runtime. Read from package metadata: nothing is imported."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version

_PACKAGES: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "tensorflow": (("tensorflow", "tensorflow-cpu", "tensorflow-macos"), ("keras",), ("ai-edge-litert",), ("numpy",)),
    "litert": (("ai-edge-litert",), ("numpy",)),
    "quantizer": (("ai-edge-litert",), ("ai-edge-quantizer",), ("numpy",)),
    "jinja2": (("jinja2",),),
    "python": (),
}


DECODERS = ("pillow",)
"""What decodes samples, for the actions that read such."""


@cache
def toolchain(runtime: str, packages: tuple[str, ...] = ()) -> dict[str, str]:
    """Return tool -> version for an action that runs with `runtime` and `packages`.

    A package under another name counts as the first.
    """
    tools = {"python": ".".join(platform.python_version_tuple()[:2]), "machine": platform.machine()}
    for names in (*_PACKAGES[runtime], *((package,) for package in packages)):
        tools[names[0]] = next((found for name in names if (found := _version(name))), "absent")
    return tools


def whole_toolchain() -> dict[str, str]:
    """Return every tool that can decide bytes, with mlkit-build itself."""
    from mlkit_build import __version__

    merged: dict[str, str] = {"mlkit-build": __version__}
    for runtime in _PACKAGES:
        merged |= toolchain(runtime, DECODERS)
    return dict(sorted(merged.items()))


@cache
def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
