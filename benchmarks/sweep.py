"""Five variants of one model: `mlkit-build -m quantization=float32,float16,dynamic_range,int8,int16x8` against two scripts.

The model is MobileNetV2 (224 x 224) with random weights, as a `.keras` file; static modes calibrate on 100 random images. The
recipe has no dataset, so that neither side measures anything; ours still reads every file back and publishes five bundles.

- `converter`: all five with `TFLiteConverter.from_keras_model`, one after the other in one process, as TensorFlow's guide does.
- `quantizer`: one conversion to float32, one calibration, and ai-edge-quantizer for each mode, as its README does.

All sides are whole processes: Python's start, imports, reading the model, five files on disk. Ours starts with an empty cache and
an empty output folder. The promises: at most 0.25 of `converter`, at most 0.9 of `quantizer`; and the same sweep again, with
nothing to do, at most 1.0 s for all five.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

from pairing import judge, machine, mlkit_build, paired, report, timed

PROMISES = {"converter": 0.25, "quantizer": 0.9}
WARM_SECONDS = 1.0
MODES = ("float32", "float16", "dynamic_range", "int8", "int16x8")

MAKE = """\
import os
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np
import tensorflow as tf
tf.keras.utils.set_random_seed(1)
model = tf.keras.applications.MobileNetV2(input_shape=(224, 224, 3), weights=None)
images = np.random.default_rng(1).integers(0, 256, (100, 224, 224, 3), dtype=np.uint8)
for layer in model.layers:  # untrained, its activations vanish from layer to layer, and LiteRT refuses the scales
    if hasattr(layer, "moving_mean"):
        layer.momentum = 0.0
model(images[:16].astype(np.float32) / 127.5 - 1, training=True)
model.save("model.keras")
np.savez("calibration.npz", images=images)
"""

RECIPE = """\
name: mobilenet
source: {kind: keras, path: model.keras}
signature:
  inputs: {image: {shape: [1, 224, 224, 3], mean: [127.5], std: [127.5]}}
calibration: {kind: npz, path: calibration.npz, features: {image: images}, samples: 100}
"""

CONVERTER = """\
import pathlib, sys
import numpy as np
import tensorflow as tf

model = tf.keras.models.load_model("model.keras", compile=False)
images = np.load("calibration.npz")["images"]

def samples():
    for image in images:
        yield [(image[None].astype(np.float32) - 127.5) / 127.5]

for mode in sys.argv[1:]:
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if mode != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if mode == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if mode in ("int8", "int16x8"):
        converter.representative_dataset = samples
        kind = "TFLITE_BUILTINS_INT8" if mode == "int8" else "EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8"
        converter.target_spec.supported_ops = [getattr(tf.lite.OpsSet, kind)]
    pathlib.Path(f"{mode}.tflite").write_bytes(converter.convert())
print("done", len(sys.argv) - 1)
"""

QUANTIZER = """\
import pathlib, sys
import numpy as np
import tensorflow as tf
from ai_edge_quantizer import algorithm_manager, qtyping, quantizer, recipe

model = tf.keras.models.load_model("model.keras", compile=False)
pathlib.Path("float32.tflite").write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
images = np.load("calibration.npz")["images"]
name = next(iter(tf.lite.Interpreter("float32.tflite").get_signature_list()["serving_default"]["inputs"]))
samples = {"serving_default": [{name: (image[None].astype(np.float32) - 127.5) / 127.5} for image in images]}
statistics = None
for mode in sys.argv[1:]:
    if mode == "float32":
        continue
    quantized = quantizer.Quantizer("float32.tflite")
    if mode == "float16":
        quantized.update_quantization_recipe(
            regex=".*",
            operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
            op_config=qtyping.OpQuantizationConfig(
                weight_tensor_config=qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT),
                compute_precision=qtyping.ComputePrecision.FLOAT,
            ),
            algorithm_key=algorithm_manager.AlgorithmName.FLOAT_CASTING,
        )
    else:
        made = {"dynamic_range": recipe.dynamic_wi8_afp32, "int8": recipe.static_wi8_ai8, "int16x8": recipe.static_wi8_ai16}
        quantized.load_quantization_recipe(made[mode]())
    if quantized.need_calibration and statistics is None:
        statistics = quantized.calibrate(samples)
    quantized.quantize(statistics if quantized.need_calibration else None).export_model(f"{mode}.tflite", overwrite=True)
print("done", len(sys.argv) - 1)
"""


def main() -> int:
    """Run the benchmark; return 1 where a promise does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--modes", default=",".join(MODES), help="default: %(default)s")
    options = parser.parse_args()
    modes = options.modes.split(",")
    with tempfile.TemporaryDirectory(prefix="mlkit-build-sweep-") as name:
        root = Path(name)
        recipe = root / "recipes" / "mobilenet"
        recipe.mkdir(parents=True)
        subprocess.run([sys.executable, "-c", MAKE], cwd=recipe, check=True, capture_output=True)
        (recipe / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
        scripts = {"converter": CONVERTER, "quantizer": QUANTIZER}
        for side, text in scripts.items():
            (root / f"{side}.py").write_text(text, encoding="utf-8")
        print(machine("mlkit-build", "tensorflow", "keras", "ai-edge-litert", "ai-edge-quantizer", "numpy"))
        kept = []
        cold = sweeping(root, modes)
        for side in scripts:
            theirs = script(root, side, modes)
            result = paired(cold, theirs, options.pairs)
            report(f"{len(modes)} variants, empty cache", ("mlkit-build -m", side), result)
            kept.append(judge(result.ratio, PROMISES[side]))
        warm = sweeping(root, modes, warm=True)
        warm()
        seconds = [warm() for _ in range(max(options.pairs, 3))]
        print(f"{len(modes)} variants, nothing to do\n  mlkit-build -m  median {median(seconds):.3f} s")
        kept.append(judge(median(seconds) / WARM_SECONDS, 1.0))
    return max(kept)


def sweeping(root: Path, modes: list[str], warm: bool = False) -> Callable[[], float]:
    """Return what runs the sweep once: each time with a cache and an output folder that are new, or with the same ones."""
    numbers = itertools.count()

    def run() -> float:
        place = root / ("warm" if warm else f"cold-{next(numbers)}")
        env = {"MLKIT_BUILD_CACHE": str(place / "cache")}
        command = [mlkit_build(), "-m", "recipe=mobilenet", f"quantization={','.join(modes)}", f"output_dir={place / 'dist'}"]
        seconds = timed([*command, "ui=plain"], root, "summary", env)
        made = list((place / "dist" / "mobilenet").glob("*/mobilenet.tflite"))
        assert len(made) == len(modes), f"expected {len(modes)} bundles, found {len(made)}"
        return seconds

    return run


def script(root: Path, side: str, modes: list[str]) -> Callable[[], float]:
    """Return what runs the other side's script once, and checks that every file is there."""
    folder = root / "recipes" / "mobilenet"

    def run() -> float:
        for old in folder.glob("*.tflite"):
            old.unlink()
        seconds = timed(
            [sys.executable, root / f"{side}.py", *modes], folder, f"done {len(modes)}", {"TF_CPP_MIN_LOG_LEVEL": "3"}
        )
        assert len(list(folder.glob("*.tflite"))) == len(modes)
        return seconds

    return run


if __name__ == "__main__":
    sys.exit(main())
