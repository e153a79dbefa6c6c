from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mlkit_build.errors import ConfigError, SourceError
from mlkit_build.graphs import OpenedModel
from mlkit_build.sources.live import open_live
from mlkit_build.stages.params import FreezeInput
from tests.sources.models import BIAS, WEIGHTS, answer, frozen, keras_model, keras_of, module, network, trained
from tests.sources.tf1 import digits, run_frozen, session

X = digits(1, [4])
GENERATIONS = pytest.mark.parametrize("generation", [3, 2])


def opened(model: Any) -> OpenedModel:
    return open_live(model, "model.py:build", "source.function")


def refused(model: Any) -> SourceError:
    with pytest.raises(SourceError) as caught:
        frozen(opened(model))
    assert caught.value.message.startswith("source.function: ")
    return caught.value


def names(model: Any) -> tuple[list[str], list[str]]:
    signature = frozen(opened(model)).signature
    return [spec.name for spec in signature.inputs], [spec.name for spec in signature.outputs]


def spec(*shape: int | None, name: str | None = None) -> Any:
    import tensorflow as tf

    return tf.TensorSpec(shape, tf.float32, name=name)


def function(body: Callable[..., Any], *specs: Any) -> Any:
    import tensorflow as tf

    return tf.function(body, input_signature=specs)


# Forms --------------------------------------------------------------------------------------------------------------------


def _keras(generation: int) -> Callable[[], Any]:
    return lambda: keras_model(generation)


def _closure() -> Any:
    import tensorflow as tf

    w, b = tf.Variable(WEIGHTS), tf.Variable(BIAS)
    return function(lambda image: {"scores": tf.nn.relu(image @ w + b)}, spec(None, 4))


def _constants() -> Any:
    import tensorflow as tf

    w, b = tf.constant(WEIGHTS), tf.constant(BIAS)
    return function(lambda image: {"scores": tf.nn.relu(image @ w + b)}, spec(None, 4))


def _concrete() -> Any:
    import tensorflow as tf

    return tf.function(lambda image: {"scores": tf.nn.relu(image @ WEIGHTS + BIAS)}).get_concrete_function(spec(None, 4))


def _with_specs() -> Any:
    import tensorflow as tf

    return tf.function(lambda image: {"scores": tf.nn.relu(image @ WEIGHTS + BIAS)}), [spec(None, 4, name="image")]


def _callable_module() -> Any:
    import tensorflow as tf

    class Network(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = tf.Variable(WEIGHTS)

        @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32)])
        def __call__(self, image: Any) -> Any:
            return {"scores": tf.nn.relu(image @ self.w + BIAS)}

        @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32)])
        def another(self, image: Any) -> Any:
            return image

    return Network()


def _module_of_one_method() -> Any:
    import tensorflow as tf

    class Network(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32)])
        def predict(self, image: Any) -> Any:
            return {"scores": tf.nn.relu(image @ WEIGHTS + BIAS)}

    return Network()


def _module_with_a_function_of_its_own() -> Any:
    import tensorflow as tf

    model = tf.Module()
    model.w = tf.Variable(WEIGHTS)
    model.infer = function(lambda image: {"scores": tf.nn.relu(image @ model.w + BIAS)}, spec(None, 4))
    return model


def _module_with_signatures() -> Any:
    model = module()
    model.signatures = {"serving_default": model.scores.get_concrete_function(), "other": model.doubled.get_concrete_function()}
    return model


FORMS = {
    "keras 3": _keras(3),
    "keras 2": _keras(2),
    "function with variables": _closure,
    "function with captured constants": _constants,
    "concrete function": _concrete,
    "function and specs": _with_specs,
    "module with __call__": _callable_module,
    "module of one method": _module_of_one_method,
    "module with a function of its own": _module_with_a_function_of_its_own,
    "module with signatures": _module_with_signatures,
}


@pytest.mark.parametrize("form", FORMS)
def test_whatever_a_person_would_call_a_model_freezes_to_what_it_computes(form: str) -> None:
    model = frozen(opened(FORMS[form]()))
    assert [(item.name, item.shape) for item in model.signature.inputs] == [("image", (1, 4))]
    assert [(item.name, item.shape) for item in model.signature.outputs] == [("scores", (1, 3))]
    np.testing.assert_allclose(run_frozen(model, {"image": X})[0], answer(X), atol=1e-6)
    ops = {node.op for node in model.graph_def.node}
    assert not ops & {"VarHandleOp", "ReadVariableOp", "StatefulPartitionedCall"}


