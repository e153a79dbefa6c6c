"""Other versions of the interpreter, which the shipped file is run in: phones have older ones.

One line of the table per package; importing it imports none of them.
"""

from __future__ import annotations

import re

from mlkit_build.errors import ConfigError, expect_one_of
from mlkit_build.records import dataclass

__all__ = ["PACKAGES", "Package", "Requirement", "parse"]

FIELD = "validation.runtimes"

_NAME = re.compile(r"[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*")
_VERSION = re.compile(r"[0-9]+(?:\.[0-9]+)*(?:(?:a|b|rc)[0-9]+)?(?:\.post[0-9]+)?(?:\.dev[0-9]+)?")
"""A release of PEP 440, spelled out: no wildcard, no option, no address can be one."""
_LONGEST = 100


@dataclass(frozen=True)
class Package:
    """A line of the table.

    Attributes:
        distribution: What pip calls it.
        interpreter: `module:attribute` of its interpreter.
        summary: One line for a reader of recipes.
        numpy_1_before: Versions before it are built with NumPy 1 and do not run with 2, though their metadata takes any.
        counts_as_tensorflow: Whether its versions are TensorFlow's, which tell the operators that it knows.
        pythons: The Pythons that it has wheels for, where these are known; empty otherwise.
    """

    distribution: str
    interpreter: str
    summary: str
    numpy_1_before: tuple[int, ...] = ()
    counts_as_tensorflow: bool = False
    pythons: str = ""


PACKAGES = {
    "tflite_runtime": Package(
        "tflite-runtime",
        "tflite_runtime.interpreter:Interpreter",
        "TensorFlow Lite alone, up to 2.14",
        numpy_1_before=(3,),
        counts_as_tensorflow=True,
        pythons="3.11 and older",
    ),
    "ai_edge_litert": Package(
        "ai-edge-litert",
        "ai_edge_litert.interpreter:Interpreter",
        "LiteRT, as TensorFlow Lite is called now",
        numpy_1_before=(1, 1),
    ),
    "tensorflow": Package(
        "tensorflow", "tensorflow:lite.Interpreter", "TensorFlow's own, in hundreds of megabytes", counts_as_tensorflow=True
    ),
}


@dataclass(frozen=True)
class Requirement:
    """One version of one interpreter.

    Attributes:
        package: From the table.
        version: A release, without zeros at its end: `2.14` is `2.14.0`.
    """

    package: str
    version: str

    def __str__(self) -> str:
        return f"{self.package} {self.version}"

    @property
    def stated(self) -> str:
        """As a recipe states it."""
        return f"{self.package}=={self.version}"

    @property
    def to_install(self) -> tuple[str, ...]:
        """What pip is asked for."""
        package = PACKAGES[self.package]
        return (f"{package.distribution}=={self.version}", *(["numpy<2"] if self.release < package.numpy_1_before else []))

    @property
    def release(self) -> tuple[int, ...]:
        """The version's numbers, e.g. `(2, 14)`."""
        numbers = re.match(r"[0-9.]*[0-9]", self.version)
        return tuple(map(int, numbers[0].split("."))) if numbers else ()

    @property
    def of_tensorflow(self) -> tuple[int, ...] | None:
        """The version of TensorFlow that it belongs to, e.g. `(2, 14)`; None where that is not known."""
        return self.release if PACKAGES[self.package].counts_as_tensorflow else None


def parse(stated: str, where: str) -> Requirement:
    """Return what a recipe asks for.

    Args:
        where: The recipe's field, e.g. `validation.runtimes[0]`.

    Raises:
        ConfigError: It is not `name==version`, or nothing that can be run.
    """
    stated_name, pinned, version = stated.partition("==")
    leading = _NAME.match(stated)
    name = re.sub(r"[._-]+", "_", leading[0]).lower() if leading else ""
    if leading and leading[0] == stated_name:
        expect_one_of(where, name, tuple(PACKAGES))
    if name not in PACKAGES or not pinned or not _VERSION.fullmatch(version) or len(version) > _LONGEST:
        raise ConfigError(
            f"{where}: expected name==version, found {stated!r}",
            f"one release of {', '.join(PACKAGES)}, e.g. tflite_runtime==2.14",
        )
    return Requirement(name, re.sub(r"(\.0+)+$", "", version))


def parse_all(stated: tuple[str, ...]) -> tuple[Requirement, ...]:
    """Return all that a recipe asks for. Raises ConfigError, also for one that is stated twice."""
    found = tuple(parse(text, f"{FIELD}[{index}]") for index, text in enumerate(stated))
    for index, requirement in enumerate(found):
        if requirement in found[:index]:
            raise ConfigError(f"{FIELD}[{index}]: {stated[index]} is stated already; expected each runtime once")
    return found
