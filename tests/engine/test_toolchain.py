"""The key names every tool that an action's process imports and that can decide bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mlkit_build.engine.toolchain import ABSENT, KERAS_LOADERS, NO_PACKAGES, purl, toolchain, toolchain_beside, whole_toolchain

ROOT = Path(__file__).parents[2]
HARMLESS = {
    "absl-py": "logging and flags",
    "astunparse": "how AutoGraph prints code",
    "backports-strenum": "a class of names",
    "certifi": "certificates",
    "charset-normalizer": "of requests",
    "cloudpickle": "of joblib",
    "gast": "the tree of AutoGraph: code that it cannot read is refused",
    "google-pasta": "of TensorFlow's upgrade script",
    "grpcio": "the network",
    "idna": "of requests",
    "immutabledict": "a mapping that does not change",
    "joblib": "threads of scikit-learn",
    "libclang": "of no use at run time",
    "namex": "names of Keras's modules",
    "opt-einsum": "the order of einsum, which TensorFlow asks for under keras.ops alone",
    "optree": "walks trees, in one order",
    "packaging": "compares versions",
    "requests": "the network",
    "rich": "the terminal",
    "markdown-it-py": "of rich",
    "pygments": "of rich",
    "setuptools": "of no use at run time",
    "six": "of Python 2",
    "termcolor": "the terminal",
    "tqdm": "the terminal",
    "typing-extensions": "types",
    "urllib3": "the network",
    "wrapt": "decorators",
}
"""What the processes import besides, and why another version of it makes no other bytes."""
IMPORTED = {
    "litert": ("ai_edge_litert.interpreter", "mlkit_build.tflite.model", "mlkit_build.mlkit.metadata"),
    "quantizer": ("ai_edge_quantizer.quantizer", "mlkit_build.quantization.modes", "mlkit_build.stages.quantize"),
    "jinja2": ("mlkit_build.report.page", "mlkit_build.formats.rendering", "jinja2"),
    "tensorflow": ("tensorflow", "keras", "mlkit_build.tflite.model", "h5py", "tf_keras"),
}
_LOADED = """
import importlib, json, sys
from importlib.metadata import packages_distributions
for name in sys.argv[1:]:
    importlib.import_module(name)
known = packages_distributions()
print(json.dumps(sorted({found for name in sys.modules if "." not in name for found in known.get(name, ())})))
"""


def runtime_dependencies() -> set[str]:
    """Return what an installation of mlkit-build brings, with its optional parts; tests bring more, which libraries may try."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return {line.partition("==")[0] for line in lines if line and not line.startswith("#")}


@pytest.mark.parametrize("runtime", sorted(IMPORTED))
def test_every_package_that_the_process_of_a_runtime_imports_is_in_its_key_or_known_to_be_harmless(runtime: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LOADED, *IMPORTED[runtime]],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    loaded = {canonicalize_name(name) for name in json.loads(done.stdout.splitlines()[-1])} & runtime_dependencies()
    assert len(loaded) > 1
    optional = (*KERAS_LOADERS, "pillow", "scipy") if runtime == "tensorflow" else ()  # Keras tries the last two, for images
    assert sorted(loaded - set(toolchain(runtime, optional)) - HARMLESS.keys()) == []


def test_the_toolchain_beside_a_manifest_has_the_tools_that_it_names() -> None:
    """A build of a Keras source names h5py, others do not: compared with those of the other kind, it would be gone."""
    assert "h5py" not in toolchain_beside(["tensorflow"])
    assert toolchain_beside(["tensorflow", "h5py"])["h5py"] == whole_toolchain(["h5py"])["h5py"]
    assert toolchain_beside(["no-such-package"])["no-such-package"] == ABSENT


def test_the_whole_toolchain_is_that_of_all_runtimes_with_the_packages_of_the_build() -> None:
    whole = whole_toolchain(("h5py", "pillow"))
    for runtime in ("tensorflow", "litert", "quantizer", "jinja2", "python"):
        assert toolchain(runtime, ("h5py", "pillow")).items() <= whole.items()
    assert list(whole) == sorted(whole)
    assert whole["h5py"] == version("h5py")
    assert "h5py" not in whole_toolchain()


def test_what_is_not_installed_is_absent() -> None:
    assert toolchain("python", ("no-such-package-of-ours",))["no-such-package-of-ours"] == ABSENT


def test_every_tool_has_bounds_of_its_versions_and_what_is_installed_lies_within() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    stated = [Requirement(line) for line in (*project["dependencies"], *project["optional-dependencies"]["keras2"])]
    bounds = {canonicalize_name(requirement.name): requirement.specifier for requirement in stated}
    for name in set(whole_toolchain(KERAS_LOADERS)) - set(NO_PACKAGES):
        operators = {part.operator for part in bounds[name]}
        assert {">=", "<"} <= operators, f"{name}: expected a lower and an upper bound, found {bounds[name]}"
        assert bounds[name].contains(version(name)), name


@pytest.mark.parametrize(
    ("name", "number", "expected"),
    [
        ("tensorflow", "2.21.0", "pkg:pypi/tensorflow@2.21.0"),
        ("numpy", "2.4.6+local.1", "pkg:pypi/numpy@2.4.6%2Blocal.1"),
        ("python", "3.11", "pkg:generic/python@3.11"),
    ],
)
def test_a_tool_has_a_package_url(name: str, number: str, expected: str) -> None:
    assert purl(name, number) == expected


@pytest.mark.parametrize("name", ["", "../x", "a b", "/etc", "numpy/../numpy", "-", "x\x1b[31m"])
def test_what_is_no_name_of_a_package_is_absent(name: str) -> None:
    assert toolchain_beside([name])[name] == ABSENT
