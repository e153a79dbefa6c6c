"""Every kind of source: our freeze and convert, against TFLiteConverter's own path for that kind of model.

Ours are the build's own actions (freeze, convert, and for int8 calibrate and quantize), each in a fresh child process as in a
build. The other side is what TensorFlow's guide shows for the kind: `from_keras_model` after `load_model`, `from_saved_model`,
`from_frozen_graph`, `from_session` after `import_meta_graph` and `restore`, `from_concrete_functions`; for int8
`from_keras_model` with a representative dataset. It too runs in a fresh child, one for the whole path.

This process imports the runtimes of both and runs nothing of them, so that every child starts alike and neither side profits
from what the other did; all run in the actions' environment. A side's seconds are those of its work, summed over its children:
imports, forking and the engine (keys, cache) are outside of both. Ours does more: it pins, checks and writes the frozen graph,
refuses what cannot convert, and signs the model. That both models compute the same is checked once, outside of the times.

The promise: at most 1.1 of the other side's time for every kind, and at most 0.6 for Keras to int8.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

from pairing import Paired, machine, paired

from mlkit_build import pipeline
from mlkit_build.config.roots import builtin
from mlkit_build.engine.action import Action, OutputOf
from mlkit_build.engine.pool import _FIXED
from mlkit_build.engine.worker import PRELOADS
from mlkit_build.recipe import (
    AnySource,
    FrozenGraph,
    Input,
    Keras,
    Npz,
    Output,
    Python,
    Quantization,
    Recipe,
    SavedModel,
    Signature,
    Tf1Checkpoint,
)
from mlkit_build.store import Tree

PROMISE, PROMISE_INT8 = 1.1, 0.6
SAMPLES = 50
"""Calibration samples of the int8 rows."""
TIMED = ("freeze", "convert", "calibrate", "quantize")
"""The actions that the other side has a counterpart to."""

MODEL = """\
from pathlib import Path

import keras
import tensorflow as tf


def mobilenet_v2():
    keras.utils.set_random_seed(7)
    return keras.applications.MobileNetV2(weights=None)


class Whole(tf.Module):
    def __init__(self):
        super().__init__()
        self.model = mobilenet_v2()

    @tf.function(input_signature=[tf.TensorSpec([1, 224, 224, 3], tf.float32, "image")])
    def __call__(self, image):
        return self.model(image, training=False)


class Layer(tf.Module):
    def __init__(self):
        super().__init__()
        self.weights = tf.Variable(tf.ones([784, 10]) / 784)

    @tf.function(input_signature=[tf.TensorSpec([1, 784], tf.float32, "image")])
    def __call__(self, image):
        return tf.nn.softmax(image @ self.weights)


def session():
    prefix = str(Path(__file__).with_name("mobilenet_v1.ckpt"))
    with tf.Graph().as_default():
        running = tf.compat.v1.Session()
        tf.compat.v1.train.import_meta_graph(f"{prefix}.meta").restore(running, prefix)
    return running, {"image": "image:0"}, {"scores": "scores:0"}
