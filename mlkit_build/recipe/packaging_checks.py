"""Checks of a recipe's `package`: names that Maven, Java, Google Play and Swift would refuse, long after the build; who signs."""

from __future__ import annotations

import re
from dataclasses import replace

from mlkit_build.errors import ConfigError, expect_one_of
from mlkit_build.recipe.naming import JAVA_KEYWORDS, android_names
from mlkit_build.recipe.package import Package
from mlkit_build.recipe.packaging import DELIVERIES, FORMATS, Sign
from mlkit_build.recipe.schema import Recipe

_MAVEN = "letters, digits, `_`, `-` and `.`"
_GROUP = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_ARTIFACT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
"""Maven's model validator takes `[A-Za-z0-9_.-]+`; what begins with a dot, or has two, is no folder's name."""
_PACKAGE = re.compile(r"[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z][A-Za-z0-9_]*)+")
_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)*")
_PACK = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_SWIFT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_POD_VERSION = re.compile(r"[0-9]+(\.[0-9A-Za-z]+)*(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?")
_META_VERSIONS = ("LATEST", "RELEASE")
"""What Maven replaces by a version that it finds in a repository: nobody could ask for a package that is called so."""
_LONGEST = 100
"""Of a name: with version, extension and checksum's extension it is a file's name, of at most 255 bytes."""
_SWIFT_TAKEN = frozenset(
    re.findall(
        r"\w+",
        "Any MLKit TensorFlowLite Bundle Data Foundation Self Swift String URL Int Array _ actor as associatedtype async await "
        "break case catch class continue default defer deinit do else enum extension fallthrough false fileprivate for func "
        "guard if import in init inout internal is let nil open operator precedencegroup private protocol public repeat "
        "rethrows return self static struct subscript super switch throw throws true try typealias var where while",
    )
)
"""Keywords of The Swift Programming Language, and the names that the module's own code uses."""


def check_package(recipe: Recipe) -> None:
    """Refuse formats that are not known, and names that no app could use.

    Raises:
        ConfigError: Names the field.
    """
    stated = recipe.package
    if replace(stated, min_runtime=None) == Package():  # most are, and a build with nothing to do should not wait for the rest
        return
    for index, name in enumerate(stated.formats):
        expect_one_of(f"package.formats[{index}]", name, FORMATS)
    if len(set(stated.formats)) < len(stated.formats):
        raise ConfigError(f"package.formats: expected each format once, found {list(stated.formats)}")
    _check_android(recipe)
    _check_ios(recipe)
    _check_sign(stated.sign)


def _check_android(recipe: Recipe) -> None:
    stated, where = recipe.package.android, "package.android"
    expect_one_of(f"{where}.delivery", stated.delivery, DELIVERIES)
    _expect(f"{where}.group", stated.group, _GROUP, f"{_MAVEN} between dots, e.g. `com.example.models`")
    _expect(f"{where}.artifact", stated.artifact, _ARTIFACT, f"{_MAVEN}, not starting with `.` or `-`")
    _expect(f"{where}.namespace", stated.namespace, _PACKAGE, "a Java package of two names at least, e.g. `com.example.mnist`")
    _expect(f"{where}.assets", stated.assets, _FOLDER, f"a folder of {_MAVEN}, e.g. `models/mnist`")
    _expect(f"{where}.pack", stated.pack, _PACK, "a letter, then letters, digits and `_`")
    for segment in (stated.namespace or "").split("."):
        if segment in JAVA_KEYWORDS:
            raise ConfigError(f"{where}.namespace: {segment!r} is a keyword of Java, found {stated.namespace!r}")
    if stated.version is not None or "aar" in recipe.package.formats:
        field, hint = ("version", "state `package.android.version`, or another version") if stated.version is None else ("", "")
        names = android_names(recipe)
        _check_version(field or f"{where}.version", names.version, hint)
        _expect(f"{where}.artifact", names.artifact, _ARTIFACT, _MAVEN)


def _check_version(where: str, version: str, hint: str) -> None:
    _expect(where, version, _ARTIFACT, f"{_MAVEN} as a Maven version", hint)
    changing = version.upper() in _META_VERSIONS or version.upper().endswith("-SNAPSHOT")
    if changing or version.lower().startswith("latest."):
        raise ConfigError(
            f"{where}: expected the version of one package, found {version!r}, which Maven and Gradle take for changing ones",
            hint,
        )


def _check_ios(recipe: Recipe) -> None:
    stated, where = recipe.package.ios, "package.ios"
    _expect(f"{where}.module", stated.module, _SWIFT, "a Swift identifier of letters, digits and `_`, e.g. `MnistModel`")
    if stated.module in _SWIFT_TAKEN:
        raise ConfigError(f"{where}.module: {stated.module!r} means something else in Swift", "e.g. `MnistModel`")
    if not stated.podspec:
        return
    if not re.fullmatch(r"https?://[^\s\"'<>]+", stated.homepage or ""):
        raise ConfigError(
            f"{where}.homepage: expected the address of a page about the model, found {stated.homepage!r}",
            "CocoaPods takes no pod without one; or use `podspec: false`",
        )
    _expect(
        "version", recipe.version, _POD_VERSION, "a version as CocoaPods takes it, e.g. `1.2.0`", f"or use {where}.podspec=false"
    )


def _check_sign(stated: Sign) -> None:
    where = "package.sign"
    texts = {"key": stated.key, "password_file": stated.password_file, "certificate": stated.certificate}
    texts["identity_token"] = stated.identity_token
    for field, text in texts.items():
        if text == "":
            raise ConfigError(f"{where}.{field}: expected a file, found an empty text")
    if stated.key and stated.sigstore:
        raise ConfigError(
            f"{where}: expected `key` or `sigstore`, found both", "a bundle has one signature: sign it with one of them"
        )
    for field, value, needed, given in (
        ("password_file", stated.password_file, "key", stated.key),
        ("certificate", stated.certificate, "key", stated.key),
        ("identity_token", stated.identity_token, "sigstore", stated.sigstore),
    ):
        if value and not given:
            raise ConfigError(f"{where}.{field}: says nothing without `{needed}`", f"add {where}.{needed}=..., or leave it out")


def _expect(where: str, value: str | None, form: re.Pattern[str], expected: str, hint: str = "") -> None:
    if value is None:
        return
    if not form.fullmatch(value):
        raise ConfigError(f"{where}: expected {expected}, found {value!r}", hint)
    if len(value) > _LONGEST:
        raise ConfigError(
            f"{where}: expected at most {_LONGEST} characters, found {len(value)}", hint or f"state a shorter {where}"
        )
