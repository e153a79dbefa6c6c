"""What was built before, in the same process or in another one, changes no byte of what is built next."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.conftest import Workspace
from tests.graphs import tf2
from tests.graphs.loops.v1 import Gru, values
from tests.promises.made_by_others import Find, named
from tests.sources.tf1 import constants_only, save, session


def keras_lstm(folder: Path) -> dict[str, Any]:
    import keras

    model = keras.Sequential([keras.Input((6, 4)), keras.layers.LSTM(5), keras.layers.Dense(3)])
    model.set_weights([values(*weight.shape, seed=number) for number, weight in enumerate(model.get_weights())])
    model.save(folder / "model.keras")
    return {"source": {"kind": "keras", "path": "model.keras"}}


def saved_while(folder: Path) -> dict[str, Any]:
    def twice(module: Any, x: Any) -> Any:
        import tensorflow as tf

        return tf.while_loop(lambda i, h: i < 5, lambda i, h: (i + 1, tf.tanh(h @ module.w)), (0, x))[1]

    tf2.saved(twice, folder / "model", (1, 4), w=values(4, 4))
    return {"source": {"kind": "saved_model", "path": "model"}}


def checkpoint(folder: Path) -> dict[str, Any]:
    with session() as (tf1, running):
        x = tf1.placeholder("float32", [None, 8], name="x")
        w = tf1.get_variable("w", initializer=values(8, 3))
        tf1.nn.softmax(tf1.nn.relu(x) @ w, name="y")
        running.run(tf1.global_variables_initializer())
        save(running, folder / "model.ckpt")
    return {"source": {"kind": "tf1_checkpoint", "path": "model.ckpt"}, "signature": named({"x": {"tensor": "x:0"}}, "y:0")}


def python_function(folder: Path) -> dict[str, Any]:
    (folder / "model.py").write_text(
        "import keras\n\n\ndef build():\n    keras.utils.set_random_seed(3)\n"
        "    return keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Conv2D(2, 3), keras.layers.Flatten()])\n"
    )
    return {"source": {"kind": "python", "function": "model.py:build"}}


def frozen_loop(folder: Path) -> dict[str, Any]:
    def build(tf1: Any) -> None:
        x = tf1.placeholder("float32", [1, 5, 3], name="x")
        tf1.identity(tf1.nn.dynamic_rnn(Gru(4, 3), x, dtype="float32")[1], name="y")

    (folder / "model.pb").write_bytes(constants_only(build)[0].SerializeToString())
    return {"source": {"kind": "frozen_graph", "path": "model.pb"}, "signature": named({"x": {"tensor": "x:0"}}, "y:0")}


OURS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "keras_lstm": keras_lstm,
    "checkpoint": checkpoint,
    "python_function": python_function,
    "frozen_loop": frozen_loop,
    "saved_while": saved_while,
}


def theirs(find: Find) -> dict[str, dict[str, Any]]:
    """Return recipes of models that others made: one of each kind of source."""
    lenet = named({"image": {"tensor": "Placeholder:0"}}, "Add_2:0", {"Placeholder_2:0": 1.0})
    return {
        "lenet": {
            "source": {"kind": "tf1_checkpoint", "path": str(find("tf1_checkpoint/gtsrb_lenet/lenet"))},
            "signature": lenet,
        },
        "words": {
            "source": {"kind": "frozen_graph", "path": str(find("frozen_graph/kws_gru.pb"))},
            "signature": named({"x": {"tensor": "Mfcc:0", "shape": [1, 25, 10]}}, "labels_softmax:0"),
        },
        "tiny": {"source": {"kind": "saved_model", "path": str(find("saved_model/kws_ref_model"))}},
        "faces": {"source": {"kind": "keras", "path": str(find("keras/emotion_model.hdf5"))}},
    }


def built(workspace: Workspace, name: str, place: str) -> str:
    """Build without a cache; return the model's digest."""
    report = workspace.build(f"recipe={name}", "cache.enabled=false", f"output_dir={place}", "quantization=dynamic_range")
    assert report.exit_code == 0, report.error
    assert not any(result.cached for result in report.actions)
    return digest(workspace.folder / place / name / "dynamic_range" / f"{name}.tflite")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def in_either_order(workspace: Workspace, names: list[str]) -> None:
    """Build all in this process, and all backwards by one command line in a process of its own, and compare their bytes.

    Each of two models once is built before the other, and the last one once as the first of its process.
    """
    forwards = {name: built(workspace, name, "forwards") for name in names}
    asked = ("-m", f"recipe={','.join(reversed(names))}", "cache.enabled=false", "quantization=dynamic_range", "jobs=1")
    done = workspace.cli(*asked)
    assert done.returncode == 0, done.stderr
    assert {name: digest(workspace.folder / "dist" / name / "dynamic_range" / f"{name}.tflite") for name in names} == forwards
    assert len(set(forwards.values())) == len(names)


