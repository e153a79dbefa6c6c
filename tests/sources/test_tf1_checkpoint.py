from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mlkit_build.adapters import FrozenModel
from mlkit_build.errors import SourceError
from mlkit_build.recipe import Tf1Checkpoint
from mlkit_build.sources import tf1_checkpoint
from mlkit_build.stages.freeze import freeze_model
from tests.sources.models import checkpoint
from tests.sources.tf1 import digits, request, run_frozen, save, session

X = digits(1, [5])


def frozen(prefix: Path, inputs: Any = None, constants: Any = None) -> FrozenModel:
    files = tf1_checkpoint.files(Tf1Checkpoint(path=str(prefix)), prefix.parent)
    return freeze_model(tf1_checkpoint.load(files, Tf1Checkpoint()), request(inputs or {"x": "x:0"}, {"y": "y:0"}, constants))


def dense(tf1: Any, *, resource: bool) -> None:
    x = tf1.placeholder("float32", [None, 5], name="x")
    w = tf1.get_variable("layer/w", [5, 3], use_resource=resource)
    b = tf1.get_variable("layer/b", [3], initializer=tf1.random_uniform_initializer(-1, 1), use_resource=resource)
    tf1.identity(tf1.nn.relu(tf1.matmul(x, w) + b), name="y")


def trained(prefix: Path, build: Callable[[Any], Any] = lambda tf1: dense(tf1, resource=False), **saver: Any) -> NDArray[Any]:
    """Initialise, save, and return what the session answers to X."""
    with session() as (tf1, running):
        build(tf1)
        running.run(tf1.global_variables_initializer())
        save(running, prefix, **saver)
        expected: NDArray[Any] = running.run("y:0", {"x:0": X})
        return expected


@pytest.mark.parametrize("resource", [False, True])
def test_a_checkpoint_freezes_to_the_values_of_its_session(tmp_path: Path, resource: bool) -> None:
    expected = trained(tmp_path / "net", lambda tf1: dense(tf1, resource=resource))
    np.testing.assert_array_equal(run_frozen(frozen(tmp_path / "net"), {"x": X})[0], expected)


def test_a_checkpoint_in_several_shards_is_read_whole(tmp_path: Path) -> None:
    # What a sharded saver writes on several machines: one SaveV2 per device, then MergeV2Checkpoints (training/saver.py).
    def build(tf1: Any) -> None:
        x = tf1.placeholder("float32", [None, 5], name="x")
        tf1.add(tf1.matmul(x, tf1.get_variable("w", [5, 3])), tf1.get_variable("b", [3]), name="y")

    import tensorflow as tf

    with session() as (tf1, running):
        build(tf1)
        tf1.train.export_meta_graph(str(tmp_path / "net.meta"))
    values = {"w": digits(5, [3], 1), "b": digits(1, [3], 2)[0]}
    with tf.Graph().as_default(), tf.compat.v1.Session() as running:
        parts = []
        for number, (name, value) in enumerate(values.items()):
            part = f"{tmp_path}/part{number}"
            running.run(tf.raw_ops.SaveV2(prefix=part, tensor_names=[name], shape_and_slices=[""], tensors=[tf.constant(value)]))
            parts.append(part)
        running.run(tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=parts, destination_prefix=f"{tmp_path}/net"))
    assert set(tf1_checkpoint.files(Tf1Checkpoint(path="net"), tmp_path)) == {
        "meta",
        "index",
        "data-00000-of-00002",
        "data-00001-of-00002",
    }
    np.testing.assert_allclose(run_frozen(frozen(tmp_path / "net"), {"x": X})[0], X @ values["w"] + values["b"], atol=1e-6)


def test_a_checkpoint_of_format_v1_is_read(tmp_path: Path) -> None:
    from tensorflow.core.protobuf import saver_pb2

    expected = trained(tmp_path / "net", write_version=saver_pb2.SaverDef.V1)
    files = tf1_checkpoint.files(Tf1Checkpoint(path="net"), tmp_path)
    assert files == {"meta": tmp_path / "net.meta", "v1": tmp_path / "net"}
    np.testing.assert_array_equal(run_frozen(frozen(tmp_path / "net"), {"x": X})[0], expected)


@pytest.mark.parametrize("suffix", ["", ".meta", ".index", ".data-00000-of-00001"])
def test_any_file_of_the_checkpoint_names_it(tmp_path: Path, suffix: str) -> None:
    trained(tmp_path / "net")
    found = tf1_checkpoint.files(Tf1Checkpoint(path=f"net{suffix}"), tmp_path)
    assert {path.name for path in found.values()} == {"net.meta", "net.index", "net.data-00000-of-00001"}


