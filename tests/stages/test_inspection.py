from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlkit_build.errors import SourceError
from mlkit_build.plain import to_plain
from mlkit_build.recipe import AnySource, FrozenGraph, Keras, SavedModel, Tf1Checkpoint
from mlkit_build.sources import source
from mlkit_build.stages.inspection import inspect
from tests.sources.models import checkpoint, keras_file, saved_model_v1, saved_model_v2
from tests.sources.tf1 import save, session


def inspection(folder: Path, stated: AnySource) -> dict[str, Any]:
    """Run the action as a child does."""
    files: Mapping[str, Path] = source(stated.kind).files(stated, folder)
    (folder / "out").mkdir(exist_ok=True)
    inspect(to_plain({"source": stated}), files, folder / "out")
    found: dict[str, Any] = json.loads((folder / "out/inspection.json").read_bytes())
    return found


def graph(folder: Path, build: Callable[[Any], Any]) -> dict[str, Any]:
    """Inspect a graph without variables."""
    with session() as (tf1, running):
        build(tf1)
        (folder / "graph.pb").write_bytes(running.graph.as_graph_def().SerializeToString())
    return inspection(folder, FrozenGraph(path="graph.pb"))


def test_a_bare_graph_is_answered_with_candidates_and_no_signature(tmp_path: Path) -> None:
    checkpoint(tmp_path / "net")
    found = inspection(tmp_path, Tf1Checkpoint(path="net"))
    assert found["kind"] == "tf1_checkpoint"
    assert found["signatures"] == []
    assert [item["tensor"] for item in found["inputs"]] == ["x:0"]
    assert [item["tensor"] for item in found["outputs"]] == ["y:0"]
    assert found["part"] == "between x:0 and y:0"


@pytest.mark.parametrize("kind", ["saved_model v1", "saved_model v2", "keras"])
def test_a_model_that_declares_its_signature_is_answered_with_it_and_no_candidates(tmp_path: Path, kind: str) -> None:
    if kind == "keras":
        keras_file(tmp_path / "model.keras", 3)
        found = inspection(tmp_path, Keras(path="model.keras"))
    else:
        (saved_model_v1 if kind.endswith("v1") else saved_model_v2)(tmp_path / "saved")
        found = inspection(tmp_path, SavedModel(path="saved"))
    assert (found["inputs"], found["outputs"], found["constants"]) == ([], [], [])
    (signature,) = found["signatures"]
    assert [(item["name"], item["shape"]) for item in signature["inputs"]] == [("image", [None, 4])]
    assert [item["name"] for item in signature["outputs"]] == ["scores"]
    assert len(found["variables"]) >= 2
    assert len(found["used"]) == 2
    pasted = yaml.safe_load(found["recipe"])["signature"]
    assert pasted["inputs"]["image"]["shape"] == [1, 4]


def test_only_what_the_likeliest_signature_reads_is_counted(tmp_path: Path) -> None:
    with session() as (tf1, running):
        x = tf1.placeholder("float32", [None, 4], name="x")
        y = tf1.matmul(x, tf1.get_variable("w", [4, 3]), name="y")
        labels = tf1.placeholder("float32", [None, 3], name="labels")
        tf1.train.AdamOptimizer().minimize(tf1.reduce_mean(tf1.square(y - labels), name="loss"))
        running.run(tf1.global_variables_initializer())
        save(running, tmp_path / "net")
    found = inspection(tmp_path, Tf1Checkpoint(path="net"))
    assert found["used"] == ["w"]
    assert {"w", "w/Adam", "w/Adam_1"} <= set(found["variables"])
    assert found["variables"]["w"] == "[4, 3] float32"
    assert found["operators"]["MatMul"] == 1
    assert not [name for name in found["operators"] if "Adam" in name or "Save" in name]


