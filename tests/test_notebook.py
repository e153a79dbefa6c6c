"""`build` and `export`: any live model ends as what a recipe would make of it, and the caller's process stays as it was."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlkit_build
from mlkit_build.config.roots import builtin
from mlkit_build.engine.pool import Pool
from mlkit_build.errors import ConfigError, GateError, MlkitBuildError, SourceError
from mlkit_build.notebook import Built, _pool, _quoted, build, export

PIXELS = {"image": {"mean": 0, "std": 255}}


@pytest.fixture(autouse=True, scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, pool: Pool) -> Iterator[None]:
    """One cache and the worker's fork servers for all tests here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLKIT_BUILD_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("MLKIT_BUILD_PATH", raising=False)
        patch.setattr("mlkit_build.notebook._pool", lambda: pool)
        yield


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of every test."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Session:
    """x * w * keep in a TensorFlow 1 graph, with w initialized to 0 and assigned 2."""

    def __init__(self, assigned: bool = True, resource: bool = False) -> None:
        import tensorflow as tf

        self.graph = tf.Graph()
        with self.graph.as_default():
            self.x = tf.compat.v1.placeholder(tf.float32, [1], name="x")
            self.keep = tf.compat.v1.placeholder(tf.float32, [], name="keep")
            self.w = tf.compat.v1.get_variable("w", [], initializer=tf.zeros_initializer(), use_resource=resource)
            self.y = tf.multiply(self.x, self.w, name="y")
            self.kept = tf.multiply(self.y, self.keep, name="kept")
            self.saver = tf.compat.v1.train.Saver()
            self.value = tf.compat.v1.placeholder(tf.float32, [])
            self.assign_to = self.w.assign(self.value, read_value=False)
        self.session = tf.compat.v1.Session(graph=self.graph)
        if assigned:
            self.session.run([self.w.initializer])
            self.session.run(self.assign_to, {self.value: 2.0})


def classifier(seed: int = 0) -> Any:
    """A Keras model: 4 x 4 grey image to 3 logits."""
    import keras

    weights = np.random.default_rng(seed).normal(size=(16, 3)).astype(np.float32)
    model = keras.Sequential(
        [keras.Input((4, 4, 1), name="image"), keras.layers.Flatten(), keras.layers.Dense(3, use_bias=False, name="logits")]
    )
    model.layers[-1].set_weights([weights])
    return model


def images(count: int = 12, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (count, 4, 4), np.uint8)


def run(built: Built, **feeds: Any) -> dict[str, Any]:
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_path=str(built.model)).get_signature_runner("serving_default")
    found: dict[str, Any] = runner(**{name: np.asarray(value, np.float32) for name, value in feeds.items()})
    return found


