"""Encoded images as the pixels that a model is fed: upright, in its channels and its size. Files are data, maybe hostile."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from mlkit_build.datasets.choice import MAX_SAMPLE_BYTES
from mlkit_build.datasets.resizing import bilinear
from mlkit_build.errors import ConfigError, SourceError
from mlkit_build.records import dataclass
from mlkit_build.signature import TensorSpec

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "PPM")
MAX_PIXELS = 1 << 26
"""64 megapixels, more than cameras of phones write by default. The header is believed for the size, not for room to be made."""

Image.MAX_IMAGE_PIXELS = None  # its own bound warns first and raises later; ours names the file


@dataclass(frozen=True)
class Form:
    """What a model wants its images to be.

    Attributes:
        shape: `(height, width, channels)`, or `(height, width)`.
        center_crop: Cut out the middle, in the model's proportions, before resizing.
    """

    shape: tuple[int, ...]
    center_crop: bool

    @classmethod
    def of(cls, spec: TensorSpec | None, center_crop: bool, where: str) -> Form:
        """Return the form that a model input takes.

        Raises:
            ConfigError: It takes no images.
        """
        if spec is None:
            raise ConfigError(f"{where}: the size of the model's input is not known here")
        shape = tuple(spec.shape[1:])
        if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in (1, 3)):
            raise ConfigError(
                f"{where}: expected an input [1, height, width, channels] with 1 or 3 channels for images, found "
                f"{spec.name!r} with {list(spec.shape)}",
                "adapters can change an input, such as nchw_to_nhwc; or write arrays, and use kind npz",
            )
        return cls(shape, center_crop)


def decoded(data: bytes | Path, form: Form, name: str) -> NDArray[np.uint8]:
    """Return uint8 pixels in the form's shape.

    Args:
        name: What to call the image in messages.

    Raises:
        SourceError: It cannot be decoded, or is too large.
    """
    if isinstance(data, Path):
        data = _read(data, name)
    hint = f"expected one of {', '.join(FORMATS)}; save it again, or take it out of the dataset"
    try:
        _check_size(_webp_size(data), name, hint)
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_size(image.size, name, hint)
            pixels = _pixels(image, 1 if len(form.shape) == 2 or form.shape[2] == 1 else 3)
    except SourceError:
        raise
    except Exception as error:  # decoders raise many kinds for what is damaged
        reason = "not an image that can be read" if "cannot identify" in str(error) else str(error) or type(error).__name__
        raise SourceError(f"{name}: the image cannot be decoded: {reason}", hint) from error
    height, width = form.shape[:2]
    if form.center_crop:
        pixels = _middle(pixels, height, width)
    return bilinear(pixels, height, width).reshape(form.shape)


def class_map(data: bytes, name: str) -> NDArray[np.uint8]:
    """Return `[height, width]` uint8: the values of a grey image, whose pixels are classes, as they are.

    Args:
        name: What to call the image in messages.

    Raises:
        SourceError: It cannot be decoded, is too large, or has colours.
    """
    hint = "a map of classes is a grey image of 8 bits"
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            _check_size(image.size, name, hint)
            if image.mode == "L":
                return np.asarray(image)
            found = f"an image of mode {image.mode}"
    except SourceError:
        raise
    except Exception as error:  # decoders raise many kinds for what is damaged
        found = f"something else: {error}"
    raise SourceError(f"{name}: expected a grey PNG, found {found}", hint)


def _check_size(size: tuple[int, int], name: str, hint: str) -> None:
    if size[0] * size[1] > MAX_PIXELS:
        raise SourceError(f"{name}: expected at most {MAX_PIXELS} pixels, found {size[0]} x {size[1]}", hint)


def _webp_size(data: bytes) -> tuple[int, int]:
    """Return the size of a WebP image, whose decoder makes room as soon as it is opened; (0, 0) for others.

    The format: https://developers.google.com/speed/webp/docs/riff_container.
    """
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        return 0, 0
    kind, least = data[12:16], 1
    if kind == b"VP8X":
        sizes = int.from_bytes(data[24:27], "little"), int.from_bytes(data[27:30], "little")
    elif kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        sizes = bits & 0x3FFF, bits >> 14 & 0x3FFF
    else:
        sizes, least = (int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF), 0
    return sizes[0] + least, sizes[1] + least


def _read(path: Path, name: str) -> bytes:
    try:
        size = path.stat().st_size
        if size > MAX_SAMPLE_BYTES:
            raise SourceError(f"{name}: expected an image file of at most {MAX_SAMPLE_BYTES} bytes, found {size}")
        return path.read_bytes()
    except OSError as error:
        raise SourceError(f"{name}: the image cannot be read: {error.strerror}") from error


def _pixels(image: Any, channels: int) -> NDArray[np.uint8]:
    """Return `[height, width, channels]`, turned as EXIF says, without transparency; of 16 bits the upper 8."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        wide = np.asarray(image).astype(np.int64)
        image = Image.fromarray((np.clip(wide, 0, 65535) >> 8).astype(np.uint8))
    pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    return pixels.reshape(*pixels.shape[:2], channels)


def _middle(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Return the largest part of the proportions `height : width`, from the middle."""
    rows, columns = pixels.shape[:2]
    kept_rows = max(1, min(rows, columns * height // width))
    kept_columns = max(1, min(columns, rows * width // height))
    top, left = (rows - kept_rows) // 2, (columns - kept_columns) // 2
    return pixels[top : top + kept_rows, left : left + kept_columns]
