"""One small model, `y = relu(x w + b)`, as people keep models: every kind of source, and every form of a kind.

The weights are the same everywhere, so that one line of NumPy says what each form must answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mlkit_build.adapters import FrozenModel
from mlkit_build.graphs import OpenedModel
from mlkit_build.recipe import FrozenGraph
from mlkit_build.stages.freeze import freeze_model
from mlkit_build.stages.params import FreezeInput, FreezeParams
from tests.sources.tf1 import save, session

WEIGHTS = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)
BIAS = np.array([0.5, -0.25, 0.125], np.float32)


def answer(x: Any) -> NDArray[np.float32]:
    """Return what the model answers to `x`, `[batch, 4] float32`."""
    found: NDArray[np.float32] = np.maximum(np.asarray(x) @ WEIGHTS + BIAS, 0)
    return found


def frozen(
    model: OpenedModel,
    inputs: Mapping[str, FreezeInput] | None = None,
    outputs: Mapping[str, str | None] | None = None,
    constants: Mapping[str, Any] | None = None,
) -> FrozenModel:
    """Freeze an opened model; what is not stated is left to its own signature."""
    return freeze_model(model, FreezeParams(FrozenGraph(path=""), inputs or {}, outputs or {}, constants or {}))


# TensorFlow 1 -------------------------------------------------------------------------------------------------------------


def network(tf1: Any) -> tuple[Any, Any]:
    """Build the model in the default graph; return x and y."""
    x = tf1.placeholder("float32", [None, 4], name="x")
    w, b = tf1.get_variable("w", initializer=WEIGHTS), tf1.get_variable("b", initializer=BIAS)
    return x, tf1.nn.relu(tf1.matmul(x, w) + b, name="y")


@contextmanager
def trained() -> Iterator[tuple[Any, Any, Any, Any]]:
    """Yield (tf.compat.v1, session, x, y) with the variables initialized."""
    with session() as (tf1, running):
        x, y = network(tf1)
        running.run(tf1.global_variables_initializer())
        yield tf1, running, x, y


def checkpoint(prefix: Path, **saver: Any) -> None:
    """Save a checkpoint with its `.meta` file."""
    with trained() as (_, running, _, _):
        save(running, prefix, **saver)


def graph_def(constants: bool) -> Any:
    """Return the GraphDef, with constants or with its variables."""
    with trained() as (tf1, running, _, _):
        whole = running.graph.as_graph_def()
        return tf1.graph_util.convert_variables_to_constants(running, whole, ["y"]) if constants else whole


def write_graph(path: Path, constants: bool) -> None:
    """Write the GraphDef, as text where the name says so."""
    from google.protobuf import text_format

    path.parent.mkdir(parents=True, exist_ok=True)
    graph = graph_def(constants)
    text = path.suffix == ".pbtxt"
    path.write_bytes(text_format.MessageToString(graph).encode() if text else graph.SerializeToString(deterministic=True))


def saved_model_v1(
    folder: Path,
    signatures: Sequence[str] = ("serving_default",),
    tags: Sequence[str] = ("serve",),
    second: Sequence[str] | None = None,
    text: bool = False,
) -> None:
    """Save as TensorFlow 1 does: inputs `image`, outputs `scores`.

    Args:
        folder: Where.
        signatures: Their keys. The first gives y, every other one 2 y.
        tags: Of the first graph.
        second: Tags of a second graph, whose signature gives 2 y.
        text: As `saved_model.pbtxt`.
    """
    with trained() as (tf1, running, x, y):
        twice = tf1.multiply(y, 2.0, name="twice")
        declared = tf1.saved_model.predict_signature_def
        keys = {key: declared({"image": x}, {"scores": twice if index else y}) for index, key in enumerate(signatures)}
        builder = tf1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(running, list(tags), signature_def_map=keys)
        if second is not None:
            builder.add_meta_graph(list(second), signature_def_map={"serving_default": declared({"image": x}, {"scores": twice})})
        builder.save(as_text=text)


# TensorFlow 2 -------------------------------------------------------------------------------------------------------------


def module(assets: Path | None = None) -> Any:
    """Return a tf.Module with the methods `scores` (y) and `doubled` (2 y), and with an asset where a folder for it is given."""
    import tensorflow as tf

    spec = tf.TensorSpec([None, 4], tf.float32, name="image")

    class Network(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w, self.b = tf.Variable(WEIGHTS, name="w"), tf.Variable(BIAS, name="b")
            if assets is not None:
                (assets / "vocabulary.txt").write_text("one\ntwo\n")
                self.vocabulary = tf.saved_model.Asset(str(assets / "vocabulary.txt"))

        @tf.function(input_signature=[spec])
        def scores(self, x: Any) -> Any:
            return {"scores": tf.nn.relu(x @ self.w + self.b)}

        @tf.function(input_signature=[spec])
        def doubled(self, x: Any) -> Any:
            return {"scores": 2 * tf.nn.relu(x @ self.w + self.b)}

    return Network()


def saved_model_v2(folder: Path, signatures: Mapping[str, str] | None = None, assets: Path | None = None) -> None:
    """Save as TensorFlow 2 does: signature key -> method; with an asset where a folder for it is given."""
    import tensorflow as tf

    model = module(assets)
    methods = {"serving_default": "scores"} if signatures is None else signatures
    tf.saved_model.save(model, str(folder), signatures={key: getattr(model, name) for key, name in methods.items()})


# Keras --------------------------------------------------------------------------------------------------------------------


def keras_of(generation: int) -> Any:
    """Return the package of a generation of Keras, or skip the test, saying so, where Keras 2 is not installed."""
    if generation == 3:
        import keras

        return keras
    return pytest.importorskip("tf_keras", reason="Keras 2 is not installed: pip install 'mlkit-build[keras2]'")


def keras_model(generation: int) -> Any:
    """Return the model as Keras keeps it: input `image`, output `scores`."""
    keras = keras_of(generation)
    dense = keras.layers.Dense(3, activation="relu", name="scores")
    model = keras.Sequential([keras.layers.Input((4,), name="image"), dense])
    dense.set_weights([WEIGHTS, BIAS])
    return model


def keras_file(path: Path, generation: int) -> Path:
    """Save the model; `.hdf5`, which Keras 3 no longer writes, is a renamed `.h5`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    named = path.with_suffix(".h5") if path.suffix == ".hdf5" else path
    keras_model(generation).save(named)
    return named.rename(path)