def test_any_two_models_built_in_either_order_in_two_processes_give_equal_bytes(workspace: Workspace) -> None:
    for name, make in OURS.items():
        folder = workspace.write(name, {"source": {"kind": "keras", "path": ""}})
        workspace.write(name, make(folder))
    in_either_order(workspace, list(OURS))


def test_any_two_models_made_by_others_built_in_either_order_give_equal_bytes(workspace: Workspace, shared_model: Find) -> None:
    recipes = theirs(shared_model)
    for name, recipe in recipes.items():
        workspace.write(name, recipe)
    in_either_order(workspace, list(recipes))


LIVE = """
import hashlib, sys
import keras, numpy as np
import mlkit_build

def weighted(model):
    random = np.random.default_rng(1)
    model.set_weights([random.normal(size=weight.shape).astype(np.float32) for weight in model.get_weights()])
    return model

def reader():
    steps = keras.Input((6, 4), name="steps")
    return weighted(keras.Model(steps, keras.layers.LSTM(5, name="read")(steps), name="reader"))

def seer():
    image = keras.Input((8, 8, 3), name="image")
    hidden = keras.layers.BatchNormalization(name="norm")(keras.layers.Conv2D(4, 3, name="look")(image))
    return weighted(keras.Model(image, keras.layers.Flatten(name="seen")(hidden), name="seer"))

makers = {"reader": reader, "seer": seer}
order = sys.argv[1:]
models = {name: makers[name]() for name in dict.fromkeys(order)}
for number, name in enumerate(order):
    found = mlkit_build.export(models[name], name=name, to=f"{number}", overrides=["cache.enabled=false"])
    print(name, hashlib.sha256(found.model.read_bytes()).hexdigest())
"""


def exported(folder: Path, *order: str) -> set[tuple[str, str]]:
    """Make live models in a process of its own, and export them in the order given; return name and digest."""
    folder.mkdir()
    done = subprocess.run([sys.executable, "-c", LIVE, *order], cwd=folder, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [name for name, _ in lines] == list(order)
    return {(name, found) for name, found in lines}


def test_live_models_made_and_exported_in_either_order_give_equal_bytes(tmp_path: Path) -> None:
    # Layers have names of their own here: those that Keras makes up count what the process made before, and are in the model.
    together = exported(tmp_path / "one", "reader", "seer", "reader")
    assert len(together) == 2, "the first one, exported twice, is the same bytes"
    assert exported(tmp_path / "two", "seer", "reader") == together


def test_calibrating_another_model_before_changes_nothing(workspace: Workspace) -> None:
    for name in ("mnist", "digits_lstm"):
        workspace.copy(name)
        workspace.edit(name, {"dataset": None, "validation": None})
    found = []
    for order in (("mnist", "digits_lstm"), ("digits_lstm", "mnist")):
        place = "-".join(order)
        for name in order:
            overrides = ("quantization=int8", "cache.enabled=false", "calibration.samples=5", f"output_dir={place}")
            report = workspace.build(f"recipe={name}", *overrides)
            assert report.exit_code == 0, report.error
        found.append({name: digest(workspace.folder / place / name / "int8" / f"{name}.tflite") for name in order})
    assert found[0] == found[1]
