from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import yaml

from mlkit_build.errors import ConfigError
from mlkit_build.graphs import DeclaredSignature, DeclaredTensor, OpenedModel
from mlkit_build.recipe import FrozenGraph
from mlkit_build.stages.binding import bind, pinned_shape
from mlkit_build.stages.params import FreezeInput, FreezeParams
from tests.sources.tf1 import constants_only, loaded

Stated = Mapping[str, FreezeInput]

IMAGE = DeclaredTensor("image", "x:0", (None, 28, 28, 1), "float32")
MASK = DeclaredTensor("mask", "nested/m:0", (None, None), "bool")
SCORES = DeclaredTensor("scores", "call:0", (None, 10), "float32")
BOXES = DeclaredTensor("boxes", "call:1", None, "float32")


def declaring(*signatures: DeclaredSignature) -> OpenedModel:
    """Return a model whose signatures are asked for, and never its graph."""

    def graph(shapes: Any) -> Any:
        raise AssertionError("the signature says it all")

    return OpenedModel("model", graph, signatures)


ONE = declaring(DeclaredSignature("", (IMAGE,), (SCORES,)))
TWO = declaring(DeclaredSignature("", (IMAGE, MASK), (SCORES, BOXES)))


def asked(
    inputs: Stated | None = None, outputs: Mapping[str, str | None] | None = None, constants: Mapping[str, Any] | None = None
) -> FreezeParams:
    return FreezeParams(FrozenGraph(path=""), inputs or {}, outputs or {}, constants or {})


def names(*stated: str) -> Stated:
    return {name: FreezeInput(None) for name in stated}


def tensors(request: FreezeParams) -> tuple[dict[str, str | None], dict[str, str | None]]:
    return {name: spec.tensor for name, spec in request.inputs.items()}, dict(request.outputs)


# What the author declared -------------------------------------------------------------------------------------------------


def test_what_the_recipe_leaves_out_is_as_the_author_declared_it() -> None:
    assert tensors(bind(asked(), TWO).request) == (
        {"image": "x:0", "mask": "nested/m:0"},
        {"scores": "call:0", "boxes": "call:1"},
    )


def test_names_without_tensors_are_the_authors_in_the_recipes_order() -> None:
    found = bind(asked(names("mask", "image"), {"boxes": None}), TWO).request
    assert tensors(found) == ({"mask": "nested/m:0", "image": "x:0"}, {"boxes": "call:1"})
    assert list(found.inputs) == ["mask", "image"]


def test_a_name_of_the_recipes_own_stands_for_the_one_tensor_left() -> None:
    assert tensors(bind(asked(names("photo"), {"logits": None}), ONE).request) == ({"photo": "x:0"}, {"logits": "call:0"})
    assert tensors(bind(asked(names("photo", "mask")), TWO).request)[0] == {"photo": "x:0", "mask": "nested/m:0"}


def test_a_tensor_may_be_stated_by_its_name_in_the_graph_or_by_the_authors() -> None:
    stated = {"a": FreezeInput("image"), "b": FreezeInput("nested/m:0")}
    found = tensors(bind(asked(stated, {"c": "boxes", "d": "deeper/tensor:2"}), TWO).request)
    assert found == ({"a": "x:0", "b": "nested/m:0"}, {"c": "call:1", "d": "deeper/tensor:2"})


def test_a_tensor_of_the_graph_is_not_taken_for_a_declared_name() -> None:
    # The signature calls the softmax `scores`, and the graph has a node `scores`, of the logits.
    assert tensors(bind(asked({}, {"logits": "scores:0"}), ONE).request)[1] == {"logits": "scores:0"}


@pytest.mark.parametrize("tensors", [("x:0", "x"), ("image", "x:0")])
def test_one_tensor_is_not_two_inputs(tensors: tuple[str, str]) -> None:
    stated = {name: FreezeInput(tensor) for name, tensor in zip("ab", tensors, strict=True)}
    with pytest.raises(ConfigError, match=r"signature\.inputs\.b: x:?0? is the input 'a' already"):
        bind(asked(stated, {"y": "call:0"}), ONE)
    if "image" not in tensors:
        with pytest.raises(ConfigError, match=r"signature\.inputs\.b: x is the input 'a' already"):
            bind(asked(stated, {"y": "call:0"}), declaring())


def test_a_declared_input_that_is_given_a_constant_is_no_input() -> None:
    for constants in ({"nested/m:0": False}, {"nested/m": False}):
        assert tensors(bind(asked(constants=constants), TWO).request)[0] == {"image": "x:0"}


