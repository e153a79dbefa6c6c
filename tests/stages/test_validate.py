from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlkit_build.datasets import open_dataset
from mlkit_build.errors import ConfigError, StageError
from mlkit_build.plain import to_plain
from mlkit_build.recipe import Input, MetricChoice, Npz
from mlkit_build.signature import FrozenSignature, TensorSpec
from mlkit_build.stages.inference import BATCH, LiteRtModel, TensorFlowModel, feeds, predictions
from mlkit_build.stages.params import EvaluateParams, FreezeParams, ReferenceParams
from mlkit_build.stages.probing import PROBED
from mlkit_build.stages.validate import _Overlap, evaluate, reference
from tests.sources.tf1 import digits, request, run_graph
from tests.stages.built import (
    IMAGE,
    PLAIN,
    TWO,
    converted,
    frozen,
    interpreted,
    pictures,
    signature_of,
    two_inputs,
    weights,
)
from tests.stages.conftest import Built
from tests.stages.select import CROPPED, cropped
from tests.stages.select import converted as converted_with_select_ops

PICTURES = Npz(path="", features={"picture": "images"})


def referred(files: Mapping[str, Path], npz: Path, spec: Npz, inputs: Mapping[str, Input], folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    read = {name: files[name] for name in ("frozen_graph.pb", "signature.json")}
    reference(to_plain(ReferenceParams(spec, inputs)), {**read, "dataset": npz}, folder)
    return folder / "reference.bin"


def evaluated(
    files: Mapping[str, Path],
    model: Path,
    npz: Path,
    spec: Npz,
    inputs: Mapping[str, Input],
    folder: Path,
    *,
    metrics: tuple[str | MetricChoice, ...] = (),
    calibration: Path | None = None,
    output: str | None = None,
) -> dict[str, Any]:
    """Run reference and evaluate; return the metrics."""
    read = {"model": model, "signature.json": files["signature.json"], "dataset": npz}
    read["reference.bin"] = referred(files, npz, spec, inputs, folder)
    if calibration:
        read["calibration"] = calibration
    chosen = tuple(MetricChoice(name=metric) if isinstance(metric, str) else metric for metric in metrics)
    params = EvaluateParams(spec, spec if calibration else None, inputs, chosen, output, scores_of="samples")
    evaluate(to_plain(params), read, folder)
    found: dict[str, Any] = json.loads((folder / "metrics.json").read_bytes())
    return found


def outputs_of(files: Mapping[str, Path], model: Path, npz: Path, spec: Npz, inputs: Mapping[str, Input]) -> list[Any]:
    """Return every output of every sample as evaluate computes them."""
    from mlkit_build.datasets import open_dataset

    dataset = open_dataset(spec, npz, "dataset")
    signature = signature_of(files)
    shipped = LiteRtModel(model, signature, feeds(dataset, signature, inputs), next(dataset.batches(PROBED)))
    rows = [results for _, results in predictions(dataset, signature, shipped.run)]
    return [np.concatenate(column) for column in zip(*rows, strict=True)]


def archive(folder: Path, **arrays: Any) -> Path:
    np.savez(folder / "data.npz", **arrays)
    return folder / "data.npz"


def test_outputs_equal_a_plain_interpreter_loop_bit_for_bit(built: Built, tmp_path: Path) -> None:
    raw = pictures(2 * BATCH + 7, seed=4)
    npz = archive(tmp_path, images=raw)
    expected = interpreted(built.files["float.tflite"], {"picture": raw.astype(np.float32) / np.float32(255)})["classes"]
    found = outputs_of(built.files, built.files["float.tflite"], npz, PICTURES, {"picture": IMAGE})
    np.testing.assert_array_equal(found[0], expected)


def test_a_uint8_models_outputs_equal_a_plain_loop_over_raw_pixels(built: Built, tmp_path: Path) -> None:
    raw = pictures(BATCH + 3, seed=4)
    npz = archive(tmp_path, images=raw)
    expected = interpreted(built.models["int8", "uint8"], {"picture": raw})["classes"].astype(np.float32) / 256
    found = outputs_of(built.files, built.models["int8", "uint8"], npz, PICTURES, {"picture": IMAGE})
    np.testing.assert_array_equal(found[0], expected)


def test_the_reference_is_what_a_plain_session_gives(built: Built, tmp_path: Path) -> None:
    import tensorflow as tf

    raw = pictures(BATCH + 9, seed=4)
    path = referred(built.files, archive(tmp_path, images=raw), PICTURES, {"picture": IMAGE}, tmp_path)
    signature = signature_of(built.files)
    graph_def = tf.compat.v1.GraphDef.FromString(built.files["frozen_graph.pb"].read_bytes())
    values = raw.astype(np.float32) / 255
    tensors = [signature.outputs[0].tensor]
    expected = [
        run_graph(graph_def, {signature.inputs[0].tensor: values[i : i + 1]}, tensors)[0][0] for i in range(0, BATCH + 9, 8)
    ]
    found = np.fromfile(path, np.float32).reshape(BATCH + 9, 4)[::8]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_float_model_is_measured_as_equal_to_tensorflow(built: Built, tmp_path: Path) -> None:
    npz = archive(tmp_path, images=pictures(20))
    found = evaluated(built.files, built.files["float.tflite"], npz, PICTURES, {"picture": IMAGE}, tmp_path)
    assert found["max_abs_error"]["value"] < 1e-5
    assert found["top1_agreement"]["value"] == 1
    assert found["size_bytes"]["value"] == built.files["float.tflite"].stat().st_size


def test_top1_counts_right_answers_of_the_model_and_of_tensorflow(built: Built, tmp_path: Path) -> None:
    raw = pictures(40, seed=8)
    winners = interpreted(built.files["float.tflite"], {"picture": raw.astype(np.float32) / 255})["classes"].argmax(1)
    labels = winners.copy()
    labels[:10] = (labels[:10] + 1) % 4
    npz = archive(tmp_path, images=raw, labels=labels)
    spec = Npz(path="", features={"picture": "images"}, label="labels")
    found = evaluated(built.files, built.files["float.tflite"], npz, spec, {"picture": IMAGE}, tmp_path, metrics=("top1",))
    assert (found["top1"]["value"], found["top1"]["reference"]) == (0.75, 0.75)


def through_stages(build: Callable[[Any], Any], asked: FreezeParams, folder: Path) -> dict[str, Path]:
    return converted(frozen(build, asked, folder), folder)


def sample_by_sample(tf1: Any) -> None:
    """Build [1, 6] -> [1, 6] with a batch of 1 in the middle: TensorFlow's import bakes it into a Reshape."""
    x = tf1.placeholder("float32", [1, 6], name="x")
    h = tf1.reshape(tf1.matmul(x, tf1.constant(weights(6, 6))), [1, 2, 3])
    tf1.reshape(tf1.nn.relu(h) + 1.0, [1, 6], name="y")


def mixes_the_batch(tf1: Any) -> None:
    """Build a net whose answer for a sample depends on the others in the batch."""
    x = tf1.placeholder("float32", [1, 6], name="x")
    tf1.subtract(x, tf1.reduce_mean(x, axis=0, keepdims=True) * 0.5, name="y")


def divides_by_the_peak(tf1: Any) -> None:
    """Build a net whose answer depends on the others in the batch only where one of them is greater than 1."""
    x = tf1.placeholder("float32", [1, 6], name="x")
    tf1.divide(x, tf1.maximum(1.0, tf1.reduce_max(tf1.abs(x))), name="y")


@pytest.mark.parametrize("build", [sample_by_sample, mixes_the_batch, divides_by_the_peak])
def test_a_model_that_cannot_be_batched_is_measured_one_by_one(tmp_path: Path, build: Callable[[Any], Any]) -> None:
    files = through_stages(build, request({"x": "x:0"}, {"y": "y:0"}), tmp_path)
    values = digits(30, [6])
    values[:5] = 0  # on which batches are tried
    values[20:] *= 50
    npz, spec = archive(tmp_path, x=values), Npz(path="", features={"x": "x"})
    expected = interpreted(files["float.tflite"], {"x": values})["y"]
    np.testing.assert_array_equal(outputs_of(files, files["float.tflite"], npz, spec, {"x": PLAIN})[0], expected)
    found = evaluated(files, files["float.tflite"], npz, spec, {"x": PLAIN}, tmp_path)
    assert found["max_abs_error"]["value"] < 1e-5


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "uint8", "int64", "bool"])
def test_a_model_without_such_a_trait_is_batched_whatever_its_samples_are(tmp_path: Path, dtype: str) -> None:
    def plain(tf1: Any) -> None:
        x = tf1.placeholder("float32", [None, 6], name="x")
        tf1.nn.relu(tf1.matmul(x, tf1.constant(weights(6, 6))), name="y")

    from mlkit_build.datasets import open_dataset

    files = through_stages(plain, request({"x": "x:0"}, {"y": "y:0"}), tmp_path)
    npz, spec = archive(tmp_path, x=(digits(30, [6]) * 3).astype(dtype)), Npz(path="", features={"x": "x"})
    dataset, signature = open_dataset(spec, npz, "dataset"), signature_of(files)
    first = next(dataset.batches(PROBED))
    fed = feeds(dataset, signature, {"x": PLAIN})
    assert LiteRtModel(files["float.tflite"], signature, fed, first).batch > 1
    assert TensorFlowModel(files["frozen_graph.pb"], signature, fed, first).batched