# Python -------------------------------------------------------------------------------------------------------------------

_NUMBERS = """
import numpy as np
import tensorflow as tf

W = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)
B = np.array([0.5, -0.25, 0.125], np.float32)
SPEC = tf.TensorSpec([None, 4], tf.float32, name="image")
"""

FUNCTIONS = {
    "keras": """
def build():
    import keras
    dense = keras.layers.Dense(3, activation="relu", name="scores")
    model = keras.Sequential([keras.layers.Input((4,), name="image"), dense])
    dense.set_weights([W, B])
    return model
""",
    "keras_subclass": """
def build():
    import keras

    class Network(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(3, activation="relu")

        def call(self, image):
            return {"scores": self.dense(image)}

    model = Network()
    model(W.T)
    model.dense.set_weights([W, B])
    return model
""",
    "function": """
def build():
    w, b = tf.Variable(W), tf.Variable(B)

    @tf.function(input_signature=[SPEC])
    def scores(x):
        return {"scores": tf.nn.relu(x @ w + b)}

    return scores
""",
    "module": """
class Network(tf.Module):
    def __init__(self):
        super().__init__()
        self.w, self.b = tf.Variable(W), tf.Variable(B)

    @tf.function(input_signature=[SPEC])
    def __call__(self, x):
        return {"scores": tf.nn.relu(x @ self.w + self.b)}


def build():
    return Network()
""",
    "session": """
def build():
    tf1 = tf.compat.v1
    session = tf1.Session(graph=tf.Graph())
    with session.graph.as_default():
        x = tf1.placeholder("float32", [None, 4], name="x")
        w, b = tf1.get_variable("w", initializer=W), tf1.get_variable("b", initializer=B)
        y = tf.nn.relu(tf.matmul(x, w) + b)
        session.run(tf1.global_variables_initializer())
    return session, {"image": x}, {"scores": y}
""",
    "arguments": """
def build(columns, scale):
    w = tf.constant(W[:, :columns])
    return tf.function(lambda x: {"scores": tf.nn.relu(x @ w + B[:columns]) * scale}, input_signature=[SPEC])
""",
}


