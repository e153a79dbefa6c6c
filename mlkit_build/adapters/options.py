"""What a recipe can say to each adapter, and every check of it that needs no graph.

Importing this module imports nothing heavy: recipes are checked in the parent process.
"""

from __future__ import annotations

import math
from typing import Any

from mlkit_build.errors import ConfigError, did_you_mean
from mlkit_build.records import dataclass

METHODS = ("bilinear", "nearest")
CASTS = ("uint8", "int8", "int16", "int32", "float32")


@dataclass(frozen=True, kw_only=True)
class InputOptions:
    """Options of an adapter that acts on one input and needs to know nothing else.

    Attributes:
        input: The recipe's name of the input; the only one when left out.
    """

    input: str | None = None


@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """Options of an adapter that acts on one output and needs to know nothing else.

    Attributes:
        output: The recipe's name of the output; the only one when left out.
    """

    output: str | None = None


@dataclass(frozen=True, kw_only=True)
class NchwToNhwcOptions:
    """Options of `nchw_to_nhwc`.

    Attributes:
        inputs: The recipe's names of the inputs to turn, none with `[]`; when left out, the only one whose channel axis, the
            second, is its smallest.
        outputs: The recipe's names of the outputs to turn.
    """

    inputs: tuple[str, ...] | None = None
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class NormalizeOptions:
    """Options of `normalize`.

    Attributes:
        mean: Per channel, or one for all; in the units of what the app feeds, e.g. `[127.5]` for pixels 0..255.
        std: Per channel, or one for all; not 0.
        input: The recipe's name of the input; the only one when left out.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    input: str | None = None


@dataclass(frozen=True, kw_only=True)
class ResizeOptions:
    """Options of `resize`.

    Attributes:
        height: Of the images that the app feeds.
        width: Of the images that the app feeds.
        method: `bilinear` or `nearest`, both with half-pixel centres and without antialiasing.
        input: The recipe's name of the input; the only one when left out.
    """

    height: int
    width: int
    method: str = "bilinear"
    input: str | None = None


@dataclass(frozen=True, kw_only=True)
class CastInputOptions:
    """Options of `cast_input`.

    Attributes:
        dtype: What the app feeds: `uint8`, `int8`, `int16`, `int32` or `float32`, each of whose values the model's own type must
            hold.
        input: The recipe's name of the input; the only one when left out.
    """

    dtype: str = "uint8"
    input: str | None = None


@dataclass(frozen=True, kw_only=True)
class SqueezeOutputOptions:
    """Options of `squeeze_output`.

    Attributes:
        axes: The axes of size 1 to remove; negative ones count from the end. All but the batch when left out.
        output: The recipe's name of the output; the only one when left out.
    """

    axes: tuple[int, ...] | None = None
    output: str | None = None


@dataclass(frozen=True, kw_only=True)
class ReshapeOutputOptions:
    """Options of `reshape_output`.

    Attributes:
        shape: The new shape, batch first; one size may be -1, for what the others leave.
        output: The recipe's name of the output; the only one when left out.
    """

    shape: tuple[int, ...]
    output: str | None = None


@dataclass(frozen=True, kw_only=True)
class SelectOutputOptions:
    """Options of `select_output`: one of the two.

    Attributes:
        output: The recipe's name of the only output to keep.
        outputs: The recipe's names of the outputs to keep, in this order.
    """

    output: str | None = None
    outputs: tuple[str, ...] = ()

    @property
    def kept(self) -> tuple[str, ...]:
        """The names to keep, whichever way they are stated."""
        return self.outputs if self.output is None else (self.output,)


def check(options: Any) -> None:
    """Refuse options that are out of their limits or contradict each other.

    Raises:
        ConfigError: The message starts with the option's name.
    """
    match options:
        case NormalizeOptions():
            _check_normalization(options)
        case ResizeOptions():
            for name, size in (("height", options.height), ("width", options.width)):
                if size < 1:
                    raise ConfigError(f"{name}: expected at least 1, found {size}")
            _one_of("method", options.method, METHODS)
        case CastInputOptions():
            _one_of("dtype", options.dtype, CASTS)
        case SqueezeOutputOptions():
            if options.axes is not None and not options.axes:
                raise ConfigError("axes: expected at least one axis, found none", "leave it out to remove every axis of size 1")
        case ReshapeOutputOptions():
            _check_shape(options.shape)
        case NchwToNhwcOptions():
            _check_distinct("inputs", options.inputs or ())
            _check_distinct("outputs", options.outputs)
            if options.inputs == () and not options.outputs:
                raise ConfigError("inputs: expected at least one input or output to turn, found none")
        case SelectOutputOptions():
            _check_distinct("outputs", options.outputs)
            if (options.output is None) == (not options.outputs):
                found = "neither" if options.output is None else "both"
                raise ConfigError(f"output: expected either output or outputs, found {found}")


def _check_normalization(options: NormalizeOptions) -> None:
    for name, values in (("mean", options.mean), ("std", options.std)):
        if not values:
            raise ConfigError(f"{name}: expected one value, or one for each channel, found none")
        if not all(map(math.isfinite, values)):
            raise ConfigError(f"{name}: expected finite numbers, found {list(values)}")
    if 0 in options.std:
        raise ConfigError(f"std: expected values other than 0, found {list(options.std)}")
    if len({len(options.mean), len(options.std)} - {1}) > 1:
        raise ConfigError(f"std: expected 1 value or {len(options.mean)}, as many as mean has, found {len(options.std)}")


def _check_shape(shape: tuple[int, ...]) -> None:
    if not shape:
        raise ConfigError("shape: expected at least one dimension, found none")
    if shape.count(-1) > 1:
        raise ConfigError(f"shape: expected -1 at most once, found {list(shape)}")
    if any(size < 1 and size != -1 for size in shape):
        raise ConfigError(f"shape: expected every size to be at least 1, or -1, found {list(shape)}")


def _check_distinct(option: str, names: tuple[str, ...]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{option}: expected each name once, found {name!r} {names.count(name)} times")


def _one_of(option: str, found: str, known: tuple[str, ...]) -> None:
    if found not in known:
        raise ConfigError(f"{option}: expected one of {', '.join(known)}, found {found!r}", did_you_mean(found, known))