def test_a_model_with_a_pinned_batch_above_1_is_refused_in_words(tmp_path: Path) -> None:
    def double(tf1: Any) -> None:
        tf1.multiply(tf1.placeholder("float32", [None, 3], name="x"), 2.0, name="y")

    files = through_stages(double, request({"x": ("x:0", (4, 3))}, {"y": "y:0"}), tmp_path)
    spec = Npz(path="", features={"x": "x"})
    with pytest.raises(ConfigError, match=r"signature\.inputs\.x\.shape: expected a batch of 1, .* found \[4, 3\]"):
        referred(files, archive(tmp_path, x=digits(8, [3])), spec, {"x": PLAIN}, tmp_path)


def test_the_worst_output_is_the_one_that_is_reported(tmp_path: Path) -> None:
    files = through_stages(two_inputs, TWO, tmp_path)
    npz = archive(tmp_path, a=digits(70, [8]), b=digits(70, [6], seed=4))
    spec, inputs = Npz(path="", features={"left": "a", "right": "b"}), {"left": PLAIN, "right": PLAIN}
    good = evaluated(files, files["float.tflite"], npz, spec, inputs, tmp_path)
    assert good["max_abs_error"]["value"] < 1e-5
    path = tmp_path / "reference.bin"
    table = np.fromfile(path, np.float32)
    # Outputs lie one after the other: 70 samples of "wide" (5), then 70 of "narrow" (3). Spoil one value of the second.
    table[70 * 5 + 3 * 20] += 7
    table.tofile(path)
    read = {"model": files["float.tflite"], "signature.json": files["signature.json"], "dataset": npz, "reference.bin": path}
    evaluate(to_plain(EvaluateParams(spec, None, inputs, (), None)), read, tmp_path)
    spoiled = json.loads((tmp_path / "metrics.json").read_bytes())
    assert spoiled["max_abs_error"]["value"] == pytest.approx(7, abs=1e-4)
    assert spoiled["cosine"]["value"] < good["cosine"]["value"]


