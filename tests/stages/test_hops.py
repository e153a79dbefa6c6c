"""Every form of a model beside the one before it, on models whose faults are planted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mlkit_build.forms import FLOAT, FROZEN, SHIPPED, SOURCE, Hop, Hops
from mlkit_build.plain import from_plain, to_plain
from mlkit_build.recipe import Adapter, Npz
from mlkit_build.signature import TensorSpec
from mlkit_build.stages.freeze import freeze
from mlkit_build.stages.hops import hops, partings
from mlkit_build.stages.origin import origin
from mlkit_build.stages.params import FreezeParams, HopsParams, OriginParams, ReferenceParams
from mlkit_build.stages.validate import reference
from tests.sources.tf1 import request, save, session
from tests.stages.built import IMAGE, calibrated, pictures, quantized, weights
from tests.stages.conftest import Built

SAMPLES = Npz(path="", features={"picture": "images"})


def trained(tf1: Any) -> None:
    """Build a grey [n, 12, 12, 1] -> [n, 4] with reference variables, resource variables and a loop that sums over rows."""
    x = tf1.placeholder("float32", [None, 12, 12, 1], name="image")
    kernel = tf1.get_variable("kernel", initializer=weights(3, 3, 1, 8), use_resource=False)
    h = tf1.nn.relu(tf1.nn.conv2d(x, kernel, [1, 2, 2, 1], "SAME"))
    rows = tf1.transpose(h, [1, 0, 2, 3])
    summed = tf1.while_loop(lambda i, _: i < 6, lambda i, held: (i + 1, held + rows[i]), [0, tf1.zeros_like(rows[0])])[1]
    dense = tf1.get_variable("dense", initializer=weights(48, 4), use_resource=True)
    tf1.matmul(tf1.reshape(summed, [-1, 48]), dense, name="logits")


def checkpoint(build: Callable[[Any], None], folder: Path) -> dict[str, Path]:
    with session() as (tf1, running):
        build(tf1)
        running.run(tf1.global_variables_initializer())
        prefix = save(running, folder / "model")
    return {"meta": Path(f"{prefix}.meta"), "index": Path(f"{prefix}.index"), "data-00000-of-00001": data(prefix)}


def data(prefix: Path) -> Path:
    return Path(f"{prefix}.data-00000-of-00001")


def asked(*adapters: Adapter, **constants: Any) -> FreezeParams:
    found = request({"picture": "image:0"}, {"scores": "logits:0"}, constants=constants, kind="tf1_checkpoint")
    return FreezeParams(found.source, found.inputs, found.outputs, found.constants, adapters)


def compared(
    build: Callable[[Any], None],
    params: FreezeParams,
    folder: Path,
    channels: int = 1,
    *,
    harm: Callable[[Any], None] | None = None,
) -> Hop:
    """Freeze a model that is saved as a checkpoint, harm the frozen graph, and return the hop from the source."""
    files = checkpoint(build, folder)
    freeze(to_plain(params), files, folder)
    if harm is not None:
        from tensorflow.core.framework.graph_pb2 import GraphDef

        graph_def = GraphDef.FromString((folder / "frozen_graph.pb").read_bytes())
        harm(graph_def)
        (folder / "frozen_graph.pb").write_bytes(graph_def.SerializeToString())
    np.savez(folder / "samples.npz", images=pictures(8)[..., :channels])
    read = {name: folder / name for name in ("frozen_graph.pb", "signature.json")}
    read |= {"dataset": folder / "samples.npz", **{f"source/{role}": path for role, path in files.items()}}
    origin(to_plain(OriginParams(params, SAMPLES, {"picture": IMAGE}, 8)), read, folder)
    return from_plain(Hop, json.loads((folder / "origin.json").read_bytes()))


def test_a_checkpoint_with_every_kind_of_variable_and_a_loop_is_the_same_frozen(tmp_path: Path) -> None:
    hop = compared(trained, asked(), tmp_path)
    assert (hop.before, hop.after, hop.skipped) == (SOURCE, FROZEN, "")
    assert hop.outputs[0].max_abs_error < 1e-5
    assert not hop.parts


ADAPTED = (
    Adapter(name="rgb_to_grayscale"),
    Adapter(name="bgr_to_rgb"),
    Adapter(name="normalize", options={"mean": [0.1], "std": [0.7]}),
    Adapter(name="softmax"),
    Adapter(name="reshape_output", options={"shape": [1, 2, 2]}),
)


def test_adapters_change_what_is_computed_and_are_not_taken_for_a_fault(tmp_path: Path) -> None:
    hop = compared(trained, asked(*ADAPTED), tmp_path, channels=3)
    assert hop.skipped == ""
    assert not hop.parts


def scale_weights(graph_def: Any) -> None:
    import tensorflow as tf

    node = next(node for node in graph_def.node if node.op == "Const" and node.attr["value"].tensor.tensor_shape.dim[1:])
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(1.5 * tf.make_ndarray(node.attr["value"].tensor)))


def test_a_frozen_graph_with_other_weights_parts_from_its_source(tmp_path: Path) -> None:
    hop = compared(trained, asked(), tmp_path, harm=scale_weights)
    assert hop.parts
    assert "the frozen graph does not compute what the source does" in Hops(8, (hop,)).problem()


def dropping(tf1: Any) -> None:
    keep = tf1.placeholder_with_default(tf1.constant(1.0), [], name="keep")
    x = tf1.placeholder("float32", [None, 12, 12, 1], name="image")
    kernel = tf1.get_variable("kernel", initializer=weights(144, 4))
    tf1.identity(tf1.nn.dropout(tf1.matmul(tf1.reshape(x, [-1, 144]), kernel), keep_prob=keep), name="logits")


def test_dropout_that_is_switched_off_is_compared(tmp_path: Path) -> None:
    hop = compared(dropping, asked(), tmp_path)
    assert (hop.skipped, hop.parts) == ("", False)


def training(tf1: Any) -> None:
    trained(tf1)
    logits = tf1.get_default_graph().get_tensor_by_name("logits:0")
    tf1.multiply(tf1.placeholder("float32", [], name="rate"), tf1.reduce_sum(logits), name="loss")


def test_a_constant_that_only_the_training_needs_is_not_fed(tmp_path: Path) -> None:
    hop = compared(training, asked(**{"rate:0": 0.5}), tmp_path)
    assert (hop.skipped, hop.parts) == ("", False)


def writing(folder: Path) -> Callable[[Any], None]:
    def build(tf1: Any) -> None:
        x = tf1.placeholder("float32", [None, 12, 12, 1], name="image")
        kernel = tf1.get_variable("kernel", initializer=weights(144, 4))
        with tf1.control_dependencies([tf1.io.write_file(str(folder / "written"), "x")]):
            tf1.matmul(tf1.reshape(x, [-1, 144]), kernel, name="logits")

    return build


def test_a_model_that_would_write_a_file_is_not_run(tmp_path: Path) -> None:
    hop = compared(writing(tmp_path), asked(), tmp_path)
    assert hop.skipped.startswith("it holds WriteFile (WriteFile), which reaches out of the model")
    assert not (tmp_path / "written").exists()


def test_only_class_scores_have_a_top_1_that_changes() -> None:
    spec = TensorSpec("scores", "scores:0", (1, 3), "float32")
    before, after = [np.float32([[1, 2, 2.001]])], [np.float32([[1, 2, 1.999]])]
    assert [partings([spec], before, after, scored)[0].top1_changed for scored in (0, None)] == [1, 0]


def test_each_form_is_compared_with_the_one_before_and_garbage_parts_at_the_shipped_file(built: Built, tmp_path: Path) -> None:
    hop = Hop(SOURCE, FROZEN, skipped="not here")
    (tmp_path / "origin.json").write_text(json.dumps(to_plain(hop)))
    np.savez(tmp_path / "samples.npz", images=pictures(12))
    frozen = {name: built.files[name] for name in ("frozen_graph.pb", "signature.json")}
    reference(to_plain(ReferenceParams(SAMPLES, {"picture": IMAGE})), {**frozen, "dataset": tmp_path / "samples.npz"}, tmp_path)
    read = {
        "signature.json": built.files["signature.json"],
        "dataset": tmp_path / "samples.npz",
        "origin.json": tmp_path / "origin.json",
        "reference.bin": tmp_path / "reference.bin",
        "float.tflite": built.files["float.tflite"],
    }

    def found(model: Path) -> Hops:
        hops(to_plain(HopsParams(SAMPLES, {"picture": IMAGE}, 8)), {**read, "model.tflite": model}, tmp_path)
        return from_plain(Hops, json.loads((tmp_path / "hops.json").read_bytes()))

    good = found(built.models["int8", "uint8"])
    assert [(hop.before, hop.after) for hop in good.hops] == [(SOURCE, FROZEN), (FROZEN, FLOAT), (FLOAT, SHIPPED)]
    assert good.samples == 8
    assert not good.hops[1].parts
    np.savez(
        tmp_path / "garbage.npz", images=np.zeros((8, 12, 12, 3), np.uint8) + np.arange(8, dtype=np.uint8)[:, None, None, None]
    )

    statistics = calibrated(built.files, tmp_path / "garbage.npz", SAMPLES, {"picture": IMAGE}, tmp_path / "garbage")
    bad = found(quantized(built.files, "int8", "float32", tmp_path / "bad", statistics))
    assert bad.first is bad.hops[2]
    assert bad.hops[2].worst.sqnr_db < good.hops[2].worst.sqnr_db - 5  # type: ignore[union-attr]
