"""What fits the schema is not called wrong, and what does not is found where it stands."""

from __future__ import annotations

from typing import Any

import pytest
from omegaconf import OmegaConf

from mlkit_build.config.mismatch import mismatch, nested
from mlkit_build.config.roots import builtin


@pytest.mark.parametrize("name", ["add_one", "digits_lstm", "flags", "mnist", "multiply"])
def test_the_built_in_recipes_fit(name: str) -> None:
    plain: Any = OmegaConf.to_container(OmegaConf.load(builtin("recipes") / name / "recipe.yaml"))
    plain.pop("defaults", None)
    assert mismatch(plain, {}) is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("jobs", "3"), ("jobs", None), ("version", 1.5), ("cache.enabled", "no"), ("quantization.percentile", "99"),
        ("source.path", "???"), ("quantization.rules", "${other}"), ("signature.constants.x", [1, {"a": None}]),
        ("adapters", ["softmax", {"resize": {}}]), ("quantization.rules.0.mode", "int8"), ("source.tags", ["serve"]),
    ],
)  # fmt: skip
def test_what_omegaconf_takes_fits(key: str, value: Any) -> None:
    assert mismatch(nested(key.split("."), value), {}) is None


@pytest.mark.parametrize(
    ("key", "value", "place", "problem"),
    [
        ("source", {"kind": "saved_model", "graph": "x"}, "source.graph", "unknown field; known: kind, path, sha256"),
        ("quantization.rules.1.mode", None, "quantization.rules[1].mode", "expected a text, found null"),
        ("validation.gates", {3: {}}, "validation.gates.3", "expected a text as the name, found 3"),
        ("nothing.at.all", 1, "nothing", "unknown field; known: output_dir, "),
    ],
)
def test_a_mismatch_is_found_where_it_stands(key: str, value: Any, place: str, problem: str) -> None:
    found = mismatch(nested(key.split("."), value), {"source": "keras"})
    assert found is not None
    assert found.key == place
    assert found.problem.startswith(problem)


def test_a_long_value_is_told_in_short() -> None:
    found = mismatch({"jobs": list(range(1000))}, {})
    assert found is not None
    assert len(found.problem) < 150