def test_the_output_that_the_recipe_names_is_the_one_that_is_judged(tmp_path: Path) -> None:
    files = through_stages(two_inputs, TWO, tmp_path)
    feeds = {"left": digits(30, [8]), "right": digits(30, [6], seed=4)}
    answers = interpreted(files["float.tflite"], feeds)
    npz = archive(tmp_path, a=feeds["left"], b=feeds["right"], labels=answers["narrow"].argmax(1))
    spec = Npz(path="", features={"left": "a", "right": "b"}, label="labels")
    inputs = {"left": PLAIN, "right": PLAIN}
    judged = {
        output: evaluated(
            files, files["float.tflite"], npz, spec, inputs, tmp_path / str(output), metrics=("top1",), output=output
        )["top1"]["value"]
        for output in ("narrow", "wide", None)
    }
    expected = float(np.mean(answers["wide"].argmax(1) == answers["narrow"].argmax(1)))
    assert judged["narrow"] == 1
    assert judged["wide"] == judged[None] == pytest.approx(expected, rel=1e-5)
    assert expected < 1


def test_parity_of_several_outputs_is_told_for_each_and_gated_by_the_worst(tmp_path: Path) -> None:
    files = through_stages(two_inputs, TWO, tmp_path)
    npz = archive(tmp_path, a=digits(30, [8]), b=digits(30, [6], seed=4))
    spec, inputs = Npz(path="", features={"left": "a", "right": "b"}), {"left": PLAIN, "right": PLAIN}
    found = evaluated(files, files["float.tflite"], npz, spec, inputs, tmp_path)
    table = json.loads((tmp_path / "tables.json").read_bytes())["parity"]
    assert table["columns"] == ["output", "max_abs_error", "rms_error", "sqnr_db", "cosine", "top1_agreement"]
    assert [row[-1] is None for row in table["rows"]] == [False, True]  # the metrics read the first output, as class scores
    assert [row[0] for row in table["rows"]] == ["wide", "narrow"]
    for column, pick in (("rms_error", max), ("sqnr_db", min)):
        values = [row[table["columns"].index(column)] for row in table["rows"]]
        assert found[column]["value"] == pick(values)
        assert found[column]["output"] == table["rows"][values.index(pick(values))][0]


