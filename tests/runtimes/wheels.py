"""Wheels made on the spot, for pip without a registry: tiny packages that are called as interpreters are."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest


def wheel(folder: Path, name: str, version: str, module: str, code: str = "") -> None:
    """Write a wheel of one module."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    files = {
        module: code,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
        record = "".join(f"{path},,\n" for path in (*files, f"{info}/RECORD"))
        archive.writestr(f"{info}/RECORD", record)


def interpreter(folder: Path, version: str, code: str = "Interpreter = None\n") -> None:
    """Write a wheel of `tflite_runtime`, and one of a NumPy that it takes."""
    wheel(folder, "tflite_runtime", version, "tflite_runtime/interpreter.py", code)
    wheel(folder, "numpy", "1.99", "numpy/__init__.py")


def only_from(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pip see the wheels of a folder and nothing else."""
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder), "PIP_CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(name, value)
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