def digests(built: Built) -> dict[str, str]:
    """Return what must be equal for equal builds: everything but the provenance and the checksums, which cover it."""
    skipped = ("provenance.json", "SHA256SUMS")
    files = sorted(path for path in built.bundle.rglob("*") if path.is_file() and path.name not in skipped)
    return {path.relative_to(built.bundle).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


# Each form of a model


@pytest.mark.parametrize(
    ("stated", "resource"),
    [
        (lambda s: {"inputs": {"x": s.x}, "outputs": {"y": s.y}}, False),
        (lambda s: {"inputs": {"x": s.x}, "outputs": {"y": s.y}}, True),
        (lambda s: {"inputs": {"x": "x:0"}, "outputs": {"y": "y"}}, True),
        (lambda s: {"inputs": [s.x], "outputs": [s.y]}, False),
        (lambda s: {"inputs": "x", "outputs": s.y}, False),
        (lambda s: {"inputs": {"x": {"tensor": s.x, "shape": (np.int64(1),)}}, "outputs": {"y": {"tensor": "y:0"}}}, False),
    ],
    ids=["tensors", "tensors, resource", "names, resource", "list", "single", "mapping"],
)
def test_a_session_is_exported_with_the_values_it_has(stated: Callable[[Session], dict[str, Any]], resource: bool) -> None:
    one = Session(resource=resource)
    built = export(one.session, **stated(one), dataset=np.array([1.0, -3.0], np.float32))
    assert run(built, x=[42.0])["y"].tolist() == [84.0]
    assert built.metrics["max_abs_error"].value == 0


def test_a_session_is_exported_under_other_names() -> None:
    one = Session()
    built = export(one.session, inputs={"number": one.x}, outputs={"twice": one.y})
    assert run(built, number=[4.0])["twice"].tolist() == [8.0]


@pytest.mark.parametrize("key", ["tensor", "keep", "keep:0"])
def test_a_constant_takes_a_placeholders_place(key: str) -> None:
    one = Session()
    constants = {one.keep if key == "tensor" else key: np.float32(0.25)}
    built = export(one.session, inputs=[one.x], outputs=[one.kept], constants=constants)
    assert run(built, x=[4.0])["kept"].tolist() == [2.0]


def test_a_keras_model_is_exported_with_its_own_names() -> None:
    model, picture = classifier(), images(1)[0]
    built = export(model, inputs=PIXELS, dataset=images())
    scaled = picture.reshape(1, 4, 4, 1) / np.float32(255)
    np.testing.assert_allclose(run(built, image=scaled)["logits"], model(scaled).numpy(), atol=1e-6)
    stated = built.manifest["recipe"]["signature"]["inputs"]["image"]
    assert (stated["shape"], stated["mean"], stated["std"]) == ([1, 4, 4, 1], [0.0], [255.0])


def test_a_keras_models_tensors_can_be_stated() -> None:
    model = classifier()
    built = export(model, inputs={"pixels": model.inputs[0]}, outputs={"scores": model.outputs[0]})
    assert list(run(built, pixels=np.zeros((1, 4, 4, 1)))) == ["scores"]
    assert [
        spec["name"] for spec in export(model, inputs=model.inputs, outputs=model.outputs).manifest["signature"]["outputs"]
    ] == ["logits"]


def test_an_open_shape_is_pinned() -> None:
    import keras

    model = keras.Sequential([keras.Input((None, None, 3), name="image"), keras.layers.GlobalAveragePooling2D()])
    with pytest.raises(ConfigError, match=r"image\.shape: missing"):
        export(model)
    built = export(model, inputs={"image": {"shape": [1, 4, 6, 3]}})
    assert built.manifest["signature"]["inputs"][0]["shape"] == [1, 4, 6, 3]


def test_functions_and_modules_are_exported() -> None:
    import tensorflow as tf

    class Scale(tf.Module):  # type: ignore[misc]
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.factor = tf.Variable(factor)

        @tf.function(input_signature=[tf.TensorSpec([2], tf.float32, name="x")])  # type: ignore[untyped-decorator]
        def __call__(self, x: Any) -> dict[str, Any]:
            return {"y": x * self.factor}

    @tf.function(input_signature=[tf.TensorSpec([2], tf.float32, name="x")])  # type: ignore[untyped-decorator]
    def add_one(x: Any) -> Any:
        return x + 1

    concrete = add_one.get_concrete_function()
    assert run(export(Scale(3.0)), x=[1, 2])["y"].tolist() == [3, 6]
    assert run(export(add_one), x=[1, 2])["output"].tolist() == [2, 3]
    assert run(export(concrete, outputs=["output"]), x=[1, 2])["output"].tolist() == [2, 3]
    assert run(export(concrete, outputs={"sum": concrete.outputs[0]}), x=[1, 2])["sum"].tolist() == [2, 3]


def test_a_model_with_two_inputs_is_measured_on_arrays_by_name() -> None:
    import keras

    a, b = keras.Input((3,), name="a"), keras.Input((3,), name="b")
    model = keras.Model([a, b], keras.layers.Subtract(name="difference")([a, b]))
    values = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    built = export(model, dataset={"b": values.T, "a": values[::-1].T})  # neither is in C order
    assert built.metrics["max_abs_error"].value < 1e-6
    with pytest.raises(ConfigError, match="expected name -> array for the inputs a, b, found one array") as caught:
        export(model, dataset=values.T)
    assert "dataset={'a': array, ...}" in caught.value.hint
    with pytest.raises(ConfigError, match=r"dataset\.features\.c: no such input"):
        export(model, dataset={"a": values.T, "c": values.T})


def test_every_option_of_a_recipe_can_be_stated(folder: Path) -> None:
    (folder / "names.txt").write_text("one\ntwo\nthree\n")
    answers = classifier()(images(20).reshape(-1, 4, 4, 1) / np.float32(255)).numpy().argmax(axis=1)
    built = export(
        classifier(),
        inputs=PIXELS,
        outputs={"scores": None},
        name="digits",
        to="out it's ü",
        quantization={"mode": "int8", "io": "uint8"},
        target="image_labeling",
        dataset=(images(20), answers),
        calibration=images(20, seed=1),
        labels=Path("names.txt"),
        adapters=["rgb_to_grayscale", "softmax"],
        validation={"metrics": ("top1",), "gates": {"top1": {"min": np.float32(0.5)}}},
        version="1.2.3",
    )
    assert built.bundle == folder / "out it's ü" / "digits" / "int8_uint8"
    assert built.model == built.bundle / "digits.tflite"
    assert built.manifest["version"] == "1.2.3"
    assert built.metrics["top1"].reference == 1.0
    assert (built.bundle / "labels.txt").read_text() == "one\ntwo\nthree\n"
    assert [(gate.metric, gate.passed) for gate in built.report.gates] == [("top1", True)]
    assert "top-1 accuracy" in repr(built)


def test_labels_may_be_one_hot(folder: Path) -> None:
    scores = classifier()(images(20).reshape(-1, 4, 4, 1).astype(np.float32)).numpy()
    built = export(
        classifier(),
        dataset=(images(20), np.eye(3)[scores.argmax(axis=1)]),
        validation={"metrics": ["top1", "log_loss"]},
        adapters=["softmax"],
    )
    assert built.metrics["top1"].reference == 1.0
    assert built.metrics["log_loss"].value > 0


def test_overrides_come_last(folder: Path) -> None:
    built = export(classifier(), to="here", overrides=["output_dir=there", "quantization=float16"])
    assert built.bundle == folder / "there" / "model" / "float16"


# Same model, same bytes


def test_a_live_session_gives_the_bytes_of_its_checkpoint(folder: Path) -> None:
    one = Session()
    live = export(one.session, inputs={"x": one.x}, outputs={"y": one.y}, name="two")
    recipe = folder / "recipes" / "two"
    recipe.mkdir(parents=True)
    with one.graph.as_default():
        one.saver.save(one.session, str(recipe / "two.ckpt"))
    (recipe / "recipe.yaml").write_text(
        "name: two\nsource: {kind: tf1_checkpoint, path: two.ckpt}\n"
        "signature:\n  inputs: {x: {tensor: x}}\n  outputs: {y: {tensor: y}}\n"
    )
    saved = build("two", "output_dir=saved")
    assert saved.model.read_bytes() == live.model.read_bytes()
    assert (saved.bundle / "report.html").read_bytes() == (live.bundle / "report.html").read_bytes()


@pytest.mark.parametrize("kind", ["keras", "function", "session"])
def test_neither_order_nor_repetition_changes_a_byte(kind: str) -> None:
    import tensorflow as tf

    def exporter(factor: float) -> Callable[[str], Built]:
        if kind == "session":
            live = Session()
            live.session.run(live.assign_to, {live.value: factor})
            return lambda to: export(live.session, inputs=[live.x], outputs=[live.y], to=to)
        if kind == "keras":
            model = classifier(int(factor))
            return lambda to: export(model, to=to, inputs=PIXELS)
        variable = tf.Variable(factor)
        function = tf.function(
            lambda x: x * variable, input_signature=[tf.TensorSpec([1], tf.float32, name="x")], autograph=False
        )
        return lambda to: export(function, to=to)

    first, second = exporter(2.0), exporter(3.0)
    a, b = digests(first("1")), digests(second("2"))
    assert a != b
    assert digests(second("3")) == b
    assert digests(first("4")) == a
    if kind != "keras":  # a Keras model made again has other layer names, which are part of it
        assert digests(exporter(3.0)("5")) == b
        assert digests(exporter(2.0)("6")) == a
    repeated = first("1")
    assert repeated.report.status == "unchanged"
    assert all(result.cached for result in repeated.report.actions)


def test_a_kept_recipe_builds_again_to_the_same_bytes(folder: Path) -> None:
    data = {"dataset": (images(), np.arange(12) % 3), "calibration": images(8, seed=1), "labels": ["a", "b", "c"]}
    kept = folder / "kept, it's ü" / "recipes" / "1e3"
    model = classifier()
    built = export(model, inputs=PIXELS, name="kept", quantization="int8", recipe_dir=kept, **data)
    assert digests(build(kept, "output_dir=again")) == digests(built)
    command = [
        sys.executable,
        "-m",
        "mlkit_build.cli",
        "--root",
        str(kept.parents[1]),
        "recipe='1e3'",
        "output_dir=cli",
        "ui=json",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "built"
    assert (folder / "cli/kept/int8/manifest.json").read_bytes() == (built.bundle / "manifest.json").read_bytes()
    moved = kept.rename(kept.parents[2] / "moved")  # nothing in it says where it is
    assert digests(build(moved, "output_dir=moved")) == digests(built)
    assert str(folder) not in (moved / "recipe.yaml").read_text()
    again = export(model, inputs=PIXELS, name="kept", quantization="int8", recipe_dir=moved, **data)
    assert again.report.status == "unchanged"


def test_a_recipe_that_export_did_not_write_is_kept(folder: Path) -> None:
    own = folder / "own"
    own.mkdir()
    (own / "recipe.yaml").write_text("name: own\n")
    with pytest.raises(ConfigError, match="was not written by export"):
        export(classifier(), recipe_dir=own)
    assert [path.name for path in own.iterdir()] == ["recipe.yaml"]


def test_an_archive_of_samples_is_named_as_seen_from_here(folder: Path) -> None:
    (folder / "data").mkdir()
    np.savez(folder / "data" / "samples.npz", images=images(), wrong=np.arange(12) % 3)
    stated = {"kind": "npz", "path": "data/samples.npz", "features": {"image": "images"}, "samples": 5}
    built = export(classifier(), inputs=PIXELS, dataset=stated, recipe_dir=folder)
    assert built.manifest["recipe"]["dataset"]["path"] == "data/samples.npz"
    assert built.manifest["recipe"]["dataset"]["samples"] == 5


# The caller's model and process stay as they were


def test_neither_graph_nor_session_is_changed() -> None:
    import tensorflow as tf

    one = Session()
    with one.graph.as_default(), one.session.as_default(), tf.compat.v1.variable_scope("scope"):
        before = one.graph.as_graph_def().SerializeToString(deterministic=True)
        export(one.session, inputs=[one.x], outputs=[one.kept], constants={one.keep: 1.0})
        assert one.graph.as_graph_def().SerializeToString(deterministic=True) == before
        assert one.session.run(one.y, {one.x: [4.0]}).tolist() == [8.0]
    one.graph.finalize()
    export(one.session, inputs=[one.x], outputs=[one.y])


def test_exporting_runs_none_of_the_graphs_assignments() -> None:
    import tensorflow as tf

    one = Session(resource=True)
    with one.graph.as_default():
        one.w.assign(5.0)  # ends in a ReadVariableOp that depends on the assignment
        tf.compat.v1.assign_add(one.w, 1.0)
    built = export(one.session, inputs=[one.x], outputs=[one.y])
    assert one.session.run("w/Read/ReadVariableOp:0") == 2.0
    assert run(built, x=[4.0])["y"].tolist() == [8.0]


def test_a_keras_model_keeps_its_weights_and_state() -> None:
    import keras

    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.BatchNormalization(), keras.layers.Dropout(0.5), keras.layers.Dense(2)]
    )
    before = [weight.copy() for weight in model.get_weights()]
    export(model, dataset=np.ones((4, 4), np.float32))
    assert all(map(np.array_equal, before, model.get_weights()))
    assert model.count_params() == sum(weight.size for weight in before)