"""
"""The user's code of the kind `python`."""


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Attributes:
        model: What the row calls the model.
        source: The source that a recipe would state, with absolute paths.
        theirs: Returns the model as TFLiteConverter's own path makes it.
        inputs: The inputs that the recipe would state; none where the model says them.
        outputs: Likewise, name -> tensor.
        constants: Placeholders that get a value for good.
        calibration: The samples for int8; None converts to float32.
        fails: What the other side says where it cannot convert the model at all.
    """

    model: str
    source: AnySource
    theirs: Callable[[], bytes]
    inputs: Mapping[str, Input] | None = None
    outputs: Mapping[str, str] | None = None
    constants: Mapping[str, Any] | None = None
    calibration: Npz | None = None
    fails: str = ""

    @property
    def title(self) -> str:
        return f"{self.source.kind} {self.model}{' int8' if self.calibration else ''}"

    @property
    def promise(self) -> float:
        return PROMISE_INT8 if self.calibration else PROMISE

    def actions(self, folder: Path) -> list[Action]:
        """Return the actions of a build of this model that are timed; `folder` is what relative paths are relative to."""
        recipe = Recipe(
            name="model",
            source=self.source,
            signature=Signature(
                inputs=self.inputs or {},
                outputs={name: Output(tensor=tensor) for name, tensor in (self.outputs or {}).items()},
                constants=self.constants or {},
            ),
            calibration=self.calibration,
            quantization=Quantization(mode="int8" if self.calibration else "float32"),
        )
        files = pipeline.load(recipe, folder, lambda path, *_: Path(path))
        return [action for action in pipeline.actions(recipe, files) if action.name in TIMED]


def main() -> int:
    """Run the benchmark; with --check, return 1 where a promise does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--models", type=Path, help="a folder with models made by others: those in `by_others` that it holds")
    parser.add_argument("--only", default="", help="only rows whose kind and model contain this text")
    parser.add_argument("--check", action="store_true", help="end with exit code 1 where a promise is broken")
    options = parser.parse_args()
    print(machine("mlkit-build", "tensorflow", "keras", "ai-edge-quantizer"))
    import_runtimes()
    broken = []
    with tempfile.TemporaryDirectory(prefix="mlkit-build-sources-") as name:
        folder = Path(name)
        in_child(lambda: make_models(folder), folder)
        cases = [*made_here(folder), *(by_others(options.models.absolute()) if options.models else ())]
        chosen = [case for case in cases if options.only in case.title]
        print(f"{'kind':<15}{'model':<38}{'ours':>8}{'theirs':>9}{'ratio':>8}  {'middle half':<15}promise")
        for case in chosen:
            if not measured(case, folder, options.pairs):
                broken.append(case.title)
    print(f"{len(chosen)} rows, promise broken in {len(broken)}" + (f": {', '.join(broken)}" if broken else ""))
    return 1 if options.check and broken else 0


def import_runtimes() -> None:
    """Import what both sides use, in the environment of the actions, and run nothing: a child may then be forked."""
    os.environ.update(_FIXED)
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    sys.dont_write_bytecode = False  # the actions strip PYTHONDONTWRITEBYTECODE too: nothing is compiled twice
    silenced, errors = os.open(os.devnull, os.O_WRONLY), os.dup(2)
    os.dup2(silenced, 2)
    for module in (*PRELOADS["tensorflow"], *PRELOADS["quantizer"]):
        import_module(module)
    os.dup2(errors, 2)
    gc.collect()
    gc.freeze()


def measured(case: Case, folder: Path, pairs: int) -> bool:
    """Print the row of one model; return whether its promise holds."""
    ours = folder / "ours"
    ours.mkdir(exist_ok=True)
    theirs = folder / "theirs.tflite"
    actions = case.actions(folder)
    print(f"{case.source.kind:<15}{case.title.partition(' ')[2]:<38}", end="", flush=True)
    if case.fails:
        reason = failure(lambda: theirs.write_bytes(case.theirs()), folder)
        assert case.fails in reason, f"expected that it fails with {case.fails!r}, found {reason!r}"
        seconds = median(build(actions, ours) for _ in range(pairs))
        print(f"{seconds:8.3f}   it fails: {case.fails}")
        return True
    result = paired(lambda: build(actions, ours), lambda: in_child(lambda: theirs.write_bytes(case.theirs()), folder), pairs)
    if not case.calibration:
        in_child(lambda: same_answers(ours / "float.tflite", theirs), folder)
    print(row(result, case.promise))
    return result.ratio <= case.promise


def row(result: Paired, promise: float) -> str:
    """Return the figures of one row."""
    ratios = sorted(result.ratios)
    low, high = ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]
    kept = "kept" if result.ratio <= promise else "NOT kept"
    times = f"{median(result.ours):8.3f} {median(result.theirs):8.3f}{result.ratio:8.2f}"
    return f"{times}  {f'{low:.2f} to {high:.2f}':<15}{promise:g} {kept}"