def test_switches_of_the_training_are_shown_apart_with_their_likely_values(tmp_path: Path) -> None:
    def build(tf1: Any) -> None:
        x = tf1.placeholder("float32", [None, 4], name="x")
        keep = tf1.placeholder("float32", [], name="keep_prob")
        tf1.nn.relu(tf1.nn.dropout(x, keep_prob=keep), name="y")

    found = graph(tmp_path, build)
    assert [item["tensor"] for item in found["constants"]] == ["keep_prob:0"]
    assert yaml.safe_load(found["recipe"])["signature"]["constants"] == {"keep_prob:0": 1.0}
    assert found["part"] == "between x:0 and y:0"


def test_a_graph_that_cannot_be_cut_is_counted_as_a_whole_and_says_why(tmp_path: Path) -> None:
    found = graph(tmp_path, lambda tf1: tf1.nn.relu(tf1.placeholder("float32", [None, None, 3], name="x"), name="y"))
    assert (found["part"], found["scores"]) == ("in the whole graph", False)
    assert found["uncut"].startswith("signature.inputs.input.shape: missing, and ")
    assert found["operators"] == {"Placeholder": 1, "Relu": 1}
    constant = graph(tmp_path, lambda tf1: tf1.ones([3], name="c"))
    assert (constant["part"], constant["uncut"], constant["proposed"]) == ("in the whole graph", "", None)


@pytest.mark.parametrize(("function", "scores"), [("softmax", True), ("sigmoid", True), ("relu", False)])
def test_an_output_of_scores_is_told_from_one_of_logits(tmp_path: Path, function: str, scores: bool) -> None:
    found = graph(tmp_path, lambda tf1: getattr(tf1.nn, function)(tf1.placeholder("float32", [1, 3], name="x"), name="y"))
    assert found["scores"] is scores
    assert [item["name"] for item in (*found["proposed"]["inputs"], *found["proposed"]["outputs"])] == ["input", "output"]


def test_scores_are_seen_where_sizes_are_still_open(tmp_path: Path) -> None:
    import keras

    x = keras.layers.Input((None, None, 3), name="picture")
    mean = keras.layers.GlobalAveragePooling2D()(x)
    keras.Model(x, keras.layers.Dense(2, activation="softmax")(mean)).save(tmp_path / "model.keras")
    found = inspection(tmp_path, Keras(path="model.keras"))
    assert found["scores"]
    assert "dynamic dimensions" in found["uncut"]


def test_a_graph_with_an_operator_that_tensorflow_does_not_know_is_inspected_all_the_same(tmp_path: Path) -> None:
    with session() as (tf1, running):
        tf1.nn.relu(tf1.placeholder("float32", [2], name="x"), name="y")
        graph_def = running.graph.as_graph_def()
    graph_def.node.add(name="z", op="OperatorOfTheirOwn").input.append("y")
    (tmp_path / "graph.pb").write_bytes(graph_def.SerializeToString())
    found = inspection(tmp_path, FrozenGraph(path="graph.pb"))
    assert [item["tensor"] for item in found["outputs"]] == ["z:0"]
    assert found["operators"]["OperatorOfTheirOwn"] == 1


def test_a_model_with_sizes_that_only_running_decides_is_inspected(tmp_path: Path) -> None:
    import keras

    x = keras.layers.Input((None, None, 3), name="picture")
    keras.Model(x, keras.layers.Conv2D(2, 3, name="maps")(x)).save(tmp_path / "model.keras")
    found = inspection(tmp_path, Keras(path="model.keras"))
    assert found["signatures"][0]["inputs"][0]["shape"] == [None, None, None, 3]
    assert found["operators"]["Conv2D"] == 1
    assert "picture" in found["recipe"]


def test_what_cannot_be_opened_is_a_source_error_and_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "graph.pb").write_bytes(b"hello")
    with pytest.raises(SourceError):
        inspection(tmp_path, FrozenGraph(path="graph.pb"))
    assert list((tmp_path / "out").iterdir()) == []


def test_two_inspections_of_one_file_give_the_same_bytes(tmp_path: Path) -> None:
    keras_file(tmp_path / "model.h5", 3)
    first = inspection(tmp_path, Keras(path="model.h5"))
    assert inspection(tmp_path, Keras(path="model.h5")) == first
