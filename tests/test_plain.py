"""Dataclasses and JSON: nothing is lost on the way, equal values have one spelling, and a mistake is named by its path."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlkit_build.errors import ConfigError
from mlkit_build.plain import canonical, from_plain, pretty, to_plain
from mlkit_build.recipe import (
    Adapter,
    Cache,
    FrozenGraph,
    Gate,
    Input,
    Labels,
    MetricChoice,
    Npz,
    Output,
    Quantization,
    Recipe,
    Signature,
    Target,
    Tf1Checkpoint,
    Validation,
)

texts = st.text(max_size=8)
numbers = st.floats(allow_nan=False, allow_infinity=False)
plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | numbers | texts,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(texts, children, max_size=3),
    max_leaves=12,
)

optional_numbers = st.none() | numbers
channels = st.none() | st.lists(numbers, min_size=1, max_size=3).map(tuple)
inputs = st.builds(
    Input, tensor=texts, shape=st.none() | st.lists(st.integers(1, 9), max_size=4).map(tuple), mean=channels, std=channels
)
npz = st.builds(
    Npz,
    path=texts,
    features=st.dictionaries(texts, texts, max_size=2),
    label=st.none() | texts,
    samples=st.none() | st.integers(1, 9),
    seed=st.integers(0, 9),
)
recipes = st.builds(
    Recipe,
    name=texts,
    version=texts,
    description=texts,
    author=texts,
    license=texts,
    source=st.builds(Tf1Checkpoint, path=texts) | st.builds(FrozenGraph, path=texts),
    signature=st.builds(
        Signature,
        inputs=st.dictionaries(texts, inputs, max_size=2),
        outputs=st.dictionaries(texts, st.builds(Output, tensor=texts), max_size=2),
        constants=st.dictionaries(texts, st.booleans() | numbers | st.integers(), max_size=2),
    ),
    adapters=st.lists(st.builds(Adapter, name=texts, options=st.dictionaries(texts, numbers, max_size=2)), max_size=2).map(tuple),
    labels=st.none() | st.builds(Labels, path=st.none() | texts, locales=st.dictionaries(texts, texts, max_size=2)),
    dataset=st.none() | npz,
    calibration=st.none() | npz,
    quantization=st.builds(Quantization, mode=texts, io=texts),
    target=st.builds(Target, task=texts),
    validation=st.builds(
        Validation,
        metrics=st.lists(
            st.builds(MetricChoice, name=texts, options=st.dictionaries(texts, numbers, max_size=2)), max_size=2
        ).map(tuple),
        gates=st.dictionaries(
            texts, st.builds(Gate, min=optional_numbers, max=optional_numbers, max_drop=optional_numbers), max_size=2
        ),
        output=st.none() | texts,
    ),
    variant=st.none() | texts,
)

MINIMAL: dict[str, Any] = {"name": "toy", "source": {"kind": "frozen_graph", "path": "graph.pb"}}


@settings(max_examples=50, deadline=None)
@given(recipes)
def test_a_recipe_survives_the_way_through_json(recipe: Recipe) -> None:
    assert from_plain(Recipe, json.loads(canonical(recipe))) == recipe


@settings(max_examples=50)
@given(plain_values)
def test_canonical_json_means_the_value_it_spells(value: Any) -> None:
    assert json.loads(canonical(value)) == value


@settings(max_examples=50)
@given(st.dictionaries(texts, plain_values, min_size=2, max_size=5))
def test_canonical_json_does_not_depend_on_the_order_of_keys(value: dict[str, Any]) -> None:
    reverse = dict(reversed(value.items()))
    assert canonical(reverse) == canonical(value)


@settings(max_examples=50)
@given(plain_values, plain_values)
def test_different_values_have_different_canonical_json(first: Any, second: Any) -> None:
    same = json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)
    assert (canonical(first) == canonical(second)) is same


def test_canonical_json_is_pinned_for_it_is_in_every_key() -> None:
    value = {"b": (1, 2.5, None), "a": {"é": True}, "c": Path("model/mnist.ckpt")}
    assert canonical(value) == b'{"a":{"\\u00e9":true},"b":[1,2.5,null],"c":"model/mnist.ckpt"}'


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("spell", [canonical, pretty])
def test_what_json_cannot_spell_is_refused(value: float, spell: Any) -> None:
    with pytest.raises(ValueError, match="Out of range"):
        spell({"metrics": [value]})


def test_pretty_keeps_the_declared_order_of_fields() -> None:
    assert pretty(Output(tensor="y:0")) == b'{\n  "tensor": "y:0"\n}\n'
    assert pretty(Cache(dir="here")) == b'{\n  "dir": "here",\n  "enabled": true\n}\n'


def test_lists_become_tuples_and_integers_numbers_where_the_field_says_so() -> None:
    found = from_plain(Input, {"tensor": "image:0", "shape": [1, 28], "mean": [0], "std": [255]})
    assert found == Input(tensor="image:0", shape=(1, 28), mean=(0.0,), std=(255.0,))
    assert isinstance(found.mean, tuple)
    assert isinstance(found.mean[0], float)


def test_to_plain_copies_so_that_nobody_shares_a_list() -> None:
    value = {"shape": [1, 2]}
    to_plain(value)["shape"].append(3)
    assert value == {"shape": [1, 2]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nmae": "x"}, r"^nmae: unknown field; known: name, version"),
        ({"source": {"kind": "frozen_graph", "file": "x"}}, r"^source\.file: unknown field"),
        ({"source": {"kind": "onnx"}}, r"^source: expected a mapping whose `kind` is one of .*frozen_graph.*tf1_checkpoint"),
        ({"source": "graph.pb"}, r"^source: expected a mapping whose `kind`"),
        ({"adapters": "softmax"}, r"^adapters: expected a list, found 'softmax'"),
        ({"adapters": [{"name": "softmax"}, {"name": 3}]}, r"^adapters\[1\]\.name: expected a text, found 3"),
        (
            {"signature": {"inputs": {"image": {"shape": [1, 2.5]}}}},
            r"^signature\.inputs\.image\.shape\[1\]: expected an integer",
        ),
        ({"signature": {"inputs": {"image": {"shape": [True]}}}}, r"^signature\.inputs\.image\.shape\[0\]: expected an integer"),
        ({"signature": {"inputs": []}}, r"^signature\.inputs: expected a mapping, found \[\]"),
        ({"validation": {"gates": {"top1": {"min": "high"}}}}, r"^validation\.gates\.top1\.min: expected a number, found 'high'"),
        ({"validation": {"gates": {"top1": {"min": True}}}}, r"^validation\.gates\.top1\.min: expected a number, found True"),
        ({"dataset": {"kind": "npz", "seed": None}}, r"^dataset\.seed: expected an integer, found None"),
    ],
)
def test_a_wrong_value_is_named_by_its_path(change: dict[str, Any], message: str) -> None:
    if isinstance(change.get("dataset"), dict):
        change = {"dataset": {"path": "x.npz", **change["dataset"]}}
    with pytest.raises(ConfigError, match=message):
        from_plain(Recipe, {**MINIMAL, **change})


def test_a_missing_value_without_a_default_is_named_by_its_path() -> None:
    with pytest.raises(ConfigError, match=r"^source: missing, and it has no default"):
        from_plain(Recipe, {"name": "toy"})


def test_a_value_that_is_no_mapping_at_the_top_is_named_too() -> None:
    with pytest.raises(ConfigError, match="the top level: expected a mapping, found 3"):
        from_plain(Recipe, 3)


@pytest.mark.parametrize("kind", [[], {}, None, 5, "floppy"])
def test_a_kind_that_is_none_is_refused_whatever_it_is(kind: Any) -> None:
    with pytest.raises(ConfigError, match="a mapping whose `kind` is one of"):
        from_plain(Recipe, {"source": {"kind": kind}})


def test_an_integer_past_all_floats_is_no_number() -> None:
    with pytest.raises(ConfigError, match="min: expected a number"):
        from_plain(Gate, {"min": 10**400})