def test_values_are_labels_of_a_regression_and_every_metric_reads_the_output_that_is_judged(tmp_path: Path) -> None:
    files = through_stages(two_inputs, TWO, tmp_path)
    feeds = {"left": digits(30, [8]), "right": digits(30, [6], seed=4)}
    answers = interpreted(files["float.tflite"], feeds)["narrow"]
    npz = archive(tmp_path, a=feeds["left"], b=feeds["right"], labels=answers + np.float32(0.25))
    spec = Npz(path="", features={"left": "a", "right": "b"}, label="labels")
    asked = ("mae", "rmse", MetricChoice(name="psnr", options={"peak": 2.5}))
    inputs = {"left": PLAIN, "right": PLAIN}
    found = evaluated(files, files["float.tflite"], npz, spec, inputs, tmp_path, metrics=asked, output="narrow")
    assert found["mae"]["value"] == found["rmse"]["value"] == pytest.approx(0.25, abs=1e-5)
    assert found["mae"]["reference"] == pytest.approx(0.25, abs=1e-5)
    assert found["psnr_db"]["value"] == pytest.approx(20, abs=1e-3)
    with pytest.raises(ConfigError, match=r"as many values per sample as the output has, found \[3\] of float32 per sample"):
        evaluated(files, files["float.tflite"], npz, spec, inputs, tmp_path, metrics=asked, output="wide")


def logarithm(tf1: Any) -> None:
    tf1.identity(tf1.log(tf1.placeholder("float32", [1, 2], name="x")), name="y")


def test_an_output_that_is_no_number_in_tensorflow_is_named_with_its_sample(tmp_path: Path) -> None:
    files = through_stages(logarithm, request({"x": "x:0"}, {"y": "y:0"}), tmp_path)
    values = np.ones((80, 2), np.float32)
    values[71, 1] = -1
    spec = Npz(path="", features={"x": "x"})
    with pytest.raises(
        StageError, match=r"reference: TensorFlow's output 'y' is not finite for sample 71: .* found nan"
    ) as refused:
        referred(files, archive(tmp_path, x=values), spec, {"x": PLAIN}, tmp_path)
    assert refused.value.hint.startswith("the model itself gives it")