@pytest.mark.parametrize("form", FORMS)
def test_a_pinned_batch_is_the_one_that_the_graph_has(form: str) -> None:
    model = frozen(opened(FORMS[form]()), {"image": FreezeInput(None, (3, 4))})
    assert model.signature.outputs[0].shape == (3, 3)
    x = digits(3, [4])
    np.testing.assert_allclose(run_frozen(model, {"image": x})[0], answer(x), atol=1e-6)


def test_freezing_changes_neither_the_model_nor_its_graph() -> None:
    with trained() as (_, running, x, y):
        before = running.graph.as_graph_def().SerializeToString(deterministic=True)
        frozen(opened((running, {"image": x}, {"scores": y})))
        assert running.graph.as_graph_def().SerializeToString(deterministic=True) == before
    model = keras_model(3)
    frozen(opened(model))
    np.testing.assert_allclose(np.asarray(model(X)), answer(X), atol=1e-6)


# Names and structures -----------------------------------------------------------------------------------------------------


@GENERATIONS
def test_a_keras_models_several_inputs_and_outputs_keep_names_and_order(generation: int) -> None:
    layers, keras = keras_of(generation).layers, keras_of(generation)
    b, a = layers.Input((2,), name="b"), layers.Input((4,), name="a")
    both = layers.Concatenate()([a, b])
    model = keras.Model([b, a], [layers.Dense(3, name="second")(both), layers.Dense(2, name="first")(both)])
    feeds = {"b": digits(1, [2], 1), "a": digits(1, [4], 2)}
    found = frozen(opened(model))
    assert [spec.name for spec in found.signature.inputs] == ["b", "a"]
    assert [spec.name for spec in found.signature.outputs] == ["second", "first"]
    for ours, theirs in zip(run_frozen(found, feeds), model([feeds["b"], feeds["a"]]), strict=True):
        np.testing.assert_allclose(ours, np.asarray(theirs), atol=1e-6)


@GENERATIONS
def test_a_keras_model_of_mappings_is_fed_by_name(generation: int) -> None:
    layers, keras = keras_of(generation).layers, keras_of(generation)
    inputs = {name: layers.Input((2,), name=name) for name in ("left", "right")}
    model = keras.Model(inputs, layers.Dense(1, name="out")(layers.Subtract()([inputs["left"], inputs["right"]])))
    feeds = {"left": digits(1, [2], 1), "right": digits(1, [2], 2)}
    found = frozen(opened(model))
    np.testing.assert_allclose(run_frozen(found, feeds)[0], np.asarray(model(feeds)), atol=1e-6)


@GENERATIONS
def test_a_subclassed_keras_model_is_traced_as_it_was_called(generation: int) -> None:
    keras = keras_of(generation)

    class Network(keras.Model):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.dense, self.drop = keras.layers.Dense(3), keras.layers.Dropout(0.5)

        def call(self, x: Any, training: bool | None = None) -> Any:
            parts = list(x.values()) if isinstance(x, dict) else x if isinstance(x, (list, tuple)) else [x]
            return {"y": self.drop(self.dense(parts[0]), training=training) + sum(parts[1:], 0.0)}

    model = Network()
    expected = np.asarray(model(X)["y"])
    assert names(model) == (["input"], ["y"])
    np.testing.assert_allclose(run_frozen(frozen(opened(model)), {"input": X})[0], expected, atol=1e-6)
    built = Network()
    built.build((None, 4))
    assert names(built) == (["input"], ["y"])
    listed = Network()
    listed([X, digits(1, [3])])
    assert names(listed) == (["input_0", "input_1"], ["y"])
    mapped = Network()
    mapped({"p": X, "q": digits(1, [3])})
    assert names(mapped) == (["p", "q"], ["y"])
    found = refused(Network())
    assert "has no inputs yet" in found.message
    assert "call it once on a batch" in found.hint


@pytest.mark.parametrize(
    ("body", "outputs"),
    [
        (lambda image: image * 2.0, ["output"]),
        (lambda image: (image * 2.0, image + 1.0), ["output_0", "output_1"]),
        (lambda image: {"b": image * 2.0, "a": image + 1.0}, ["a", "b"]),
        (lambda image: (image * 2.0, None), ["output"]),
        (lambda image: {"same": image, "y": image + 1.0}, ["same", "y"]),
    ],
    ids=["tensor", "tuple", "mapping", "with none", "input passed on"],
)
def test_the_results_of_a_function_are_named_by_their_keys_or_numbered(body: Callable[..., Any], outputs: list[str]) -> None:
    assert names(function(body, spec(1, 4)))[1] == outputs


