"""What a recipe can say to each metric, and every check of it that needs no data. Importing it imports nothing heavy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from typing import Any

from mlkit_build.errors import ConfigError
from mlkit_build.recipe.dataset_checks import check_timeout
from mlkit_build.records import dataclass

_FUNCTION = re.compile(r"[^:]+\.py:[A-Za-z_]\w*")


@dataclass(frozen=True, kw_only=True)
class NoOptions:
    """Of a metric that needs to know nothing."""


@dataclass(frozen=True, kw_only=True)
class TopKOptions:
    """Options of `top_k`.

    Attributes:
        k: Among how many of the highest scores the label must be; the value is called `top<k>`.
    """

    k: int = 5


@dataclass(frozen=True, kw_only=True)
class LogitsOptions:
    """Options of a metric that reads probabilities.

    Attributes:
        from_logits: Whether the model returns logits, whose softmax (of one value: sigmoid) the app computes.
    """

    from_logits: bool = False


@dataclass(frozen=True, kw_only=True)
class CalibrationErrorOptions:
    """Options of `calibration_error`.

    Attributes:
        bins: Into how many intervals of equal width confidence is divided.
        from_logits: Whether the model returns logits, whose softmax (of one value: sigmoid) the app computes.
    """

    bins: int = 15
    from_logits: bool = False


@dataclass(frozen=True, kw_only=True)
class PsnrOptions:
    """Options of `psnr`.

    Attributes:
        peak: The greatest value that a signal can have: 1 for images in 0..1, 255 for pixels.
    """

    peak: float = 1.0


@dataclass(frozen=True, kw_only=True)
class EmbeddingOptions:
    """Options of `embedding`.

    Attributes:
        k: How many of the nearest neighbours are compared.
        samples: Among how many samples neighbours are looked for, at most: evenly spaced ones of the dataset.
    """

    k: int = 10
    samples: int = 2000


@dataclass(frozen=True, kw_only=True)
class MeanIouOptions:
    """Options of `mean_iou`.

    Attributes:
        threshold: Of an output with one channel: above it a pixel belongs to class 1.
        ignore: The label of pixels that do not count, often 255; none when left out.
    """

    threshold: float = 0.5
    ignore: int | None = None


@dataclass(frozen=True, kw_only=True)
class PythonOptions:
    """Options of `python`.

    Attributes:
        function: `FILE.py:NAME` in the recipe's folder. It returns an object with `update(outputs, reference, labels)`, called
            with NumPy arrays batch after batch, and `result()`, which returns name -> value, or name -> (value, TensorFlow's).
        arguments: What the function is called with, by name.
        lower_is_better: Names of those values of which a smaller one is a better one.
        timeout_s: How long the evaluation that runs it may take, in seconds.
    """

    function: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    lower_is_better: tuple[str, ...] = ()
    timeout_s: float = 3600.0


def check(options: Any) -> None:
    """Refuse options that are out of their limits.

    Raises:
        ConfigError: The message starts with the option's name.
    """
    match options:
        case TopKOptions():
            _at_least("k", options.k, 2, "k=1 is the metric top1")
        case CalibrationErrorOptions():
            _at_least("bins", options.bins, 1)
        case PsnrOptions() if not options.peak > 0:
            raise ConfigError(f"peak: expected a number above 0, found {options.peak:g}")
        case EmbeddingOptions():
            _at_least("k", options.k, 1)
            if options.samples <= options.k:
                raise ConfigError(f"samples: expected more than k={options.k}, found {options.samples}")
            if options.samples > 10_000:
                raise ConfigError(f"samples: expected at most 10000, found {options.samples}", "each is compared with each")
        case PythonOptions() if not _FUNCTION.fullmatch(options.function):
            raise ConfigError(f"function: expected `FILE.py:NAME`, found {options.function!r}", "e.g. `metric.py:build`")
        case PythonOptions():
            check_timeout("timeout_s", options.timeout_s)


def _at_least(option: str, found: int, least: int, hint: str = "") -> None:
    if found < least:
        raise ConfigError(f"{option}: expected at least {least}, found {found}", hint)