def test_an_output_that_is_no_number_in_the_model_is_named_with_its_sample(tmp_path: Path) -> None:
    files = through_stages(logarithm, request({"x": "x:0"}, {"y": "y:0"}), tmp_path)
    values = np.ones((80, 2), np.float32)
    values[71, 1] = -1
    np.zeros(160, np.float32).tofile(tmp_path / "reference.bin")
    read = {
        "model": files["float.tflite"],
        "signature.json": files["signature.json"],
        "dataset": archive(tmp_path, x=values),
        "reference.bin": tmp_path / "reference.bin",
    }
    params = EvaluateParams(Npz(path="", features={"x": "x"}), None, {"x": PLAIN}, (), None)
    with pytest.raises(StageError, match=r"evaluate: the model's output 'y' is not finite for sample 71") as refused:
        evaluate(to_plain(params), read, tmp_path)
    assert "the quantization may overflow" in refused.value.hint


def test_class_labels_of_floating_point_are_told_how_to_save_them(built: Built, tmp_path: Path) -> None:
    npz = archive(tmp_path, images=pictures(70), labels=np.full(70, 2.0))
    spec = Npz(path="", features={"picture": "images"}, label="labels")
    with pytest.raises(ConfigError, match=r"class indices, as integers, found float64: sample 0 has 2") as refused:
        evaluated(built.files, built.files["float.tflite"], npz, spec, {"picture": IMAGE}, tmp_path, metrics=("top1",))
    assert "labels.astype(np.int64)" in refused.value.hint


@pytest.mark.parametrize("label", [4, -1])
def test_a_label_outside_the_classes_is_refused_with_its_sample(built: Built, tmp_path: Path, label: int) -> None:
    labels = np.zeros(70, np.int64)
    labels[66] = label
    npz = archive(tmp_path, images=pictures(70), labels=labels)
    spec = Npz(path="", features={"picture": "images"}, label="labels")
    with pytest.raises(ConfigError, match=rf"sample 66: expected a label in 0\.\.3, the model's classes, found {label}"):
        evaluated(built.files, built.files["float.tflite"], npz, spec, {"picture": IMAGE}, tmp_path, metrics=("top1",))


def test_a_sample_among_chosen_ones_is_told_with_its_place_in_the_file(built: Built, tmp_path: Path) -> None:
    labels = np.zeros(70, np.int64)
    labels[66] = 4
    npz = archive(tmp_path, images=pictures(70), labels=labels)
    spec = Npz(path="", features={"picture": "images"}, label="labels", samples=68)
    with pytest.raises(ConfigError) as caught:
        evaluated(built.files, built.files["float.tflite"], npz, spec, {"picture": IMAGE}, tmp_path, metrics=("top1",))
    assert re.search(r"sample 6\d of those chosen, which is sample 66 of all: expected a label in 0\.\.3", caught.value.message)


@pytest.mark.parametrize("dtype", ["uint8", "float32", "int64"])
def test_a_calibration_sample_in_the_validation_set_is_refused(built: Built, tmp_path: Path, dtype: str) -> None:
    raw = pictures(20)
    npz = archive(tmp_path, images=raw)
    other = pictures(6, seed=99)
    other[4] = raw[13]
    np.savez(tmp_path / "calibration.npz", images=other.astype(dtype))
    model = built.models["int8", "float32"]
    with pytest.raises(ConfigError, match=r"calibration: 1 of its 6 samples are also in .* \(the first is sample 4 of"):
        evaluated(built.files, model, npz, PICTURES, {"picture": IMAGE}, tmp_path, calibration=tmp_path / "calibration.npz")


def test_other_calibration_samples_are_let_through(built: Built, tmp_path: Path) -> None:
    npz = archive(tmp_path, images=pictures(20))
    np.savez(tmp_path / "calibration.npz", images=pictures(6, seed=99))
    model = built.models["int8", "float32"]
    found = evaluated(built.files, model, npz, PICTURES, {"picture": IMAGE}, tmp_path, calibration=tmp_path / "calibration.npz")
    assert found["cosine"]["value"] > 0.99