def test_the_arguments_of_a_function_are_named_by_their_specs_or_themselves() -> None:
    assert names(function(lambda a, b: a - b, spec(1, 4), spec(1, 4)))[0] == ["a", "b"]
    assert names(function(lambda a, b: a - b, spec(1, 4, name="p"), spec(1, 4, name="q")))[0] == ["p", "q"]
    assert names(function(lambda a, b: a - b, spec(1, 4, name="p"), spec(1, 4, name="p")))[0] == ["p", "p_1"]
    assert names(function(lambda d: d["u"] - d["v"], {"v": spec(1, 4), "u": spec(1, 4)}))[0] == ["d_u", "d_v"]


def test_names_that_no_node_may_have_are_kept_for_the_signature() -> None:
    model = frozen(opened(function(lambda x: {"the scores": x * 2.0}, spec(1, 4, name="my input é"))))
    assert (model.signature.inputs[0].name, model.signature.outputs[0].name) == ("my input é", "the scores")
    np.testing.assert_array_equal(run_frozen(model, {"my input é": X})[0], X * 2)


def test_two_arguments_are_not_exchanged() -> None:
    model = frozen(opened(function(lambda a, b: a - 2.0 * b, spec(1, 4), spec(1, 4))))
    a, b = digits(1, [4], 1), digits(1, [4], 2)
    np.testing.assert_allclose(run_frozen(model, {"a": a, "b": b})[0], a - 2 * b, atol=1e-6)


def test_a_size_that_only_running_decides_must_be_pinned_and_then_is() -> None:
    model = opened(function(lambda x: {"y": x * 2.0}, spec(None, None, 3, name="x")))
    with pytest.raises(ConfigError, match=r"signature\.inputs\.x\.shape: missing, and x:0 has dynamic dimensions"):
        frozen(model)
    assert frozen(model, {"x": FreezeInput(None, (1, 5, 3))}).signature.outputs[0].shape == (1, 5, 3)


def test_a_shape_that_the_model_cannot_take_is_the_recipes_mistake() -> None:
    with pytest.raises((SourceError, ConfigError)) as caught:
        frozen(opened(keras_model(3)), {"image": FreezeInput(None, (1, 5))})
    assert "image" in caught.value.message


def test_loops_and_branches_of_a_function_are_kept_with_the_variables_they_read() -> None:
    import tensorflow as tf

    w = tf.Variable(WEIGHTS)

    def body(x: Any) -> Any:
        step = tf.constant(0)
        while step < 3:
            x, step = x * 2.0, step + 1
        if tf.reduce_sum(x) > 0:
            return {"y": x @ w}
        return {"y": -(x @ w)}

    model = frozen(opened(function(body, spec(1, 4, name="x"))))
    for x in (X, -X):
        expected = 8 * x @ WEIGHTS * (1 if x.sum() > 0 else -1)
        np.testing.assert_allclose(run_frozen(model, {"x": x})[0], expected, atol=1e-5)


# A TensorFlow 1 session ---------------------------------------------------------------------------------------------------


def test_a_sessions_tensors_may_be_named_listed_or_given_by_name() -> None:
    with trained() as (_, running, x, y):
        for inputs, outputs, expected in (
            ({"image": x}, {"scores": y}, (["image"], ["scores"])),
            ([x], y, (["x"], ["y"])),
            ({"image": "x:0"}, {"scores": "y"}, (["image"], ["scores"])),
        ):
            assert names((running, inputs, outputs)) == expected
        model = frozen(opened((running, {"image": x}, {"scores": y})))
    np.testing.assert_allclose(run_frozen(model, {"image": X})[0], answer(X), atol=1e-6)


@pytest.mark.parametrize("resource", [False, True])
def test_the_values_are_those_of_the_session_and_not_of_the_initializer(resource: bool) -> None:
    with session() as (tf1, running):
        x = tf1.placeholder("float32", [1, 2], name="x")
        w = tf1.get_variable("w", [2], initializer=tf1.zeros_initializer(), use_resource=resource)
        y = tf1.multiply(x, w, name="y")
        running.run(w.initializer)
        running.run(tf1.assign(w, [2.0, 3.0]))
        model = frozen(opened((running, [x], [y])))
    np.testing.assert_array_equal(run_frozen(model, {"x": np.ones((1, 2), np.float32)})[0], [[2, 3]])