def build(actions: Iterable[Action], folder: Path) -> float:
    """Run the actions one after the other, each in a child and in a folder of its own; return the seconds of their work."""
    seconds = 0.0
    for action in actions:
        inputs = placed(action, folder)
        module, _, name = action.function.partition(":")
        seconds += in_child(lambda: getattr(import_module(module), name)(action.params, inputs, folder), folder)  # noqa: B023
    return seconds


def placed(action: Action, folder: Path) -> dict[str, Path]:
    """Return where the inputs of an action are, when all outputs are in one folder."""

    def place(item: Path | Tree | OutputOf) -> Path:
        if isinstance(item, OutputOf):
            return folder / item.file
        return item.root if isinstance(item, Tree) else item

    return {name: place(item) for name, item in action.inputs.items()}


def in_child(work: Callable[[], Any], folder: Path) -> float:
    """Do the work in a forked child with an empty current folder; return the seconds that it took there.

    Raises:
        RuntimeError: It failed; has what it printed.
    """
    with tempfile.TemporaryDirectory(dir=folder) as current, tempfile.TemporaryFile(dir=folder) as log:
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
                os.chdir(current)
                started = time.perf_counter()
                work()
                os.write(write, repr(time.perf_counter() - started).encode())
                status = 0
            except BaseException:
                traceback.print_exc()
                sys.stderr.flush()
            finally:
                os._exit(status)
        os.close(write)
        with os.fdopen(read) as pipe:
            said = pipe.read()
        _, status = os.waitpid(child, 0)
        if status or not said:
            log.seek(0)
            raise RuntimeError(f"a child ended with status {status}:\n{log.read().decode(errors='replace')}")
    return float(said)


def failure(work: Callable[[], Any], folder: Path) -> str:
    """Return what the work prints when it fails, which it is expected to."""
    try:
        in_child(work, folder)
    except RuntimeError as error:
        return str(error)
    return "it does not fail"


def same_answers(ours: Path, theirs: Path) -> None:
    """Make sure that two models compute the same, on one random input."""
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    found = []
    for path in (ours, theirs):
        interpreter = Interpreter(model_path=str(path))
        interpreter.allocate_tensors()
        for given in sorted(interpreter.get_input_details(), key=lambda item: tuple(item["shape"])):
            values = np.random.default_rng(7).random(given["shape"])
            interpreter.set_tensor(given["index"], values.astype(given["dtype"]))
        interpreter.invoke()
        found.append([interpreter.get_tensor(item["index"]) for item in interpreter.get_output_details()])
    for mine, other in zip(*found, strict=True):
        np.testing.assert_allclose(mine.reshape(other.shape), other, rtol=1e-3, atol=1e-4)


# The models


def make_models(folder: Path) -> None:
    """Make the models of `made_here`, with random weights."""
    import keras
    import numpy as np
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    (folder / "model.py").write_text(MODEL, encoding="utf-8")
    keras.utils.set_random_seed(7)
    mobilenet = keras.applications.MobileNetV2(weights=None)
    layers = keras.layers
    cnn = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(16, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(10, activation="softmax"),
        ]
    )
    lstm = keras.Sequential([keras.Input((28, 28), batch_size=1), layers.LSTM(64), layers.Dense(10, activation="softmax")])
    for name, model in {"mobilenet_v2": mobilenet, "cnn": cnn, "lstm": lstm}.items():
        model.save(folder / f"{name}.keras")
        model.save(folder / f"{name}.h5")
        signature = [tf.TensorSpec(model.inputs[0].shape, name="image")]  # left alone, Keras opens the batch of the LSTM
        model.export(folder / name, input_signature=signature, verbose=False)
    function = tf.function(mobilenet).get_concrete_function(tf.TensorSpec([1, 224, 224, 3], name="image"))
    frozen = convert_variables_to_constants_v2(function, lower_control_flow=False).graph.as_graph_def()
    (folder / "mobilenet_v2.pb").write_bytes(frozen.SerializeToString())
    random = np.random.default_rng(7)
    np.savez(folder / "photos.npz", images=random.integers(0, 256, (SAMPLES, 224, 224, 3), dtype=np.uint8))
    np.savez(folder / "digits.npz", images=random.integers(0, 256, (SAMPLES, 28, 28, 1), dtype=np.uint8))
    make_tf1_models(folder)


