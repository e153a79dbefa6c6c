"""From the name of a class, or its number, to the index of the model's output."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress

from mlkit_build.errors import ConfigError, did_you_mean


class Classes:
    """The classes of a dataset.

    Args:
        names: In the order of the model's outputs; empty when nobody names them.
        where: The dataset's field, for messages.

    Attributes:
        names: As above.

    Raises:
        ConfigError: A name is there twice.
    """

    def __init__(self, names: Sequence[str], where: str) -> None:
        self.names = tuple(names)
        self._indices = {name: index for index, name in enumerate(names)}
        self._where = where
        if len(self._indices) != len(names):
            twice = next(name for index, name in enumerate(names) if name in names[:index])
            raise ConfigError(
                f"{where}.classes: {twice!r} is there twice; expected a name of its own for every class",
                f"where labels are numbers, or the recipe's labels repeat, state the names with {where}.classes",
            )

    def index_or_number(self, text: str, place: str) -> int | float:
        """Return what `index` does, or where no class is named, any number, such as a regression's target.

        Args:
            place: Where it stands.

        Raises:
            ConfigError: It is neither.
        """
        number = None if self._indices else _number(text.strip())
        return self.index(text, place) if number is None else number

    def index(self, text: str, place: str) -> int:
        """Return the index of the class that `text` names, or is.

        Args:
            place: Where it stands.

        Raises:
            ConfigError: There is no such class.
        """
        text = text.strip()
        if text in self._indices:
            return self._indices[text]
        if text.isascii() and text.isdigit() and len(text) < 10:
            return int(text)
        if not text:
            raise ConfigError(f"{place}: expected a class, found nothing")
        if not self._indices:
            raise ConfigError(
                f"{place}: expected the index of a class, found {text[:40]!r}",
                f"name the classes in the order of the model's outputs: the recipe's `labels`, or {self._where}.classes",
            )
        names = list(self._indices)
        some = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
        raise ConfigError(f"{place}: no class {text[:40]!r}; expected one of {some}", did_you_mean(text[:40], names))


def _number(text: str) -> int | float | None:
    """Return the number that the text is, a whole one as such where 64 bits hold it; None where it is none, or not finite."""
    if "_" in text or not text.isascii():  # which Python reads: a typo, and other alphabets' digits
        return None
    with suppress(ValueError):
        number = float(text)
        if math.isfinite(number):
            return int(text) if text.lstrip("+-").isdigit() and abs(number) < 2**63 else number
    return None