def test_a_checkpoint_with_an_empty_prefix_is_named_by_its_meta_file(tmp_path: Path) -> None:
    expected = trained(tmp_path / "net")
    folder = tmp_path / "unnamed"
    folder.mkdir()
    for path in tmp_path.glob("net.*"):
        path.rename(folder / path.name.removeprefix("net"))
    files = tf1_checkpoint.files(Tf1Checkpoint(path="unnamed/.meta"), tmp_path)
    model = freeze_model(tf1_checkpoint.load(files, Tf1Checkpoint()), request({"x": "x:0"}, {"y": "y:0"}))
    np.testing.assert_array_equal(run_frozen(model, {"x": X})[0], expected)


def test_a_folder_stands_for_the_one_checkpoint_in_it(tmp_path: Path) -> None:
    trained(tmp_path / "model" / "net")
    (tmp_path / "model" / "checkpoint").unlink(missing_ok=True)
    assert tf1_checkpoint.files(Tf1Checkpoint(path="model"), tmp_path)["meta"] == tmp_path / "model" / "net.meta"


def test_a_folders_checkpoint_file_is_followed_though_it_names_the_training_machines_path(tmp_path: Path) -> None:
    trained(tmp_path / "model" / "old")
    trained(tmp_path / "model" / "new")
    (tmp_path / "model" / "checkpoint").write_text(
        'model_checkpoint_path: "/home/trainer/run/old"\nall_model_checkpoint_paths: "/home/trainer/run/new"\n'
    )
    assert tf1_checkpoint.files(Tf1Checkpoint(path="model"), tmp_path)["meta"] == tmp_path / "model" / "old.meta"


def test_a_folder_of_several_checkpoints_and_no_word_on_which_is_answered_with_them(tmp_path: Path) -> None:
    trained(tmp_path / "model" / "net")
    trained(tmp_path / "model" / "other")
    (tmp_path / "model" / "checkpoint").unlink(missing_ok=True)
    with pytest.raises(SourceError, match="found the folder") as caught:
        tf1_checkpoint.files(Tf1Checkpoint(path="model"), tmp_path)
    assert caught.value.hint == "name one of: model/net, model/other"


@pytest.mark.parametrize("missing", [".meta", ".index", ".data-00000-of-00001"])
def test_a_missing_part_is_named(tmp_path: Path, missing: str) -> None:
    trained(tmp_path / "net")
    (tmp_path / f"net{missing}").unlink()
    with pytest.raises(SourceError) as caught:
        tf1_checkpoint.files(Tf1Checkpoint(path="net"), tmp_path)
    assert caught.value.message == f"source.path: checkpoint part missing: {tmp_path / f'net{missing}'}"


def test_a_checkpoint_that_is_not_there_is_said_to_be_so(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no checkpoint at .*/nothing \(looked for \.meta, \.index and \.data-\*\)"):
        tf1_checkpoint.files(Tf1Checkpoint(path="nothing"), tmp_path)


@pytest.mark.parametrize("part", ["net.meta", "net.index", "net.data-00000-of-00001"])
def test_a_truncated_part_is_a_source_error(tmp_path: Path, part: str) -> None:
    trained(tmp_path / "net")
    whole = (tmp_path / part).read_bytes()
    (tmp_path / part).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SourceError, match=r"source\.path"):
        frozen(tmp_path / "net")


@pytest.mark.parametrize("resource", [False, True])
def test_an_embedding_is_looked_up_in_a_constant(tmp_path: Path, resource: bool) -> None:
    ids = np.array([[3, 0, 9]], np.int32)
    with session() as (tf1, running):
        x = tf1.placeholder("int32", [None, 3], name="x")
        table = tf1.get_variable("table", [10, 4], use_resource=resource)
        tf1.reduce_sum(tf1.nn.embedding_lookup(table, x), axis=1, name="y")
        running.run(tf1.global_variables_initializer())
        expected = running.run("y:0", {x: ids})
        save(running, tmp_path / "net")
        kinds = {node.op for node in running.graph.as_graph_def().node}
    assert ("ResourceGather" in kinds) == resource
    np.testing.assert_array_equal(run_frozen(frozen(tmp_path / "net"), {"x": ids})[0], expected)