def make_tf1_models(folder: Path) -> None:
    """Make a network like MobileNetV1 in the way of TensorFlow 1: as a checkpoint, a SavedModel and a frozen graph."""
    import tensorflow as tf

    tf1 = tf.compat.v1
    with tf.Graph().as_default(), tf1.Session() as session:
        tf1.disable_resource_variables()
        image = tf1.placeholder(tf.float32, [None, 224, 224, 3], "image")
        values = tf1_block(image, "conv", 16, 2)
        for index, (depth, stride) in enumerate(
            [(32, 1), (64, 2), (64, 1), (128, 2), (128, 1), (256, 2), *[(256, 1)] * 5, (512, 2)]
        ):
            kernel = tf1.get_variable(f"depthwise_{index}", [3, 3, values.shape[-1], 1])
            values = tf.nn.depthwise_conv2d(values, kernel, [1, stride, stride, 1], "SAME")
            values = tf1_block(values, f"pointwise_{index}", depth, 1)
        weights = tf1.get_variable("weights", [512, 1000])
        scores = tf.nn.softmax(tf.reduce_mean(values, [1, 2]) @ weights, name="scores")
        session.run(tf1.global_variables_initializer())
        tf1.train.Saver().save(session, str(folder / "mobilenet_v1.ckpt"), write_state=False)
        tf1.saved_model.simple_save(session, str(folder / "mobilenet_v1"), {"image": image}, {"scores": scores})
        frozen = tf1.graph_util.convert_variables_to_constants(session, session.graph.as_graph_def(), ["scores"])
        (folder / "mobilenet_v1.pb").write_bytes(frozen.SerializeToString())


def tf1_block(values: Any, name: str, depth: int, stride: int) -> Any:
    """Return 1x1 convolution, batch normalization and ReLU6 of `values`."""
    import tensorflow as tf

    tf1 = tf.compat.v1
    with tf1.variable_scope(name):
        kernel = tf1.get_variable("kernel", [1, 1, values.shape[-1], depth])
        values = tf.nn.conv2d(values, kernel, stride, "SAME")
        normal = [tf1.get_variable(part, [depth], initializer=tf.ones_initializer()) for part in ("scale", "mean", "variance")]
        values, *_ = tf1.nn.fused_batch_norm(
            values, normal[0], tf1.get_variable("offset", [depth]), normal[1], normal[2], is_training=False
        )
        return tf.nn.relu6(values)