@pytest.mark.parametrize(
    ("inputs", "outputs", "message", "hint"),
    [
        (names("imgae", "other"), {}, "signature.inputs.imgae: the model has no input of that name", "did you mean 'image'?"),
        (names("p", "q", "r"), {}, "it has image (x:0 float32 [?, 28, 28, 1]), mask (nested/m:0 bool [?, ?])", "tensor:"),
        ({}, {"logits": None}, "it has scores (call:0 float32 [?, 10]), boxes (call:1 float32 of unknown shape)", "tensor:"),
    ],
)
def test_a_name_that_fits_nothing_is_answered_with_what_there_is(
    inputs: Stated, outputs: Mapping[str, str | None], message: str, hint: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        bind(asked(inputs, outputs), TWO)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_of_several_signatures_the_default_is_taken_and_otherwise_they_are_listed() -> None:
    other = DeclaredSignature("other", (IMAGE,), (BOXES,))
    default = DeclaredSignature("serving_default", (IMAGE,), (SCORES,))
    assert tensors(bind(asked(), declaring(other, default)).request)[1] == {"scores": "call:0"}
    with pytest.raises(ConfigError) as caught:
        bind(asked(), declaring(other, DeclaredSignature("more", (), ())))
    assert caught.value.message == "source.signature: missing, and model has several: other, more"
    assert caught.value.hint == "add `signature: other`"


# Shapes -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "pinned"),
    [
        ((None, 4), (1, 4)),
        ((8, 4), (8, 4)),
        ((None,), (1,)),
        ((), ()),
        ((None, None, 3), None),
        ((4, None), None),
        (None, None),
    ],
)
def test_an_open_batch_is_pinned_to_1_and_nothing_else_is_guessed(shape: Any, pinned: Any) -> None:
    assert pinned_shape(DeclaredTensor("x", "x:0", shape, "float32")) == pinned


def test_a_model_is_traced_with_the_stated_shapes_and_its_own_where_none_is_stated() -> None:
    stated = {"photo": FreezeInput("image", (4, 28, 28, 1)), "mask": FreezeInput(None)}
    bound = bind(asked(stated), TWO)
    assert bound.shapes == {"image": (4, 28, 28, 1)}, "the mask has an open size that only cutting may complain of"
    assert bound.request.inputs["photo"].shape == (4, 28, 28, 1)
    assert bind(asked(), ONE).shapes == {"image": (1, 28, 28, 1)}


# What is inferred from a graph --------------------------------------------------------------------------------------------


def one_way(tf1: Any) -> None:
    x = tf1.placeholder("float32", [None, 4], name="deep/input")
    tf1.nn.softmax(tf1.matmul(x, tf1.ones([4, 3])), name="scores")


def with_a_switch(tf1: Any) -> None:
    x = tf1.placeholder("float32", [None, 4], name="image")
    keep = tf1.placeholder("float32", [], name="keep_prob")
    tf1.nn.softmax(tf1.matmul(x * keep, tf1.ones([4, 3])), name="scores")


def two_ends(tf1: Any) -> None:
    x = tf1.placeholder("float32", [None, 4], name="image")
    tf1.nn.softmax(x, name="scores")
    tf1.square(x, name="other")


def of_graph(build: Callable[[Any], None]) -> OpenedModel:
    return OpenedModel.of(loaded(constants_only(build)[0]))


def test_a_complete_request_asks_nothing_of_the_graph() -> None:
    request = asked({"x": FreezeInput("image:0")}, {"y": "scores:0"})
    assert bind(request, declaring()).request == request


def test_the_only_way_through_a_graph_needs_no_signature() -> None:
    assert tensors(bind(asked(), of_graph(one_way)).request) == ({"input": "deep/input:0"}, {"scores": "scores:0"})
    named = bind(asked({"x": FreezeInput(None, (2, 4))}, {"y": None}), of_graph(one_way)).request
    assert tensors(named) == ({"x": "deep/input:0"}, {"y": "scores:0"})
    assert named.inputs["x"].shape == (2, 4)


@pytest.mark.parametrize("constant", ["keep_prob:0", "keep_prob"])
def test_a_switch_that_has_its_constant_leaves_one_way(constant: str) -> None:
    found = bind(asked(constants={constant: 1.0}), of_graph(with_a_switch)).request
    assert tensors(found) == ({"image": "image:0"}, {"scores": "scores:0"})


def test_one_side_that_is_stated_leaves_only_the_other_to_the_graph() -> None:
    assert tensors(bind(asked({}, {"y": "other:0"}), of_graph(two_ends)).request) == ({"image": "image:0"}, {"y": "other:0"})
    stated = {"x": FreezeInput("deep/input:0")}
    assert tensors(bind(asked(stated), of_graph(one_way)).request) == ({"x": "deep/input:0"}, {"scores": "scores:0"})


@pytest.mark.parametrize(
    ("build", "count"),
    [(with_a_switch, "2 possible inputs, 1 possible outputs"), (two_ends, "1 possible inputs, 2 possible outputs")],
)
def test_more_than_one_way_is_answered_with_candidates_to_paste(build: Callable[[Any], None], count: str) -> None:
    model = of_graph(build)
    with pytest.raises(ConfigError) as caught:
        bind(asked(), model)
    assert caught.value.message == f"signature: missing, and graph.pb does not say it: {count}"
    pasted = yaml.safe_load(caught.value.hint.partition("\n")[2])["signature"]
    request = asked(
        {name: FreezeInput(item["tensor"], tuple(item["shape"])) for name, item in pasted["inputs"].items()},
        {name: item["tensor"] for name, item in pasted["outputs"].items()},
        pasted.get("constants"),
    )
    assert tensors(bind(request, model).request) == ({"input": "image:0"}, {"output": "scores:0"})


def test_a_graph_without_placeholders_is_told_to_name_a_tensor() -> None:
    with pytest.raises(ConfigError) as caught:
        bind(asked(), of_graph(lambda tf1: tf1.identity(tf1.ones([3]), name="y")))
    assert "0 possible inputs" in caught.value.message
    assert "name a tensor to cut the graph at" in caught.value.hint
