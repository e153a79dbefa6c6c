"""Models with Flex operators, taken through the stages in this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mlkit_build.plain import to_plain
from mlkit_build.stages.params import FreezeParams, QuantizeParams
from tests.sources.tf1 import request
from tests.stages.built import frozen, weights


def cropped(tf1: Any) -> None:
    """Build [1, 8, 8, 3] -> [1, 10]: a convolution, a crop that LiteRT lacks, and a dense layer big enough to quantize."""
    x = tf1.placeholder("float32", [1, 8, 8, 3], name="image")
    h = tf1.nn.relu(tf1.nn.conv2d(x, tf1.constant(weights(3, 3, 3, 32)), [1, 1, 1, 1], "SAME"))
    h = tf1.image.crop_and_resize(h, [[0.0, 0.1, 0.9, 1.0]], [0], [4, 4])
    tf1.matmul(tf1.reshape(h, [1, 4 * 4 * 32]), tf1.constant(weights(4 * 4 * 32, 10)), name="scores")


CROPPED = request({"picture": "image:0"}, {"scores": "scores:0"})


def converted(build: Callable[[Any], Any], asked: FreezeParams, folder: Path) -> dict[str, Path]:
    """Freeze and convert a model without variables, Flex operators allowed; return the files."""
    from mlkit_build.stages.convert import convert

    files = frozen(build, asked, folder)
    convert({"allow_select_ops": True}, files, folder)
    return {**files, "float.tflite": folder / "float.tflite"}


def quantized(files: Mapping[str, Path], mode: str, folder: Path, *, allow_select_ops: bool = True) -> Path:
    """Run the quantize action; return the model."""
    from mlkit_build.stages.quantize import quantize

    folder.mkdir(parents=True, exist_ok=True)
    params = QuantizeParams(mode, "float32", allow_select_ops=allow_select_ops)
    quantize(to_plain(params), {"float.tflite": files["float.tflite"]}, folder)
    return folder / "model.tflite"
