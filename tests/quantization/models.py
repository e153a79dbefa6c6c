"""A small model with every operator that has weights in most image nets, and what the actions of a build make of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlkit_build.plain import to_plain
from mlkit_build.recipe import Npz, Quantization
from mlkit_build.stages.params import CalibrateParams, QuantizeGraphParams, QuantizeParams
from tests.sources.tf1 import request
from tests.stages.built import IMAGE, converted, frozen, interpreted, pictures, weights

SIZE = 8
FEEDS = Npz(path="", features={"picture": "images"})
INPUTS = {"picture": IMAGE}


def tower(tf1: Any) -> None:
    """Build [1, 8, 8, 3] -> [1, 4]: a convolution and a depthwise one, a dense layer of 256 rows, a leaky ReLU, a classifier."""
    x = tf1.placeholder("float32", [None, SIZE, SIZE, 3], name="image")
    with tf1.name_scope("stem"):
        h = tf1.nn.relu(tf1.nn.conv2d(x, tf1.constant(weights(3, 3, 3, 64)), [1, 1, 1, 1], "SAME"))
    with tf1.name_scope("deep"):
        h = tf1.nn.relu(tf1.nn.depthwise_conv2d(h, tf1.constant(weights(3, 3, 64, 1)), [1, 1, 1, 1], "SAME"))
        h = tf1.reshape(tf1.nn.avg_pool2d(h, 4, 4, "VALID"), [-1, 256])
    with tf1.name_scope("body"):
        h = tf1.nn.leaky_relu(tf1.matmul(h, tf1.constant(weights(256, 256))), 0.3)
    with tf1.name_scope("head"):
        tf1.matmul(h, tf1.constant(60 * weights(256, 4)), name="logits")


ASKED = request({"picture": "image:0"}, {"classes": "head/logits:0"}, adapters=("softmax",))


@dataclass(frozen=True)
class Tower:
    """What the stages made of it.

    Attributes:
        files: frozen_graph.pb, signature.json and float.tflite.
        archive: The calibration pictures.
        calibration: The folder of statistics.json, calibration.json and hessians.npz.
        expected: What the float model answers to `SAMPLES`, `[16, 4]`.
    """

    files: Mapping[str, Path]
    archive: Path
    calibration: Path
    expected: NDArray[np.float32]


SAMPLES = pictures(16, seed=2, size=SIZE)


def build_tower(folder: Path) -> Tower:
    """Take it through freeze, convert and calibrate."""
    from mlkit_build.stages.calibrate import calibrate

    files = converted(frozen(tower, ASKED, folder), folder)
    archive = folder / "calibration.npz"
    np.savez(archive, images=pictures(32, seed=11, size=SIZE))
    read = {name: files[name] for name in ("float.tflite", "signature.json")}
    calibrate(to_plain(CalibrateParams(FEEDS, INPUTS, hessians=True)), {**read, "calibration": archive}, folder)
    expected = interpreted(files["float.tflite"], {"picture": SAMPLES.astype(np.float32) / np.float32(255)})["classes"]
    return Tower(files, archive, folder, expected)


def quantized(tower: Tower, quantization: Quantization, folder: Path) -> tuple[Path, dict[str, Any]]:
    """Run the backend's action; return the model and its quantization.json."""
    from mlkit_build.stages.quantize import quantize
    from mlkit_build.stages.quantize_graph import quantize_graph

    folder.mkdir(parents=True, exist_ok=True)
    told = quantization
    if told.is_float:
        return tower.files["float.tflite"], {}
    if told.backend == "converter":
        dataset = FEEDS if told.needs_calibration else None
        read = {name: tower.files[name] for name in ("frozen_graph.pb", "signature.json")}
        read |= {"calibration": tower.archive} if dataset else {}
        quantize_graph(to_plain(QuantizeGraphParams(told.mode, told.io, told.granularity, dataset, INPUTS)), read, folder)
    else:
        names = ["statistics.json", "calibration.json"] if told.needs_calibration else []
        names += ["hessians.npz"] if told.algorithm == "gptq" else []
        read = {"float.tflite": tower.files["float.tflite"], **{name: tower.calibration / name for name in names}}
        quantize(to_plain(QuantizeParams(told.mode, told.io, told.granularity, told.algorithm, told.rules)), read, folder)
    return folder / "model.tflite", json.loads((folder / "quantization.json").read_bytes())


def answers(model: Path, io: str) -> NDArray[np.float32]:
    """Return what a model answers to `SAMPLES`, fed as an app feeds it, as real values `[16, 4]`."""
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_path=str(model)).get_signature_runner("serving_default")
    values: NDArray[Any] = SAMPLES if io == "uint8" else SAMPLES.astype(np.float32) / np.float32(255)
    if io == "int8":
        scale, zero_point = runner.get_input_details()["picture"]["quantization"]
        values = np.clip(np.rint(values / scale) + zero_point, -128, 127).astype(np.int8)
    found = interpreted(model, {"picture": values})["classes"]
    scale, zero_point = runner.get_output_details()["classes"]["quantization"]
    return found if io == "float32" else (found.astype(np.float32) - zero_point) * np.float32(scale)