def python_file(folder: Path, form: str) -> None:
    """Write `model.py` with a function `build` that returns the model in one of the forms of FUNCTIONS."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.py").write_text(_NUMBERS + FUNCTIONS[form])


# Every form ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Form:
    """One way to keep the model.

    Attributes:
        write: Writes its files into a recipe's folder.
        source: The recipe's `source`.
        signature: The recipe's `signature`; empty where the model says it itself.
        names: Its input and its output.
        factor: What the answers of the model are multiplied by.
    """

    write: Callable[[Path], Any]
    source: Mapping[str, Any]
    signature: Mapping[str, Any] = field(default_factory=dict)
    names: tuple[str, str] = ("image", "scores")
    factor: float = 1.0


_XY = {"inputs": {"image": {"tensor": "x:0"}}, "outputs": {"scores": {"tensor": "y"}}}
_V1, _V2, _PB = "tf1_checkpoint", "saved_model", "frozen_graph"


def _of_checkpoint(path: str, write: Callable[[Path], Any], **more: Any) -> Form:
    return Form(write, {"kind": _V1, "path": path, **more}, _XY)


def _in_format_v1(folder: Path) -> None:
    from tensorflow.core.protobuf import saver_pb2

    checkpoint(folder / "net", write_version=saver_pb2.SaverDef.V1)


def _two_in_a_folder(folder: Path) -> None:
    checkpoint(folder / "model" / "net-1")
    checkpoint(folder / "model" / "net-2")
    (folder / "model" / "checkpoint").write_text('model_checkpoint_path: "/trained/elsewhere/net-2"\n')


def _without_prefix(folder: Path) -> None:
    checkpoint(folder / "model" / "net")
    for path in (folder / "model").iterdir():
        path.rename(path.with_name(path.name.removeprefix("net")))


def _beside_its_graph(name: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        checkpoint(folder / "net")
        (folder / "net.meta").unlink()
        write_graph(folder / name, constants=False)

    return write


def _in_keras(name: str, generation: int) -> Form:
    return Form(lambda folder: keras_file(folder / name, generation), {"kind": "keras", "path": name})


def _in_python(form: str, factor: float = 1.0, image: str = "image", **more: Any) -> Form:
    source = {"kind": "python", "function": "model.py:build", **more}
    return Form(lambda folder: python_file(folder, form), source, names=(image, "scores"), factor=factor)


FORMS = {
    "checkpoint_prefix": _of_checkpoint("net", lambda folder: checkpoint(folder / "net")),
    "checkpoint_meta_file": _of_checkpoint("net.meta", lambda folder: checkpoint(folder / "net")),
    "checkpoint_format_v1": _of_checkpoint("net", _in_format_v1),
    "checkpoint_folder": _of_checkpoint("model", _two_in_a_folder),
    "checkpoint_empty_prefix": _of_checkpoint("model/.meta", _without_prefix),
    "checkpoint_and_graph": _of_checkpoint("net", _beside_its_graph("graph.pb"), graph="graph.pb"),
    "checkpoint_and_text_graph": _of_checkpoint("net", _beside_its_graph("graph.pbtxt"), graph="graph.pbtxt"),
    "checkpoint_inferred": Form(lambda folder: checkpoint(folder / "net"), {"kind": _V1, "path": "net"}, names=("x", "y")),
    "graph_binary": Form(lambda folder: write_graph(folder / "graph.pb", True), {"kind": _PB, "path": "graph.pb"}, _XY),
    "graph_text": Form(lambda folder: write_graph(folder / "graph.pbtxt", True), {"kind": _PB, "path": "graph.pbtxt"}, _XY),
    "graph_inferred": Form(
        lambda folder: write_graph(folder / "graph.pb", True), {"kind": _PB, "path": "graph.pb"}, names=("x", "y")
    ),
    "saved_model_v1": Form(lambda folder: saved_model_v1(folder / "saved"), {"kind": _V2, "path": "saved"}),
    "saved_model_v1_text": Form(lambda folder: saved_model_v1(folder / "saved", text=True), {"kind": _V2, "path": "saved"}),
    "saved_model_v1_tags": Form(
        lambda folder: saved_model_v1(folder / "saved", tags=("train",), second=("serve", "gpu")),
        {"kind": _V2, "path": "saved", "tags": ["gpu", "serve"]},
        factor=2.0,
    ),
    "saved_model_v1_key": Form(
        lambda folder: saved_model_v1(folder / "saved", signatures=("one", "two")),
        {"kind": _V2, "path": "saved", "signature": "two"},
        factor=2.0,
    ),
    "saved_model_v2": Form(lambda folder: saved_model_v2(folder / "saved"), {"kind": _V2, "path": "saved"}),
    "saved_model_v2_default": Form(
        lambda folder: saved_model_v2(folder / "saved", {"doubled": "doubled", "serving_default": "scores"}),
        {"kind": _V2, "path": "saved/saved_model.pb"},
    ),
    "saved_model_v2_key": Form(
        lambda folder: saved_model_v2(folder / "saved", {"doubled": "doubled", "serving_default": "scores"}),
        {"kind": _V2, "path": "saved", "signature": "doubled"},
        factor=2.0,
    ),
    "saved_model_v2_assets": Form(
        lambda folder: saved_model_v2(folder / "saved", assets=folder), {"kind": _V2, "path": "saved", "tags": ["serve"]}
    ),
    "keras3": _in_keras("model.keras", 3),
    "keras3_h5": _in_keras("model.h5", 3),
    "keras3_hdf5": _in_keras("model.hdf5", 3),
    "keras2": _in_keras("model.keras", 2),
    "keras2_h5": _in_keras("model.h5", 2),
    "keras2_hdf5": _in_keras("model.hdf5", 2),
    "python_keras": _in_python("keras"),
    "python_keras_subclass": _in_python("keras_subclass", image="input"),
    "python_function": _in_python("function"),
    "python_module": _in_python("module"),
    "python_session": _in_python("session"),
    "python_arguments": _in_python("arguments", 2.0, arguments={"columns": 3, "scale": 2.0}),
}