def made_here(folder: Path) -> Iterator[Case]:
    """Yield the rows of the models that `make_models` makes, and of the checkpoints that the recipes bring."""
    for suffix in ("keras", "h5"):
        for name in ("mobilenet_v2", "cnn", "lstm"):
            path = str(folder / f"{name}.{suffix}")
            yield Case(f"{name}.{suffix}", Keras(path=path), lambda path=path: from_keras(path))
    for name, samples in (("mobilenet_v2", "photos"), ("cnn", "digits")):
        path, data = str(folder / f"{name}.keras"), folder / f"{samples}.npz"
        yield Case(
            f"{name}.keras",
            Keras(path=path),
            lambda path=path, data=data: from_keras(path, data),
            inputs={"image": Input(mean=(127.5,), std=(127.5,))},
            calibration=Npz(path=str(data), features={"image": "images"}),
        )
    for name in ("mobilenet_v2", "cnn", "lstm"):
        path = str(folder / name)
        yield Case(f"{name} (TF2)", SavedModel(path=path), lambda path=path: from_saved_model(path))
    path = str(folder / "mobilenet_v1")
    yield Case("mobilenet_v1 (TF1)", SavedModel(path=path), lambda: from_saved_model_v1(str(folder / "mobilenet_v1")))
    for name, output in (("mobilenet_v2", "Identity"), ("mobilenet_v1", "scores")):
        yield frozen_graph(f"{name}.pb", folder / f"{name}.pb", {"image": (1, 224, 224, 3)}, output)
    yield checkpoint("mobilenet_v1.ckpt", folder / "mobilenet_v1.ckpt", Input(tensor="image:0"), "scores:0")
    recipes = builtin("recipes")
    yield checkpoint(
        "recipe mnist", recipes / "mnist/model/mnist.ckpt", Input(tensor="image:0"), "logits:0", {"keep_prob:0": 1.0}
    )
    loop = checkpoint(
        "recipe digits_lstm, dynamic_rnn", recipes / "digits_lstm/model/digits_lstm.ckpt", Input(tensor="rows:0"), "logits:0"
    )
    yield replace(loop, fails="'tf.TensorArrayV3' op is neither a custom op nor a flex op")
    module = folder / "model.py"
    for model, name, theirs in (
        ("Keras mobilenet_v2", "mobilenet_v2", from_python_keras),
        ("tf.function mobilenet_v2", "Whole", from_python_function),
        ("tf.function of one layer", "Layer", from_python_function),
        ("session mobilenet_v1", "session", from_python_session),
    ):
        stated = Python(function=f"{module.name}:{name}", files=("mobilenet_v1.ckpt*",) if name == "session" else ())
        yield Case(model, stated, lambda name=name, theirs=theirs: theirs(module, name))


def by_others(folder: Path) -> Iterator[Case]:
    """Yield a row for each of these models that the folder holds; where they come from stands in its README."""
    for name in ("pretrainedResnet.h5", "emotion_model.hdf5", "digit_classifier_model.keras"):
        path = folder / "keras" / name
        if path.is_file():
            loader = "tf_keras" if name == "emotion_model.hdf5" else "keras"
            yield Case(name, Keras(path=str(path)), lambda path=str(path), loader=loader: from_keras(path, loader=loader))
    for name, convert, fails in (
        ("half_plus_two_tf2_cpu/00000123", from_saved_model, ""),
        ("kws_ref_model", from_saved_model, ""),
        ("half_plus_two_cpu/00000123", from_saved_model_v1, "SavedModels with assets/ directory are not supported"),
    ):
        path = folder / "saved_model" / name
        if path.is_dir():
            chosen = SavedModel(path=str(path), signature="serving_default")
            theirs = partial(convert, str(path))
            yield Case(name.partition("/")[0], chosen, theirs, fails=fails)
    for name, shapes, output in (
        ("mobilenet_v1_025_128/frozen_graph.pb", {"input": (1, 128, 128, 3)}, "MobilenetV1/Predictions/Reshape_1"),
        ("cpm/model.pb", {"image": (1, 192, 192, 3)}, "Convolutional_Pose_Machine/stage_5_out"),
        ("mnist_fc-layers.pb", {"X": (1, 784)}, "output"),
    ):
        path = folder / "frozen_graph" / name
        if path.is_file():
            yield frozen_graph(name, path, shapes, output)
    for name, image, output, constants, fails in (
        ("gtsrb_lenet/lenet", Input(tensor="Placeholder:0"), "Add_2:0", {"Placeholder_2:0": 1.0}, ""),
        (
            "v1_format_mnist/model.ckp",
            Input(tensor="feature:0", shape=(1, 28, 28, 1)),
            "fc1_1/add:0",
            {},
            "'tf.VariableV2' op is illegal",
        ),
    ):
        path = folder / "tf1_checkpoint" / name
        if path.with_name(f"{path.name}.meta").is_file():
            yield replace(checkpoint(name, path, image, output, constants), fails=fails)