def test_hydra_is_left_as_it_was() -> None:
    from hydra import compose, initialize
    from hydra.core.config_store import ConfigStore
    from hydra.core.global_hydra import GlobalHydra
    from hydra.version import VersionBase

    store = ConfigStore.instance()
    store.store(group="dataset", name="npz", node={"mine": 1})
    store.store(name="mine", node={"defaults": ["_self_", {"dataset": "npz"}]})
    try:
        with initialize(version_base="1.2", config_path=None):
            running = GlobalHydra.instance()
            hydra, before = running.hydra, compose("mine")
            assert build("add_one", "version=9.0.0").manifest["version"] == "9.0.0"
            assert GlobalHydra.instance() is running
            assert running.hydra is hydra
            assert str(VersionBase.instance().getbase()) == "1.2"
            assert compose("mine") == before
        build("add_one", "version=9.0.0")
        assert not GlobalHydra.instance().is_initialized()
    finally:
        store.repo.pop("dataset")
        store.repo.pop("mine.yaml")


def test_threads_may_build_at_once() -> None:
    versions: list[str] = []

    def work(number: int) -> None:
        versions.append(build("multiply", f"version=1.0.{number}", f"output_dir=dist{number}").manifest["version"])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(versions) == [f"1.0.{number}" for number in range(4)]