def test_a_model_that_litert_cannot_run_is_a_stage_error(built: Built, tmp_path: Path) -> None:
    (tmp_path / "broken.tflite").write_bytes(b"\x1c\0\0\0TFL3" + bytes(100))
    npz = archive(tmp_path, images=pictures(4))
    with pytest.raises(StageError, match="evaluate: LiteRT cannot run the model"):
        evaluated(built.files, tmp_path / "broken.tflite", npz, PICTURES, {"picture": IMAGE}, tmp_path)


def test_a_truncated_reference_is_found(built: Built, tmp_path: Path) -> None:
    npz = archive(tmp_path, images=pictures(4))
    (tmp_path / "reference.bin").write_bytes(bytes(60))
    read = {
        "model": built.files["float.tflite"],
        "signature.json": built.files["signature.json"],
        "dataset": npz,
        "reference.bin": tmp_path / "reference.bin",
    }
    with pytest.raises(StageError, match="the reference outputs have 60 bytes, expected 64"):
        evaluate(to_plain(EvaluateParams(PICTURES, None, {"picture": IMAGE}, (), None)), read, tmp_path)


def test_without_a_dataset_the_file_alone_is_measured(built: Built, tmp_path: Path) -> None:
    read = {"model": built.files["float.tflite"], "signature.json": built.files["signature.json"]}
    evaluate(to_plain(EvaluateParams(None, None, {"picture": IMAGE}, (), None)), read, tmp_path)
    assert set(json.loads((tmp_path / "metrics.json").read_bytes())) == {"size_bytes", "arena_bytes"}


def test_measuring_twice_gives_the_same_bytes(built: Built, tmp_path: Path) -> None:
    npz = archive(tmp_path, images=pictures(150))
    for name in ("one", "two"):
        model = built.models["dynamic_range", "float32"]
        evaluated(built.files, model, npz, PICTURES, {"picture": IMAGE}, tmp_path / name)
    assert (tmp_path / "one" / "metrics.json").read_bytes() == (tmp_path / "two" / "metrics.json").read_bytes()
    signature = FrozenSignature.read(built.files["signature.json"])
    assert (tmp_path / "one" / "reference.bin").stat().st_size == 150 * signature.outputs[0].size * 4


def measured_with_select_ops(files: Mapping[str, Path], npz: Path, spec: Npz, inputs: Mapping[str, Input], folder: Path) -> bytes:
    """Run evaluate with `allow_select_ops` on the float model; return what it wrote."""
    reference_path = referred(files, npz, spec, inputs, folder)
    read = {"model": files["float.tflite"], "signature.json": files["signature.json"], "dataset": npz}
    params = EvaluateParams(spec, None, inputs, (), None, allow_select_ops=True, scores_of="samples")
    evaluate(to_plain(params), {**read, "reference.bin": reference_path}, folder)
    return (folder / "metrics.json").read_bytes()


def test_a_model_with_flex_operators_is_measured_as_equal_to_tensorflow(tmp_path: Path) -> None:
    files = converted_with_select_ops(cropped, CROPPED, tmp_path)
    npz, inputs = archive(tmp_path, images=digits(BATCH + 7, [8, 8, 3])), {"picture": PLAIN}
    written = [measured_with_select_ops(files, npz, PICTURES, inputs, tmp_path / name) for name in ("one", "two")]
    assert written[0] == written[1]
    found = json.loads(written[0])
    assert (found["FlexCropAndResize"]["value"], found["FlexCropAndResize"]["reference"]) == (1, None)
    assert found["max_abs_error"]["value"] < 1e-5
    assert found["top1_agreement"]["value"] == 1


