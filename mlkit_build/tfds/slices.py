"""Parts of a dataset in the words of TensorFlow Datasets: `test`, `train[:80%]`, `train[1000:]`, `train+test`, `all`.

The syntax and its rounding: `ReadInstruction.from_spec` in `tensorflow_datasets/core/splits.py`, and
https://www.tensorflow.org/datasets/splits. A bound belongs to a position, not to a sample's content.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from mlkit_build.errors import ConfigError, did_you_mean
from mlkit_build.records import dataclass

ALL = "all"
_PART = re.compile(r"([\w-]+)(?:\[([\w%:.-]+)\])?", re.ASCII)
_BOUND = re.compile(r"(-?[0-9][0-9_]{0,17}(?:\.[0-9]{1,9})?)(%|shard)?|")
_MOST_PARTS = 1000


@dataclass(frozen=True)
class Slice:
    """Some samples of a split that lie side by side, the one at `end` not among them."""

    split: str
    first: int
    end: int


@dataclass(frozen=True)
class Part:
    """A part as it is written, before it is known how long the split is.

    Attributes:
        text: As it is written.
        split: Its name, or `all`.
        low: Where it begins, from the end where negative; None for the beginning.
        high: Where it ends, likewise.
        unit: What the two count: samples (empty), `%`, or `shard`.
    """

    text: str
    split: str
    low: float | None = None
    high: float | None = None
    unit: str = ""


def parts_of(field: str, stated: str) -> tuple[Part, ...]:
    """Return the parts that are added up, in their order.

    Args:
        field: The recipe's field, for messages.

    Raises:
        ConfigError: It is no such text.
    """
    texts = [text.strip() for text in stated.split("+")]
    if len(texts) > _MOST_PARTS:
        raise ConfigError(f"{field}: expected at most {_MOST_PARTS} parts, found {len(texts)}")
    return tuple(_part(field, text) for text in texts)


def slices_of(field: str, stated: str, splits: Mapping[str, Sequence[int]]) -> tuple[Slice, ...]:
    """Return what the text stands for, without slices that hold nothing.

    Args:
        field: The recipe's field, for messages.
        splits: Name -> how many samples each shard has.

    Raises:
        ConfigError: It is no such text, there is no such split, or it has less than is asked of it.
    """
    found = []
    for part in parts_of(field, stated):
        if part.split not in splits and part.split != ALL:
            raise ConfigError(
                f"{field}: no split {part.split!r}; there {'is' if len(splits) == 1 else 'are'} {', '.join(splits) or 'none'}",
                did_you_mean(part.split, list(splits)),
            )
        for name in splits if part.split == ALL else (part.split,):
            found.append(_placed(field, part, name, splits[name]))
    return tuple(placed for placed in found if placed.first < placed.end)


def _part(field: str, text: str) -> Part:
    found = _PART.fullmatch(text)
    if not found:
        raise _no_split(field, text)
    split, selector = found.groups()
    if selector is None:
        return Part(text, split)
    if split == ALL:
        raise ConfigError(f"{field}: expected `all` without a slice, found {text!r}", "slice each split, and add them up with +")
    bounds = [_BOUND.fullmatch(bound) for bound in selector.split(":")]
    if None in bounds or len(bounds) > 2 or not any(bound and bound[0] for bound in bounds):
        raise _no_split(field, text)
    values, units = zip(*((bound[1], bound[2]) for bound in bounds if bound), strict=True)
    unit = next((unit for unit in units if unit), "")  # as there, one unit goes for both bounds
    if unit != "%" and any(value and "." in value for value in values):
        raise _no_split(field, text)
    low, *rest = [None if value is None else float(value) for value in values]
    if not rest and unit != "shard":
        raise ConfigError(f"{field}: expected a slice with a colon, found {text!r}", f"e.g. `{split}[:10%]` or `{split}[10:20]`")
    return Part(text, split, low, rest[0] if rest else (low or 0) + 1, unit)


def _placed(field: str, part: Part, name: str, lengths: Sequence[int]) -> Slice:
    count = sum(lengths)
    if part.unit == "shard":
        low = 0 if part.low is None else sum(lengths[: int(part.low)])
        high = len(lengths) if part.high is None else int(part.high)
        # What ends with shard 0 ends with the last one, since [-1shard] is written [-1shard:0shard] there.
        ends = (low, sum(lengths[: high if high > 0 else len(lengths) + high]))
    elif part.unit == "%":
        shares = (0 if part.low is None else part.low, 100 if part.high is None else part.high)
        ends = (round(shares[0] * count / 100), round(shares[1] * count / 100))
    else:
        ends = (0 if part.low is None else int(part.low), count if part.high is None else int(part.high))
    if any(abs(end) > count for end in ends):
        raise ConfigError(f"{field}: {part.text!r} asks for more than the {count} samples of the split {name!r}")
    first, end = (end + count if end < 0 else end for end in ends)
    return Slice(name, first, end)


def _no_split(field: str, text: str) -> ConfigError:
    return ConfigError(
        f"{field}: expected a split as TensorFlow Datasets writes it, found {text[:80]!r}",
        "e.g. `test`, `train[:80%]`, `train[1000:2000]`, or `train+test`",
    )