@pytest.mark.parametrize("resource", [False, True])
def test_partitioned_variables_are_put_together(tmp_path: Path, resource: bool) -> None:
    def build(tf1: Any) -> None:
        x = tf1.placeholder("float32", [None, 5], name="x")
        parts = tf1.fixed_size_partitioner(2, axis=0)
        w = tf1.get_variable("w", [5, 3], partitioner=parts, use_resource=resource)
        tf1.matmul(x, w, name="y")

    expected = trained(tmp_path / "net", build)
    np.testing.assert_allclose(run_frozen(frozen(tmp_path / "net"), {"x": X})[0], expected, atol=1e-6)


@pytest.mark.parametrize("resource", [False, True])
def test_a_saver_with_its_own_names_restores_by_them_as_for_moving_averages(tmp_path: Path, resource: bool) -> None:
    # The saver reads each variable from the name of its average, as evaluation scripts of TensorFlow 1 did.
    with session() as (tf1, running):
        x = tf1.placeholder("float32", [None, 5], name="x")
        w = tf1.get_variable("w", [5, 3], use_resource=resource)
        tf1.matmul(x, w, name="y")
        average = tf1.get_variable("average", [5, 3], initializer=tf1.zeros_initializer(), use_resource=resource)
        running.run(tf1.global_variables_initializer())
        running.run(tf1.assign(average, np.full((5, 3), 0.25, np.float32)))
        saver = tf1.train.Saver({"w/ExponentialMovingAverage": w, "w": average})
        running.run(tf1.assign(w, np.full((5, 3), 4.0, np.float32)))
        saver.save(running, str(tmp_path / "net"), write_state=False)
    expected = X @ np.full((5, 3), 4.0, np.float32)
    np.testing.assert_allclose(run_frozen(frozen(tmp_path / "net"), {"x": X})[0], expected, rtol=1e-6)


def test_a_variable_that_the_checkpoint_lacks_is_named(tmp_path: Path) -> None:
    with session() as (tf1, running):
        dense(tf1, resource=False)
        running.run(tf1.global_variables_initializer())
        save(running, tmp_path / "net", var_list=[tf1.global_variables()[0]])
    with pytest.raises(SourceError, match=r"has no value for the variable 'layer/b', which the outputs need") as caught:
        frozen(tmp_path / "net")
    assert caught.value.hint == "did you mean 'layer/w'?"


def test_optimizer_slots_and_the_training_half_of_the_graph_are_ignored(tmp_path: Path) -> None:
    def build(tf1: Any) -> None:
        dense(tf1, resource=False)
        loss = tf1.reduce_sum(tf1.get_default_graph().get_tensor_by_name("y:0"))
        tf1.train.AdamOptimizer().minimize(loss, global_step=tf1.train.get_or_create_global_step())

    expected = trained(tmp_path / "net", build)
    model = frozen(tmp_path / "net")
    assert not [node.name for node in model.graph_def.node if "Adam" in node.name or "step" in node.name]
    np.testing.assert_array_equal(run_frozen(model, {"x": X})[0], expected)


def test_a_variable_used_other_than_by_reading_it_is_refused_and_named(tmp_path: Path) -> None:
    def build(tf1: Any) -> None:
        import tensorflow as tf

        x = tf1.placeholder("float32", [None, 5], name="x")
        w = tf1.get_variable("w", [], use_resource=True)
        tf1.identity(x + tf1.cast(tf.raw_ops.VarIsInitializedOp(resource=w.handle), "float32"), name="y")

    trained(tmp_path / "net", build)
    with pytest.raises(SourceError, match=r"the operator VarIsInitializedOp .* uses the variable 'w' in a way that"):
        frozen(tmp_path / "net")


def test_a_graph_of_its_own_that_is_none_is_blamed_on_its_own_field(tmp_path: Path) -> None:
    checkpoint(tmp_path / "net")
    (tmp_path / "graph.pb").write_bytes(b"\xff" * 40)
    source = Tf1Checkpoint(path="net", graph="graph.pb")
    with pytest.raises(SourceError, match=r"^source.graph: .*graph.pb is not a GraphDef"):
        tf1_checkpoint.load(tf1_checkpoint.files(source, tmp_path), source)
    (tmp_path / "net.meta").write_bytes(b"\xff" * 40)
    whole = Tf1Checkpoint(path="net")
    with pytest.raises(SourceError, match=r"^source.path: .*net.meta is not a GraphDef"):
        tf1_checkpoint.load(tf1_checkpoint.files(whole, tmp_path), whole)