def test_one_wrong_sample_of_a_model_with_flex_operators_is_seen(tmp_path: Path) -> None:
    files = converted_with_select_ops(cropped, CROPPED, tmp_path)
    images = digits(40, [8, 8, 3])
    reference_path = referred(files, archive(tmp_path, images=images), PICTURES, {"picture": PLAIN}, tmp_path)
    images[31] *= 3
    read = {"model": files["float.tflite"], "signature.json": files["signature.json"], "reference.bin": reference_path}
    params = EvaluateParams(PICTURES, None, {"picture": PLAIN}, (), None, allow_select_ops=True)
    evaluate(to_plain(params), {**read, "dataset": archive(tmp_path, images=images)}, tmp_path)
    assert json.loads((tmp_path / "metrics.json").read_bytes())["max_abs_error"]["value"] > 0.1


def test_leave_for_flex_operators_changes_nothing_for_a_model_without(built: Built, tmp_path: Path) -> None:
    npz, inputs = archive(tmp_path, images=pictures(20)), {"picture": IMAGE}
    evaluated(built.files, built.files["float.tflite"], npz, PICTURES, inputs, tmp_path / "plain")
    found = measured_with_select_ops(built.files, npz, PICTURES, inputs, tmp_path / "select")
    assert found == (tmp_path / "plain" / "metrics.json").read_bytes()


def test_without_a_dataset_flex_operators_are_counted_wherever_they_are(tmp_path: Path) -> None:
    files = converted_with_select_ops(cropped, CROPPED, tmp_path)
    read = {"model": files["float.tflite"], "signature.json": files["signature.json"]}
    evaluate(to_plain(EvaluateParams(None, None, {"picture": PLAIN}, (), None, allow_select_ops=True)), read, tmp_path)
    assert set(json.loads((tmp_path / "metrics.json").read_bytes())) == {"size_bytes", "FlexCropAndResize"}


def test_a_sample_that_a_flex_operator_refuses_is_a_stage_error_and_zeros_are_not_tried(tmp_path: Path) -> None:
    def inverse(tf1: Any) -> None:
        tf1.identity(tf1.linalg.inv(tf1.placeholder("float32", [1, 2, 2], name="x")), name="y")

    files = converted_with_select_ops(inverse, request({"x": "x:0"}, {"y": "y:0"}), tmp_path)
    values = digits(20, [2, 2]) + 2 * np.eye(2, dtype=np.float32)
    spec = Npz(path="", features={"x": "x"})
    found = json.loads(measured_with_select_ops(files, archive(tmp_path, x=values), spec, {"x": PLAIN}, tmp_path))
    assert found["max_abs_error"]["value"] < 1e-5
    values[17] = 0
    read = {"model": files["float.tflite"], "signature.json": files["signature.json"]}
    params = EvaluateParams(spec, None, {"x": PLAIN}, (), None, allow_select_ops=True)
    npz = archive(tmp_path, x=values)
    with pytest.raises(StageError, match="evaluate: TensorFlow cannot run FlexMatrixInverse: Input is not invertible"):
        evaluate(to_plain(params), {**read, "dataset": npz, "reference.bin": tmp_path / "reference.bin"}, tmp_path)


def lookup(tf1: Any) -> None:
    indices = tf1.placeholder("int32", [1, 4], name="ids")
    tf1.reduce_sum(tf1.gather(tf1.constant(np.eye(10, dtype=np.float32)), indices), axis=1, name="y")


IDS = Npz(path="", features={"ids": "words"})


def test_a_model_that_looks_its_input_up_is_not_run_on_what_memory_happens_to_hold(tmp_path: Path) -> None:
    files = through_stages(lookup, request({"ids": "ids:0"}, {"y": "y:0"}), tmp_path)
    npz = archive(tmp_path, words=np.arange(80, dtype=np.int32).reshape(20, 4) % 10)
    referred(files, npz, IDS, {"ids": PLAIN}, tmp_path)
    assert evaluated(files, files["float.tflite"], npz, IDS, {"ids": PLAIN}, tmp_path)["max_abs_error"]["value"] == 0