def test_an_uninitialized_variable_is_named() -> None:
    with session() as (tf1, running):
        x, y = network(tf1)
        found = refused((running, [x], [y]))
    assert "the variable 'w' has no value in the session" in found.message
    assert "initialize or restore the variables" in found.hint


def test_tensors_that_are_not_the_sessions_are_named() -> None:
    with session() as (other, _):
        foreign, _ = network(other)
        with trained() as (_, running, x, y):
            assert "inputs: the session's graph has no tensor 'nothing'" in refused((running, ["nothing"], [y])).message
            assert "outputs: the session's graph has no tensor '3'" in refused((running, [x], [3])).message
            assert "x:0 is a tensor of another graph" in refused((running, [foreign], [y])).message


# What is no model ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("thing", "found"),
    [
        (None, "found None"),
        (3, "found builtins.int"),
        ({"a": 1}, "found builtins.dict"),
        ((1, 2), "found a tuple of int, int"),
        ((1, [], []), "found a tuple of int, list, list"),
        (lambda x: x, "found builtins.function"),
        (np.ones(3), "found numpy.ndarray"),
    ],
    ids=["none", "number", "dict", "pair", "triple", "plain function", "array"],
)
def test_what_is_no_model_is_described_beside_what_was_expected(thing: Any, found: str) -> None:
    error = refused(thing)
    assert error.message.startswith("source.function: expected a Keras model, a tf.function")
    assert error.message.endswith(found)
    assert error.hint


def test_a_class_in_place_of_its_object_is_no_model() -> None:
    import keras
    import tensorflow as tf

    assert refused(tf.Module).message.endswith("found builtins.type")
    assert "expected a Keras model" in refused(keras.layers.Dense(3)).message


def test_a_module_of_several_functions_names_them() -> None:
    assert refused(module()).hint == "it has doubled, scores: name one `__call__`, or set `signatures`"


def test_a_function_without_its_shapes_is_told_how_to_state_them() -> None:
    import tensorflow as tf

    found = refused(tf.function(lambda x: x))
    assert "has no input signature" in found.message
    assert "input_signature=[tf.TensorSpec(" in found.hint


def test_a_function_that_returns_nothing_is_told_so() -> None:
    assert "the function returns nothing" in refused(function(lambda x: None, spec(1, 4))).message


@pytest.mark.parametrize("error", [ValueError, AttributeError, ZeroDivisionError, KeyError])
def test_whatever_the_authors_code_raises_while_it_is_traced_is_told(error: type[Exception]) -> None:
    def body(x: Any) -> Any:
        raise error("of the author")

    found = refused(function(body, spec(1, 4)))
    assert "the function cannot be traced" in found.message
    assert error.__name__ in found.message
    assert "of the author" in found.message


def test_a_method_whose_object_is_gone_is_told_to_return_the_object() -> None:
    method = module().scores
    gc.collect()
    assert "return that object" in refused(method).hint


def test_a_concrete_function_whose_variables_are_gone_is_told_so() -> None:
    import tensorflow as tf

    def build() -> Any:
        w = tf.Variable(WEIGHTS)
        return tf.function(lambda x: x @ w).get_concrete_function(spec(1, 4))

    found = refused(build())
    assert "variables of the function were deleted" in found.message
    assert "return that object" in found.hint


@pytest.mark.parametrize("lines", ["too narrow", "too narrow\nby far"])
def test_what_a_layer_raises_while_it_is_traced_is_told_whole(lines: str) -> None:
    import keras

    class Picky(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            if x.shape[0] == 1:
                raise ValueError(lines)
            return x

    inputs = keras.Input((3,), name="x")
    with pytest.raises(SourceError) as caught:
        open_live(keras.Model(inputs, Picky()(inputs)), "notebook", "export").graph({"x": (1, 3)})
    assert caught.value.message == f"export: notebook: the model cannot be traced with x (1, 3): ValueError: {lines}"


def test_outputs_are_declared_with_their_types_and_shapes() -> None:
    import keras

    inputs = keras.Input((3,), name="x")
    model = keras.Model(inputs, {"b": keras.layers.Dense(2)(inputs), "a": keras.layers.Flatten()(inputs)})
    declared = open_live(model, "notebook", "export").declared[0].outputs
    assert [(spec.name, spec.shape, spec.dtype) for spec in declared] == [
        ("a", (None, 3), "float32"),
        ("b", (None, 2), "float32"),
    ]
