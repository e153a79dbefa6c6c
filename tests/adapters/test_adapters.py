"""What holds for every adapter of the table, and for several in a row."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from mlkit_build.adapters import ADAPTERS, FrozenModel, adapt, parse
from mlkit_build.errors import ConfigError
from tests.adapters.models import (
    Array,
    adapted,
    camera,
    channels_first,
    classifier,
    lite,
    luma,
    model,
    pair,
    resized,
    softmax,
)
from tests.sources.tf1 import digits, run_frozen


@dataclass(frozen=True)
class Case:
    """One real use of an adapter, and what it must compute in terms of the model before it.

    Attributes:
        build: The model before.
        options: As a recipe has them.
        feed: What the app feeds, by input.
        before: From that to what the old model wants.
        after: From the old model's outputs to the new ones.
    """

    build: Callable[[], FrozenModel]
    feed: dict[str, Array]
    options: dict[str, Any]
    before: Callable[[Array], Array] = lambda fed: fed
    after: Callable[[list[Array]], list[Array]] = lambda outputs: outputs


def chosen() -> FrozenModel:
    return classifier(behind=lambda tf1, logits: tf1.cast(tf1.squeeze(tf1.argmax(logits, 1)), "int32"))


def logits_of_chosen(feed: dict[str, Array]) -> list[Array]:
    return run_frozen(classifier(), feed)


PIXELS = np.random.default_rng(2).integers(0, 256, (1, 8, 6, 3)).astype(np.float32)
GREY, RGB = digits(1, [6, 6, 1]), digits(1, [6, 6, 3])
PAIR = {"a": digits(1, [4, 4, 3]), "b": digits(1, [4, 4, 3], seed=4)}

CASES = {
    "rgb_to_grayscale": Case(classifier, {"image": RGB}, {}, luma),
    "bgr_to_rgb": Case(camera, {"image": digits(1, [8, 6, 3])}, {"input": "image"}, lambda rgb: rgb[..., ::-1]),
    "nchw_to_nhwc": Case(
        channels_first,
        {"image": digits(1, [6, 8, 3])},
        {"outputs": ["map"]},
        lambda image: image.transpose(0, 3, 1, 2),
        lambda outputs: [outputs[0].transpose(0, 2, 3, 1)],
    ),
    "normalize": Case(
        camera,
        {"image": PIXELS},
        {"mean": [100, 110, 120], "std": [50, 60, 70]},
        lambda raw: ((raw - np.array([100, 110, 120])) / np.array([50, 60, 70])).astype(np.float32),
    ),
    "resize": Case(camera, {"image": digits(1, [5, 13, 3])}, {"height": 5, "width": 13}, lambda image: resized(image, 8, 6)),
    "cast_input": Case(camera, {"image": PIXELS.astype(np.uint8)}, {"dtype": "uint8"}, lambda pixels: pixels.astype(np.float32)),
    "softmax": Case(classifier, {"image": GREY}, {}, after=lambda outputs: [softmax(outputs[0])]),
    "sigmoid": Case(
        camera, {"image": PIXELS / 255}, {"output": "mask"}, after=lambda outputs: [outputs[0], 1 / (1 + np.exp(-outputs[1]))]
    ),
    "argmax_to_logits": Case(chosen, {"image": GREY}, {}, after=lambda _: logits_of_chosen({"image": GREY})),
    "squeeze_output": Case(
        camera, {"image": PIXELS / 255}, {"output": "mask", "axes": [-1]}, after=lambda outputs: [outputs[0], outputs[1][..., 0]]
    ),
    "reshape_output": Case(
        camera,
        {"image": PIXELS / 255},
        {"output": "mask", "shape": [1, -1, 2]},
        after=lambda outputs: [outputs[0], outputs[1].reshape(1, 6, 2)],
    ),
    "select_output": Case(pair, PAIR, {"outputs": ["both", "left"]}, after=lambda outputs: outputs[::-1]),
}


def test_every_adapter_has_a_case() -> None:
    assert set(CASES) == set(ADAPTERS)


@pytest.mark.parametrize("name", sorted(ADAPTERS))
def test_an_adapted_model_computes_what_it_promises_in_tensorflow_and_in_litert(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    expected = case.after(run_frozen(case.build(), {key: case.before(value) for key, value in case.feed.items()}))
    new = adapt(case.build(), name, case.options)
    for found in (run_frozen(new, case.feed), lite(new, case.feed, tmp_path)):
        assert [list(array.shape) for array in found] == [list(array.shape) for array in expected]
        for one, other in zip(found, expected, strict=True):
            # Sums in another order: 30 products of values to 255 in float32.
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5 * max(1, np.abs(other).max()))


@pytest.mark.parametrize("name", sorted(ADAPTERS))
def test_the_signature_tells_the_truth_about_the_adapted_graph(name: str) -> None:
    import tensorflow as tf

    case = CASES[name]
    new = adapt(case.build(), name, case.options)
    with tf.Graph().as_default() as graph:
        tf.graph_util.import_graph_def(new.graph_def, name="")
    for spec in (*new.signature.inputs, *new.signature.outputs):
        tensor = graph.get_tensor_by_name(spec.tensor)
        assert (spec.shape, spec.dtype) == (tuple(tensor.shape.as_list()), tensor.dtype.name)
    assert {spec.name: spec.shape for spec in new.signature.inputs} == {key: value.shape for key, value in case.feed.items()}
    assert sum(node.op == "Placeholder" for node in new.graph_def.node) == len(case.feed)


@pytest.mark.parametrize("name", sorted(ADAPTERS))
def test_adapting_twice_gives_the_same_bytes_and_leaves_the_model_as_it_was(name: str) -> None:
    case = CASES[name]
    old = case.build()
    before = old.graph_def.SerializeToString(deterministic=True)
    first, second = (adapt(old, name, case.options) for _ in range(2))
    assert first.signature == second.signature
    assert first.graph_def.SerializeToString(deterministic=True) == second.graph_def.SerializeToString(deterministic=True)
    assert old.graph_def.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("name", sorted(ADAPTERS))
def test_new_nodes_are_named_after_the_adapter(name: str) -> None:
    case = CASES[name]
    old = {node.name for node in case.build().graph_def.node}
    new = {node.name for node in adapt(case.build(), name, case.options).graph_def.node} - old
    adding = {"argmax_to_logits", "select_output"}
    assert bool(new) == (name not in adding)
    assert all(node.startswith((f"adapters/{name}/", f"adapters/{name}_2/")) for node in new)


@pytest.mark.parametrize("name", sorted(ADAPTERS))
def test_an_adapter_is_documented(name: str) -> None:
    entry = ADAPTERS[name]
    assert (import_module(entry.module).__doc__ or "").startswith(f"`{name}`: ")
    assert entry.summary.endswith(".")
    documented = (entry.options.__doc__ or "").partition("Attributes:")[2]
    assert all(f"{field.name}: " in documented for field in fields(entry.options))


@pytest.mark.parametrize("name", sorted(ADAPTERS))
def test_an_adapters_example_is_one(name: str) -> None:
    example = yaml.safe_load(ADAPTERS[name].example)
    found, options = (example, {}) if isinstance(example, str) else next(iter(example.items()))
    assert found == name
    assert isinstance(parse(found, options, "adapters[0]"), ADAPTERS[name].options)


def test_recipes_are_checked_without_numpy_and_tensorflow() -> None:
    code = (
        "import sys; from mlkit_build.adapters import parse; parse('normalize', {'mean': [0], 'std': [1]}, 'adapters[0]');"
        "print(sorted({'numpy', 'tensorflow'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip() == "[]"


@pytest.mark.parametrize("name", sorted(set(ADAPTERS) - {"select_output", "nchw_to_nhwc"}))
def test_an_adapter_that_cannot_tell_which_tensor_is_meant_lists_them(name: str) -> None:
    options = {key: value for key, value in CASES[name].options.items() if key not in ("input", "output")}
    listed = r"(input, found a, b|output, found left, both)"
    with pytest.raises(ConfigError, match=f"adapters: {name} needs a model with one {listed}\n") as caught:
        adapt(pair(), name, options)
    assert f"`{{{name}: {{" in caught.value.hint


@pytest.mark.parametrize("name", sorted(ADAPTERS))
def test_a_name_that_the_signature_does_not_have_is_reported(name: str) -> None:
    entry = ADAPTERS[name]
    known = {field.name for field in fields(entry.options)}
    key = next(key for key in ("input", "output", "inputs") if key in known)
    options = {**{k: v for k, v in CASES[name].options.items() if k not in ("input", "output", "outputs")}}
    with pytest.raises(ConfigError, match=rf"{name}: no (in|out)put 'bot'; expected one of (a, b|left, both)"):
        adapt(pair(), name, {**options, key: ["bot"] if key == "inputs" else "bot"})


def test_a_refusal_names_the_recipes_field() -> None:
    with pytest.raises(ConfigError, match=r"^adapters\[3\]: rgb_to_grayscale needs a floating-point input"):
        adapt(camera(), "rgb_to_grayscale", {}, "adapters[3]")


def test_of_two_inputs_only_the_named_one_is_adapted() -> None:
    new = adapt(pair(), "bgr_to_rgb", {"input": "b"})
    assert new.signature.inputs[0] == pair().signature.inputs[0]
    expected = run_frozen(pair(), {**PAIR, "b": PAIR["b"][..., ::-1]})
    for found, wanted in zip(run_frozen(new, PAIR), expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-6)


# From the model outwards: each adapter acts on the input as the one before it left it.
CHAIN = [
    "nchw_to_nhwc",
    "bgr_to_rgb",
    {"normalize": {"mean": [124, 117, 104], "std": [58, 57, 57.5]}},
    {"resize": {"height": 9, "width": 20}},
    "cast_input",
    {"nchw_to_nhwc": {"inputs": [], "outputs": ["map"]}},
    {"reshape_output": {"shape": [1, -1, 4]}},
    "softmax",
]


def test_a_chain_of_adapters_computes_one_after_the_other(tmp_path: Path) -> None:
    pixels = np.random.default_rng(5).integers(0, 256, (1, 9, 20, 3)).astype(np.uint8)
    image = resized(pixels.astype(np.float32), 6, 8)
    image = ((image - [124, 117, 104]) / [58, 57, 57.5]).astype(np.float32)[..., ::-1].transpose(0, 3, 1, 2)
    (logits,) = run_frozen(channels_first(), {"image": image})
    expected = softmax(logits.transpose(0, 2, 3, 1).reshape(1, 48, 4))
    new = adapted(channels_first(), *CHAIN)
    for (found,) in (run_frozen(new, {"image": pixels}), lite(new, {"image": pixels}, tmp_path)):
        np.testing.assert_allclose(found, expected, atol=2e-6)


def test_a_chain_leaves_no_transposition_behind() -> None:
    ops = [node.op for node in adapted(channels_first(), *CHAIN).graph_def.node]
    assert "Transpose" not in ops
    assert ops.count("Conv2D") == 1


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1], [1, 3, 0, 2]])
def test_input_adapters_go_from_the_model_outwards_in_any_order(order: list[int]) -> None:
    steps: list[tuple[Any, Callable[[Array], Array]]] = [
        ("bgr_to_rgb", lambda x: x[..., ::-1]),
        ({"normalize": {"mean": [1, 2, 3], "std": [2, 3, 4]}}, lambda x: (x - np.array([1, 2, 3])) / np.array([2, 3, 4])),
        ({"resize": {"height": 4, "width": 4}}, lambda x: resized(x, 8, 6)),
        ({"normalize": {"mean": [5], "std": [0.5]}}, lambda x: (x - 5) / 0.5),
    ]
    size = [4, 4]
    fed = digits(1, [*size, 3])
    wanted = fed
    for index in reversed(order):
        wanted = steps[index][1](wanted)
    expected = run_frozen(camera(), {"image": wanted.astype(np.float32)})
    for found, other in zip(run_frozen(adapted(camera(), *(steps[i][0] for i in order)), {"image": fed}), expected, strict=True):
        np.testing.assert_allclose(found, other, rtol=1e-5, atol=1e-5 * np.abs(other).max())


def test_an_adapter_used_twice_has_a_scope_for_each() -> None:
    once = {"normalize": {"mean": [2], "std": [4]}}
    new = adapted(camera(), once, once, once)
    scopes = {"/".join(node.name.split("/")[:2]) for node in new.graph_def.node if node.name.startswith("adapters/")}
    assert scopes == {"adapters/normalize", "adapters/normalize_2", "adapters/normalize_3"}
    fed = digits(1, [8, 6, 3]) * 100
    (expected, _), (found, _) = (
        run_frozen(camera(), {"image": ((((fed - 2) / 4) - 2) / 4 - 2) / 4}),
        run_frozen(new, {"image": fed}),
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_a_model_can_pass_its_input_on_as_an_output() -> None:
    before = camera()
    both = replace(before.signature, outputs=(*before.signature.outputs, replace(before.signature.inputs[0], name="same")))
    before = replace(before, signature=both)
    fed = PIXELS.astype(np.uint8)
    for step, old in (("cast_input", fed.astype(np.float32)), ("bgr_to_rgb", fed[..., ::-1].astype(np.float32))):
        found = run_frozen(adapted(before, step), {"image": fed if step == "cast_input" else fed.astype(np.float32)})
        np.testing.assert_array_equal(found[2], old)


def test_models_with_loops_and_functions_are_adapted_too(tmp_path: Path) -> None:
    def build(tf1: Any) -> None:
        x = tf1.placeholder("float32", [1, 4], name="x")
        _, total = tf1.while_loop(lambda i, _: i < 3, lambda i, sum_: (i + 1, sum_ * 0.5 + x), (0, x), parallel_iterations=1)
        tf1.identity(total, name="y")

    old = model(build, {"x": "x"}, {"y": "y"})
    assert old.graph_def.library.function
    new = adapted(old, {"normalize": {"mean": [1], "std": [4]}}, "softmax", {"reshape_output": {"shape": [1, 2, 2]}})
    fed = digits(1, [4]) * 9
    (logits,) = run_frozen(old, {"x": (fed - 1) / 4})
    for (found,) in (run_frozen(new, {"x": fed}), lite(new, {"x": fed}, tmp_path)):
        np.testing.assert_allclose(found, softmax(logits).reshape(1, 2, 2), atol=1e-6)