@pytest.mark.parametrize(("count", "row"), [(300, 217), (2, 1)])
def test_an_index_out_of_range_is_named_with_its_input_and_its_sample(tmp_path: Path, count: int, row: int) -> None:
    files = through_stages(lookup, request({"ids": "ids:0"}, {"y": "y:0"}), tmp_path)
    words = np.zeros((count, 4), np.int32)
    words[row, 2] = 12
    with pytest.raises(ConfigError) as caught:
        referred(files, archive(tmp_path, words=words), IDS, {"ids": PLAIN}, tmp_path)
    expected = f"array 'words': sample {row}: the input 'ids' holds the index 12, expected 0..9"
    assert caught.value.message == f"dataset.path: {tmp_path / 'data.npz'}, {expected}"


def two_lookups(tf1: Any) -> None:
    city, day = tf1.placeholder("int32", [1, 1], name="city"), tf1.placeholder("int32", [1, 1], name="day")
    image = tf1.placeholder("float32", [1, 1], name="image")
    cities, days = tf1.constant(np.eye(100, 4, dtype=np.float32)), tf1.constant(np.eye(5, 4, dtype=np.float32))
    tf1.add(tf1.reduce_sum(tf1.gather(cities, city) + tf1.gather(days, day), axis=1), image, name="y")


def test_of_several_inputs_the_one_with_the_index_is_named_though_others_hold_the_number_too(tmp_path: Path) -> None:
    asked = request({"city": "city:0", "day": "day:0", "image": "image:0"}, {"y": "y:0"})
    files = through_stages(two_lookups, asked, tmp_path)
    city, day = np.arange(300, dtype=np.int32)[:, np.newaxis] % 100, np.zeros((300, 1), np.int32)
    day[217] = 7
    spec = Npz(path="", features={"city": "c", "day": "d", "image": "i"})
    npz = archive(tmp_path, c=city, d=day, i=np.full((300, 1), 7, np.float32))
    with pytest.raises(ConfigError, match=r"array 'd': sample 217: the input 'day' holds the index 7, expected 0\.\.4"):
        referred(files, npz, spec, dict.fromkeys(("city", "day", "image"), PLAIN), tmp_path)


def test_a_sample_that_tensorflow_refuses_is_told_with_its_reason(tmp_path: Path) -> None:
    def inverse(tf1: Any) -> None:
        tf1.linalg.inv(tf1.placeholder("float32", [1, 2, 2], name="x"), name="y")

    files = frozen(inverse, request({"x": "x:0"}, {"y": "y:0"}), tmp_path)
    samples = np.tile(np.eye(2, dtype=np.float32), (5, 1, 1))
    samples[4] = 0
    values = archive(tmp_path, x=samples)
    with pytest.raises(StageError, match=r"reference: TensorFlow cannot run the model on sample 4: Input is not invertible"):
        referred(files, values, Npz(path="", features={"x": "x"}), {"x": PLAIN}, tmp_path)


@pytest.mark.parametrize(
    ("calibrated", "measured", "shared"),
    [
        (np.array([[16777217]], np.int32), np.array([[16777216]], np.int64), False),  # as float32 they are one number
        (np.array([[16777217]], np.int32), np.array([[16777217]], np.int64), True),
        (np.array([[3]], np.uint8), np.array([[3.0]], np.float32), True),
    ],
)
def test_numbers_of_other_types_are_compared_as_the_model_takes_them(
    tmp_path: Path, calibrated: Any, measured: Any, shared: bool
) -> None:
    spec = Npz(path="", features={"ids": "a"})
    datasets = []
    for name, values in (("calibration", calibrated), ("dataset", measured)):
        np.savez(tmp_path / f"{name}.npz", a=values)
        datasets.append(open_dataset(spec, tmp_path / f"{name}.npz", name))
    dtype = "int64" if measured.dtype.kind == "i" else "float32"
    signature = FrozenSignature((TensorSpec("ids", "ids:0", (1, 1), dtype),), ())
    overlap = _Overlap(*datasets, signature)
    for batch in datasets[1].batches(8):
        overlap.look(batch)
    if shared:
        with pytest.raises(ConfigError, match="1 of its 1 samples are also in the validation dataset"):
            overlap.refuse()
    else:
        overlap.refuse()
