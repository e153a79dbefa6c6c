"""A `package` that no app could use is refused before anything is built, by the name of its field."""

from __future__ import annotations

from typing import Any

import pytest

from mlkit_build.errors import ConfigError
from mlkit_build.recipe import Android, FrozenGraph, Ios, Package, Recipe, check


def checked(recipe_version: str = "1.0.0", formats: tuple[str, ...] = ("aar", "ios"), name: str = "toy", **stated: Any) -> None:
    """Check a recipe whose `package` states `android` and `ios` by name: `android={"group": "x"}`."""
    package = Package(formats=formats, android=Android(**stated.get("android", {})), ios=Ios(**stated.get("ios", {})))
    check(Recipe(name=name, source=FrozenGraph(path="graph.pb"), version=recipe_version, package=package))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("android.group", ""),
        ("android.group", "com..x"),
        ("android.group", "../x"),
        ("android.group", "com.x/y"),
        ("android.group", ".com"),
        ("android.group", "com.é"),
        ("android.group", "x" * 101),
        ("android.artifact", "a:b"),
        ("android.artifact", ".."),
        ("android.artifact", "a b"),
        ("android.version", ""),
        ("android.version", "1.0+"),
        ("android.version", "[1,2)"),
        ("android.version", "1.0-SNAPSHOT"),
        ("android.version", "latest.release"),
        ("android.version", "LATEST"),
        ("android.version", "RELEASE"),
        ("android.version", "Release"),
        ("android.version", "1\n2"),
        ("android.namespace", "com"),
        ("android.namespace", "com.int"),
        ("android.namespace", "com.7x"),
        ("android.namespace", 'com.x" android:y="'),
        ("android.assets", "/abs"),
        ("android.assets", "../up"),
        ("android.assets", "a//b"),
        ("android.assets", "_hidden"),
        ("android.pack", "7up"),
        ("android.pack", "a-b"),
        ("android.pack", 'a"'),
        ("android.delivery", "sometime"),
        ("ios.module", "7up"),
        ("ios.module", "class"),
        ("ios.module", "Foundation"),
        ("ios.module", "a b"),
        ("ios.module", "Ünï"),
    ],
)
def test_a_name_that_no_tool_takes_is_refused_by_its_field(field: str, value: str) -> None:
    part, _, name = field.partition(".")
    with pytest.raises(ConfigError) as caught:
        checked(**{part: {name: value}})
    assert caught.value.message.startswith(f"package.{field}: ")
    assert "found" in caught.value.message or repr(value) in caught.value.message


@pytest.mark.parametrize("version", ["1.0 beta", "<script>", "1/2", "", "1.0-SNAPSHOT"])
def test_a_version_that_maven_does_not_take_matters_to_the_aar_alone(version: str) -> None:
    with pytest.raises(ConfigError, match=r"^version: ") as caught:
        checked(version)
    assert "package.android.version" in caught.value.hint
    checked(version, formats=("ios", "aipack", "zip"))
    checked(version, android={"version": "1.0"})


def test_an_artifact_that_follows_from_long_names_must_be_shortened() -> None:
    with pytest.raises(ConfigError, match=r"^package\.android\.artifact: expected at most 100 characters, found 108"):
        checked(name="x" * 100)
    checked(name="x" * 100, android={"artifact": "short"})


@pytest.mark.parametrize("homepage", [None, "", "example.com", "https://a b", "javascript:x"])
def test_a_podspec_needs_a_page_and_a_version_that_cocoapods_takes(homepage: str | None) -> None:
    with pytest.raises(ConfigError, match=r"^package\.ios\.homepage: "):
        checked(ios={"podspec": True, "homepage": homepage})
    with pytest.raises(ConfigError, match=r"^version: .*CocoaPods"):
        checked("v1.0", ios={"podspec": True, "homepage": "https://example.com/model"})
    checked("1.0.0-beta.1", ios={"podspec": True, "homepage": "https://example.com/model"})


@pytest.mark.parametrize(
    ("formats", "message"),
    [
        (("aab",), r"^package\.formats\[0\]: expected one of bundle, aar, .* found 'aab'"),
        (("zip", "zip"), "expected each format once"),
    ],
)
def test_formats_are_known_and_stated_once(formats: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        checked(formats=formats)
