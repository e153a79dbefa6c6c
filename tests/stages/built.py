"""Small models taken through the stages in this process, with the files that each stage writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlkit_build.plain import to_plain
from mlkit_build.recipe import Input, Npz
from mlkit_build.signature import FrozenSignature
from mlkit_build.stages.freeze import freeze_graph
from mlkit_build.stages.params import CalibrateParams, FreezeParams, QuantizeParams
from tests.sources.tf1 import constants_only, loaded, request, write_frozen

IMAGE = Input(mean=(0.0,), std=(255.0,))
PLAIN = Input()


def weights(*shape: int, seed: int = 5) -> NDArray[np.float32]:
    """Return weights that keep activations near 1, different in every channel."""
    spread = np.linspace(0.5, 2.0, shape[-1], dtype=np.float32)
    fan_in = float(np.prod(shape[:-1]))
    return (np.random.default_rng(seed).normal(0, 1 / np.sqrt(fan_in), shape) * spread).astype(np.float32)


def classifier(tf1: Any) -> None:
    """Build a picture classifier [1, 12, 12, 3] -> [1, 4] with each operator that has hybrid kernels; big enough to quantize."""
    x = tf1.placeholder("float32", [None, 12, 12, 3], name="image")
    h = tf1.nn.relu(tf1.nn.conv2d(x, tf1.constant(weights(3, 3, 3, 16)), [1, 1, 1, 1], "SAME"))
    h = tf1.nn.relu(tf1.nn.depthwise_conv2d(h, tf1.constant(weights(3, 3, 16, 1)), [1, 1, 1, 1], "SAME"))
    h = tf1.reshape(tf1.nn.avg_pool2d(h, 2, 2, "VALID"), [-1, 6 * 6 * 16])
    tf1.matmul(h, tf1.constant(weights(6 * 6 * 16, 4)), name="logits")


CLASSIFIER = request({"picture": "image:0"}, {"classes": "logits:0"}, adapters=("softmax",))


def two_inputs(tf1: Any) -> None:
    """Build [1, 8] and [1, 6] -> [1, 5] and [1, 3]."""
    a = tf1.placeholder("float32", [1, 8], name="a")
    b = tf1.placeholder("float32", [1, 6], name="b")
    h = tf1.nn.relu(tf1.matmul(a, tf1.constant(weights(8, 16))) + tf1.matmul(b, tf1.constant(weights(6, 16, seed=6))))
    tf1.matmul(h, tf1.constant(weights(16, 5)), name="wide")
    tf1.nn.sigmoid(tf1.matmul(h, tf1.constant(weights(16, 3, seed=8))), name="narrow")


TWO = request({"left": "a:0", "right": "b:0"}, {"wide": "wide:0", "narrow": "narrow:0"})


def frozen(build: Callable[[Any], Any], asked: FreezeParams, folder: Path) -> dict[str, Path]:
    """Freeze a model without variables into `folder`; return the files that later stages read."""
    from mlkit_build.adapters import adapt

    folder.mkdir(parents=True, exist_ok=True)
    model = freeze_graph(loaded(constants_only(build)[0]), asked)
    for name in asked.adapters:
        model = adapt(model, name.name, name.options)
    return write_frozen(model, folder)


def converted(files: Mapping[str, Path], folder: Path) -> dict[str, Path]:
    """Run the convert stage."""
    from mlkit_build.stages.convert import convert

    convert({}, {name: files[name] for name in ("frozen_graph.pb", "signature.json")}, folder)
    return {**files, "float.tflite": folder / "float.tflite"}


def calibrated(files: Mapping[str, Path], npz: Path, spec: Npz, inputs: Mapping[str, Input], folder: Path) -> Path:
    """Run the calibrate action; return the statistics."""
    from mlkit_build.stages.calibrate import calibrate

    folder.mkdir(parents=True, exist_ok=True)
    read = {name: files[name] for name in ("float.tflite", "signature.json")}
    calibrate(to_plain(CalibrateParams(spec, inputs)), {**read, "calibration": npz}, folder)
    return folder / "statistics.json"


def quantized(files: Mapping[str, Path], mode: str, io: str, folder: Path, statistics: Path | None = None) -> Path:
    """Run the quantize action; return the model."""
    from mlkit_build.stages.quantize import quantize

    folder.mkdir(parents=True, exist_ok=True)
    told = {name: statistics.parent / name for name in ("statistics.json", "calibration.json")} if statistics else {}
    read = {"float.tflite": files["float.tflite"], **told}
    quantize(to_plain(QuantizeParams(mode, io)), read, folder)
    return folder / "model.tflite"


def pictures(count: int, seed: int = 1, size: int = 12) -> NDArray[np.uint8]:
    """Return RGB pictures of soft blobs, 0..255, and never the same one twice."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / size
    centres = rng.uniform(0, 1, (count, 3, 2))
    distance = (y - centres[..., 0, None, None]) ** 2 + (x - centres[..., 1, None, None]) ** 2
    noise = rng.integers(0, 30, (count, 3, size, size))
    return np.clip(225 * np.exp(-8 * distance) + noise, 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)


def interpreted(path: Path, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the outputs of each sample in turn, in the model's own types, by LiteRT's signature runner."""
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_path=str(path), num_threads=1).get_signature_runner("serving_default")
    rows = [
        runner(**{name: values[index : index + 1] for name, values in feeds.items()})
        for index in range(len(next(iter(feeds.values()))))
    ]
    return {name: np.concatenate([np.array(row[name]) for row in rows]) for name in rows[0]}


def signature_of(files: Mapping[str, Path]) -> FrozenSignature:
    """Return the frozen signature."""
    return FrozenSignature.read(files["signature.json"])
