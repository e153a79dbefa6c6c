"""Names that every tool takes, made of any name that a recipe can have."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlkit_build.recipe import Android, FrozenGraph, Ios, Package, Recipe, check
from mlkit_build.recipe.naming import JAVA_KEYWORDS, android_names, java_package, pack_name, swift_module


@pytest.mark.parametrize(
    ("name", "module", "pack"),
    [
        ("mnist", "MnistModel", "mnist"),
        ("add_one", "AddOneModel", "add_one"),
        ("7-segment", "M7SegmentModel", "m_7_segment"),
        ("a.b-c_d", "ABCDModel", "a_b_c_d"),
        ("class", "ClassModel", "class"),
        ("Cat2Dog", "Cat2DogModel", "Cat2Dog"),
    ],
)
def test_a_recipe_gives_its_name_to_the_swift_module_and_the_pack(name: str, module: str, pack: str) -> None:
    assert swift_module(Recipe(name=name, source=FrozenGraph(path="x"))) == module
    assert pack_name(name) == pack


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("com.example.mnist-int8", "com.example.mnist_int8"),
        ("mlkit.models.int", "mlkit.models.int_"),
        ("org.7-up", "org.m7_up"),
        ("alone", "mlkit.alone"),
        ("x._", "x.m_"),
        ("a..b.", "a.b"),
    ],
)
def test_a_java_package_is_as_near_to_the_text_as_java_allows(text: str, expected: str) -> None:
    assert java_package(text) == expected


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,40}", fullmatch=True), st.sampled_from(["float32", "int8"]))
def test_every_recipe_has_names_that_are_taken(name: str, variant: str) -> None:
    recipe = Recipe(name=name, source=FrozenGraph(path="x"), variant=variant, version="1.0")
    names = android_names(recipe)
    stated = Android(
        group=names.group,
        artifact=names.artifact,
        version=names.version,
        namespace=names.namespace,
        assets=names.assets,
        pack=names.pack,
    )
    check(Recipe(name=name, source=FrozenGraph(path="x"), package=Package(android=stated, ios=Ios(module=swift_module(recipe)))))
    assert all(re.fullmatch(r"[A-Za-z]\w*", part, re.ASCII) and part not in JAVA_KEYWORDS for part in names.namespace.split("."))


def test_what_a_recipe_states_is_what_is_taken() -> None:
    stated = Android(group="com.x", artifact="y", version="9", namespace="com.x.z", assets="deep/er", pack="p")
    recipe = Recipe(name="mnist", source=FrozenGraph(path="x"), package=Package(android=stated, ios=Ios(module="Digits")))
    names = android_names(recipe)
    assert (names.group, names.artifact, names.version, names.namespace, names.assets, names.pack) == (
        "com.x",
        "y",
        "9",
        "com.x.z",
        "deep/er",
        "p",
    )
    assert swift_module(recipe) == "Digits"