WITHOUT_EAGER = """
import hashlib
import tensorflow as tf
tf.compat.v1.disable_eager_execution()
import mlkit_build
x = tf.compat.v1.placeholder(tf.float32, [1], name="x")
w = tf.compat.v1.get_variable("w", [], initializer=tf.zeros_initializer())
y = tf.multiply(x, w, name="y")
session = tf.compat.v1.Session()
session.run(w.assign(2.0))
built = mlkit_build.export(session, inputs={"x": x}, outputs={"y": y}, name="two", to="plain")
print(hashlib.sha256(built.model.read_bytes()).hexdigest())
import keras
try:
    mlkit_build.export(keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]))
except mlkit_build.errors.SourceError as error:
    print(error.hint)
"""


def test_a_program_without_eager_execution_exports_the_same_bytes() -> None:
    one = Session()
    built = export(one.session, inputs={"x": one.x}, outputs={"y": one.y}, name="two")
    done = subprocess.run([sys.executable, "-c", WITHOUT_EAGER], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    digest = hashlib.sha256(built.model.read_bytes()).hexdigest()
    assert done.stdout.splitlines() == [digest, "without eager execution, export the session"]


def test_a_fork_has_servers_of_its_own_and_leaves_those_of_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlkit_build.notebook._pools", {})
    monkeypatch.setattr("atexit.register", lambda function, process: closing.append((function, process)))
    closing: list[tuple[Callable[[int], None], int]] = []
    own = _pool()
    assert _pool() is own
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert _pool() is not own
    function, process = closing[0]
    monkeypatch.setattr(own, "close", lambda: pytest.fail("closed by a fork"))
    function(process)


# build


def test_a_recipe_is_built_by_name_and_with_overrides(folder: Path) -> None:
    built = build("add_one", "quantization=float16", "output_dir=out")
    assert built.bundle == folder / "out" / "add_one" / "float16"
    assert built.metrics["max_abs_error"].value == 0


@pytest.mark.parametrize("stated", [str, Path, lambda path: os.path.relpath(path)], ids=["text", "path", "relative"])
def test_a_recipe_is_built_from_its_folder(stated: Callable[[Path], Any]) -> None:
    assert build(stated(builtin("recipes") / "multiply")).manifest["name"] == "multiply"


def test_a_name_means_the_recipe_and_not_a_folder_of_that_name(folder: Path) -> None:
    (folder / "add_one").mkdir()
    (folder / "add_one" / "recipe.yaml").write_text("nonsense: true\n")
    assert build("add_one").manifest["recipe"]["description"] == "y = x + 1."
    with pytest.raises(ConfigError, match="nonsense"):
        build("./add_one")


def test_a_folders_neighbours_do_not_matter(folder: Path) -> None:
    (folder / "recipes" / "broken").mkdir(parents=True)
    (folder / "recipes" / "broken" / "recipe.yaml").write_text("{")
    kept = folder / "recipes" / "mine"
    export(classifier(), recipe_dir=kept)
    (folder / "conf" / "quantization").mkdir(parents=True)
    (folder / "conf" / "quantization" / "half.yaml").write_text("mode: float16\n")
    os.chdir(folder.parent)
    assert build(kept, "quantization=half").manifest["variant"] == "float16"


@pytest.mark.parametrize("recipe", ["add_on", "", "./nowhere", Path("nowhere"), "conf", "it's, a=b ü"])
def test_what_is_no_recipe_is_refused(folder: Path, recipe: Any) -> None:
    (folder / "conf").mkdir()
    with pytest.raises(ConfigError):
        build(recipe)


# What is wrong is said once, in full, as an error of mlkit-build


def refused(model: Any, **stated: Any) -> MlkitBuildError:
    with pytest.raises(MlkitBuildError) as caught:
        export(model, **stated)
    text = str(caught.value)
    assert not re.search(r"mlkit-build-[0-9a-f]{16}", text), "a folder that is gone by then"
    return caught.value


@pytest.mark.parametrize(
    ("stated", "message", "hint"),
    [
        (lambda s: {}, "a TensorFlow 1 session needs inputs and outputs", "export(session, inputs="),
        (lambda s: {"inputs": [s.x]}, "a TensorFlow 1 session needs inputs and outputs", "export(session, inputs="),
        (lambda s: {"inputs": [s.x], "outputs": [Session(False).y]}, "y:0 is a tensor of another graph", "of that graph"),
        (lambda s: {"inputs": ["z"], "outputs": [s.y]}, "the session's graph has no tensor 'z'", "of that graph"),
        (lambda s: {"inputs": [3], "outputs": [s.y]}, "inputs: expected a tensor of the model or its name, found int", ""),
        (
            lambda s: {"inputs": {"x": {"tenser": s.x}}, "outputs": [s.y]},
            "inputs.x.tenser: no such field",
            "did you mean 'tensor'",
        ),
        (lambda s: {"inputs": [s.x], "outputs": {"y": {"mean": 0}}}, "outputs.y.mean: no such field", ""),
        (lambda s: {"inputs": [s.x], "outputs": [s.kept]}, "depend on the placeholder keep:0", "constants"),
        (
            lambda s: {"inputs": [s.x], "outputs": [s.kept], "constants": {"kep": 1}},
            "signature.constants.kep: no tensor",
            "keep:0",
        ),
    ],
    ids=["neither", "no-outputs", "other-graph", "no-tensor", "number", "field", "output-field", "placeholder", "constant"],
)
def test_a_wrong_signature_is_explained(stated: Callable[[Session], dict[str, Any]], message: str, hint: str) -> None:
    one = Session()
    error = refused(one.session, **stated(one))
    assert message in error.message
    assert hint in error.hint


@pytest.mark.parametrize("resource", [False, True], ids=["ref", "resource"])
def test_an_uninitialized_variable_is_named(resource: bool) -> None:
    one = Session(assigned=False, resource=resource)
    error = refused(one.session, inputs=[one.x], outputs=[one.y])
    assert isinstance(error, SourceError)
    assert "the variable 'w' has no value in the session" in error.message
    assert "initialize or restore the variables" in error.hint


def test_a_closed_session_is_explained() -> None:
    one = Session()
    one.session.close()
    assert "before the session is closed" in refused(one.session, inputs=[one.x], outputs=[one.y]).hint


@pytest.mark.parametrize(
    ("stated", "message", "hint"),
    [
        ({"metrics": ["top1"]}, "export: metrics: unknown field", ""),
        ({"validation": {"gate": 1}}, "export: validation.gate: unknown field", "did you mean 'gates'"),
        ({"source": {"kind": "keras"}}, "source follows from the model", "inputs, outputs and constants"),
        ({"quantization": "int7"}, "quantization=int7: no such choice", "did you mean 'int8' or 'int16x8'?"),
        ({"quantization": "int8"}, "export: calibration: missing", "add `calibration"),
        ({"target": "labeling"}, "target=labeling: no such choice", "image_labeling"),
        ({"name": "../up"}, "export: name: expected letters, digits", ""),
        ({"ui": "loud"}, "ui: expected one of auto, plain", ""),
        ({"inputs": {"image": {"shape": [None, 4, 4, 1]}}}, "inputs.image.shape: expected a number", "pin the batch"),
        ({"inputs": {"image": {"mean": "grey", "std": 1}}}, "inputs.image.mean: expected numbers, found 'grey'", ""),
        ({"inputs": {"image": {"mean": 0}}}, "signature.inputs.image.std: missing", ""),
        ({"dataset": [[1], [1, 2]]}, "dataset.image: expected an array, found something else", ""),
        ({"dataset": iter([1])}, "dataset.image: expected an array of numbers, found list_iterator", "a NumPy array"),
        ({"dataset": (images(), [0], [1])}, "a pair of samples and labels, found 3 things", ""),
        ({"dataset": (images(), np.arange(11))}, "equal numbers of samples", ""),
        ({"dataset": np.zeros((2, 5, 4, 1))}, "dataset", ""),
        ({"dataset": {"kind": "npz", "path": "nowhere.npz", "features": {"image": "a"}}}, "dataset.path: expected a file", ""),
        ({"labels": "nowhere.txt"}, "the path of a file, found 'nowhere.txt'", ""),
        ({"labels": ["a", "b"]}, "labels: labels.txt: expected 3 labels", "each line is a class"),
        ({"description": object()}, "a field is not plain data", "numbers, texts"),
        ({"adapters": ["softmx"]}, "export: adapters[0]: expected one of", "did you mean 'softmax'?"),
        ({"overrides": ["versoin=1"]}, "override 'versoin=1'", "did you mean 'version'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_wrong_argument_is_explained(stated: dict[str, Any], message: str, hint: str) -> None:
    error = refused(classifier(), **stated)
    assert error.exit_code == 2
    assert message in error.message
    assert hint in error.hint


@pytest.mark.parametrize("model", [None, np.zeros(3), "model.keras", Path("model.keras"), lambda x: x])
def test_what_is_no_model_is_refused(model: Any) -> None:
    assert "export: expected a" in refused(model).message


def test_a_failed_gate_raises_and_says_nothing_else(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    error = refused(classifier(), validation={"gates": {"size_bytes": {"max": 10}}})
    assert isinstance(error, GateError)
    assert "size_bytes" in error.message
    assert not (folder / "dist").exists()
    assert capfd.readouterr().err == ""


def test_a_failed_gate_has_what_was_measured_and_shows_it_as_a_table() -> None:
    error = refused(
        classifier(),
        dataset=(images(), np.arange(12) % 3),
        validation={"metrics": ["top1"], "gates": {"size_bytes": {"max": 10}}},
    )
    assert isinstance(error, GateError)
    report = error.report
    assert report is not None
    assert report.error is error
    assert [(verdict.metric, verdict.passed) for verdict in report.gates] == [("size_bytes", False)]
    assert report.metrics is not None
    assert report.metrics["top1"].reference is not None
    assert report.hops is not None
    page: str = report._repr_html_()  # type: ignore[attr-defined]
    for text in ("gate failed", "top-1 accuracy", "at most 10 B FAILED"):
        assert text in page
    assert "top-1 accuracy" in repr(report)


def test_a_gate_on_what_was_not_measured_has_a_report_too() -> None:
    error = refused(classifier(), dataset=images(), validation={"gates": {"pixel_agreement": {"min": 1}}})
    assert isinstance(error, GateError)
    assert error.report is not None
    assert [limit.metric for limit in error.report.unjudged] == ["pixel_agreement"]
    assert "no dataset" not in error.report._repr_html_()  # type: ignore[attr-defined]


# What a notebook shows


def test_the_table_shows_gates_and_links(folder: Path) -> None:
    gates = {"size_bytes": {"max": 10**6}, "top1": {"min": 0.0, "max_drop": 0.5}}
    stated: dict[str, Any] = {"dataset": (images(), np.arange(12) % 3), "name": "my-model"}
    stated["validation"] = {"metrics": ["top1"], "gates": gates}
    model = classifier()
    built = export(model, **stated)
    page = built._repr_html_()
    assert page == export(model, **stated)._repr_html_(), "the second had nothing to do: the table is of the bundle"
    assert str(folder) not in page
    assert "at most 1.0 MB ok" in page
    assert "drop at most 50.00 points ok" in page
    for name in ("my-model.tflite", "report.html", "manifest.json"):
        assert f'<a href="dist/my-model/float32/{name}">{name}</a>' in page
    for outside in ("http:", "https:", "src=", "<script", "<link", "@import"):
        assert outside not in page


def test_the_table_of_a_build_without_samples_has_only_the_size() -> None:
    page = export(classifier())._repr_html_()
    assert ">TensorFlow<" not in page
    assert "Gates" not in page
    assert "not measured: the recipe has no dataset" in page
    assert "model size" in page


def test_the_table_escapes_what_it_did_not_write(folder: Path) -> None:
    built = build("add_one", "version='<b>&'", "output_dir='a&b <i>'")
    page = built._repr_html_()
    assert "<b>&" not in page
    assert "&lt;b&gt;&amp;" in page
    assert "<i>" not in page
    assert "a%26b%20%3Ci%3E/add_one" in page
    os.chdir(folder.parent.parent)
    assert built.model.is_file()
    os.chdir("/")
    assert Path.cwd() == Path("/")


def test_a_bundle_elsewhere_is_linked_as_a_file(folder: Path) -> None:
    built = build("add_one", f"output_dir={folder}/out")
    (folder / "below").mkdir()
    os.chdir(folder / "below")
    assert f'href="{built.model.as_uri()}"' in built._repr_html_()


@pytest.mark.parametrize("text", ["a", "it's", "a\\", "a\\'b", "\\\\", "a,b=c {d} [e]", "1e3", "ü ", "null", "$x"])
def test_any_text_survives_hydras_grammar(text: str) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    override = OverridesParser.create().parse_override(f"recipe={_quoted(text)}")
    assert override.value() == text
    assert not override.is_sweep_override()


def test_the_package_offers_what_the_readme_says() -> None:
    assert mlkit_build.build is build
    assert mlkit_build.export is export
    assert mlkit_build.Built is Built


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"labels": 5}, "export: labels: expected the classes' names, or the path of a labels file, found 5"),
        ({"to": None}, "export: to: expected the folder for bundles, found None"),
        ({"name": 5}, "export: name: expected a text, found 5"),
        ({"constants": 5}, "export: constants: expected a mapping of placeholders and their values, found 5"),
        ({"overrides": "version=1"}, "export: overrides: expected a list of texts"),
        ({"overrides": [5]}, "export: overrides[0]: expected a text"),
        ({"recipe_dir": 5}, "export: recipe_dir: expected a folder, found 5"),
        ({"target": None}, "export: target: expected a target like 'image_labeling', found None"),
        ({"ui": None}, "export: ui: expected one of auto, "),
        ({"inputs": {"image": {"shape": [-1, 4, 4, 1]}}}, "inputs.image.shape: expected a number for every dimension, 1 or more"),
        ({"inputs": {"imgae": None}}, "export: inputs.imgae: the model has no input of that name; it has image"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_an_argument_of_another_kind_is_named(folder: Path, stated: dict[str, Any], message: str) -> None:
    error = refused(classifier(), **stated)
    assert error.exit_code == 2
    assert message in error.message
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("select=smallest", "select=smallest: chooses among the variants of a sweep"),
        ("quantization=float32,float16", "build: takes one build, found quantization=float32,float16"),
    ],
)
def test_a_build_takes_nothing_of_a_sweep(folder: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}") as caught:
        build("add_one", override)
    assert "mlkit-build -m" in caught.value.hint or "add -m" in caught.value.hint
    with pytest.raises(ConfigError, match=message):
        export(classifier(), overrides=[override])
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((None,), "build: recipe: expected a recipe's name, or the path of its folder, found None"),
        (("add_one", 5), "build: overrides[0]: expected a text"),
        (("add_one", ["version=1"]), "build: overrides[0]: expected a text"),
    ],
)
def test_an_argument_of_build_of_another_kind_is_named(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(*arguments)
    assert message in caught.value.message


def test_a_model_that_passes_an_input_on_is_told_how_to_name_the_output() -> None:
    import keras

    x = keras.Input((4,), name="x")
    model = keras.Model(x, {"x": x, "y": keras.layers.Dense(2)(x)})
    error = refused(model)
    assert "'x' names an input and an output" in error.message
    assert error.hint == 'name the output otherwise: outputs={"x_out": "x", "y": "y"}'
    built = export(model, outputs={"x_out": "x", "y": "y"})
    assert [spec["name"] for spec in built.manifest["signature"]["outputs"]] == ["x_out", "y"]


def test_an_output_folder_that_is_a_file_is_the_callers_mistake(folder: Path) -> None:
    (folder / "dist").write_text("mine")
    assert refused(classifier()).exit_code == 2