def frozen_graph(model: str, path: Path, shapes: Mapping[str, tuple[int, ...]], output: str) -> Case:
    """Return the row of a frozen graph."""
    return Case(
        model,
        FrozenGraph(path=str(path)),
        lambda: from_frozen_graph(path, shapes, output),
        {name: Input(tensor=f"{name}:0", shape=shape) for name, shape in shapes.items()},
        {"output": f"{output}:0"},
    )


def checkpoint(model: str, prefix: Path, image: Input, output: str, constants: Mapping[str, Any] | None = None) -> Case:
    """Return the row of a TensorFlow 1 checkpoint."""
    return Case(
        model,
        Tf1Checkpoint(path=str(prefix)),
        lambda: from_checkpoint(str(prefix), image, output, constants or {}),
        {"image": image},
        {"output": output},
        constants,
    )


# The other side: each function returns a model as TensorFlow's guide says for its kind


def from_keras(path: str, samples: Path | None = None, loader: str = "keras") -> bytes:
    return from_keras_model(import_module(loader).models.load_model(path, compile=False), samples)


def from_keras_model(model: Any, samples: Path | None = None) -> bytes:
    import numpy as np
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if samples:
        images = np.load(samples)["images"]
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([image[np.newaxis] / np.float32(127.5) - 1] for image in images)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    return bytes(converter.convert())


def from_saved_model(path: str) -> bytes:
    import tensorflow as tf

    return bytes(tf.lite.TFLiteConverter.from_saved_model(path, signature_keys=["serving_default"]).convert())


def from_saved_model_v1(path: str) -> bytes:
    import tensorflow as tf

    return bytes(tf.compat.v1.lite.TFLiteConverter.from_saved_model(path, signature_key="serving_default").convert())


def from_frozen_graph(path: Path, shapes: Mapping[str, tuple[int, ...]], output: str) -> bytes:
    import tensorflow as tf

    converter = tf.compat.v1.lite.TFLiteConverter
    wanted = {name: list(shape) for name, shape in shapes.items()}
    return bytes(converter.from_frozen_graph(str(path), list(shapes), [output], wanted).convert())


def from_checkpoint(prefix: str, image: Input, output: str, constants: Mapping[str, Any]) -> bytes:
    import tensorflow as tf

    tf1 = tf.compat.v1
    with tf.Graph().as_default() as graph, tf1.Session() as session:
        values = {name: tf.constant(value) for name, value in constants.items()}
        if image.shape:
            values[image.tensor] = tf1.placeholder(tf.float32, image.shape, "pinned")
        tf1.train.import_meta_graph(f"{prefix}.meta", clear_devices=True, input_map=values).restore(session, prefix)
        given = values[image.tensor] if image.shape else graph.get_tensor_by_name(image.tensor)
        result = graph.get_tensor_by_name(output)
        return bytes(tf1.lite.TFLiteConverter.from_session(session, [given], [result]).convert())


def from_python_keras(module: Path, name: str) -> bytes:
    return from_keras_model(imported(module, name))


def from_python_function(module: Path, name: str) -> bytes:
    import tensorflow as tf

    model = imported(module, name)
    # Given the module too, as the guide has it, TensorFlow 2.21 drops the weights of a Keras model in it: the result says NaN.
    return bytes(tf.lite.TFLiteConverter.from_concrete_functions([model.__call__.get_concrete_function()]).convert())


def from_python_session(module: Path, name: str) -> bytes:
    import tensorflow as tf

    session, *ends = imported(module, name)
    tensors = [[session.graph.get_tensor_by_name(tensor) for tensor in end.values()] for end in ends]
    return bytes(tf.compat.v1.lite.TFLiteConverter.from_session(session, *tensors).convert())


def imported(module: Path, name: str) -> Any:
    sys.path.insert(0, str(module.parent))
    return getattr(import_module(module.stem), name)()


if __name__ == "__main__":
    sys.exit(main())
