"""Models that others trained and published, built as a user would, against what their authors or TensorFlow say.

They are not part of the project: the tests skip where the folder is absent (see its README for sources and licences).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlkit_build.config.roots import builtin
from mlkit_build.workflow import JobReport
from tests.conftest import Workspace

Find = Callable[[str], Path]


def value(report: JobReport, name: str) -> float:
    assert report.exit_code == 0, report.error
    assert report.metrics is not None
    return report.metrics[name].value


def model_of(report: JobReport) -> Path:
    assert report.bundle is not None
    return report.bundle / f"{report.recipe}.tflite"


def answers(path: Path, **feeds: Any) -> dict[str, Any]:
    from ai_edge_litert.interpreter import Interpreter

    found: dict[str, Any] = Interpreter(model_path=str(path)).get_signature_runner("serving_default")(**feeds)
    return found


def random_samples(folder: Path, shape: tuple[int, ...], low: float = -1, high: float = 1, count: int = 8) -> dict[str, Any]:
    """Write uniform samples for parity; return the recipe's dataset."""
    values = np.random.default_rng(0).uniform(low, high, (count, *shape)).astype(np.float32)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "samples.npz", x=values)
    return {"kind": "npz", "path": "samples.npz", "features": {"x": "x"}}


@pytest.fixture
def gtsrb(workspace: Workspace, shared_model: Find) -> Workspace:
    """The traffic-sign LeNet with its author's test images, split so that calibration has images of its own."""
    archive = shared_model("tf1_checkpoint/gtsrb_lenet/gtsrb_test_2000.npz")
    folder = workspace.write(
        "gtsrb",
        {
            "source": {"kind": "tf1_checkpoint", "path": str(shared_model("tf1_checkpoint/gtsrb_lenet/lenet"))},
            "signature": {
                "inputs": {"image": {"tensor": "Placeholder:0"}},
                "outputs": {"logits": {"tensor": "Add_2:0"}},
                "constants": {"Placeholder_2:0": 1.0},
            },
            "dataset": {"kind": "npz", "path": str(archive), "features": {"image": "images"}, "label": "labels"},
            "calibration": {"kind": "npz", "path": "calibration.npz", "features": {"image": "images"}},
            "validation": {"metrics": ["top1"]},
        },
    )
    with np.load(archive) as data:
        np.savez(folder / "calibration.npz", images=255 - data["images"][:50])
    return workspace


@pytest.mark.parametrize(("quantization", "lowest"), [("float32", 0.9515), ("float16", 0.95), ("dynamic_range", 0.945)])
def test_gtsrb_lenet_reaches_its_authors_accuracy(gtsrb: Workspace, quantization: str, lowest: float) -> None:
    report = gtsrb.build("recipe=gtsrb", f"quantization={quantization}")
    assert value(report, "top1") >= lowest
    assert report.metrics is not None
    # The README of the models: TensorFlow gives 95.15% on these 2,000 images.
    assert report.metrics["top1"].reference == 0.9515


def test_gtsrb_lenet_as_int8_is_refused_for_its_operators_without_integer_form(gtsrb: Workspace) -> None:
    # ai-edge-quantizer 0.10 has no static quantization of LEAKY_RELU, and the graph casts uint8 pixels to float.
    report = gtsrb.build("recipe=gtsrb", "quantization=int8")
    assert report.exit_code == 1
    assert report.error is not None
    assert "stayed float: CAST" in report.error.message
    assert "LEAKY_RELU" in report.error.message
    assert "quantization=dynamic_range" in report.error.hint


def test_a_v1_checkpoint_of_mnist_classifies_as_in_tensorflow(workspace: Workspace, shared_model: Find) -> None:
    mnist = builtin("recipes") / "mnist" / "data"
    workspace.write(
        "v1",
        {
            "source": {"kind": "tf1_checkpoint", "path": str(shared_model("tf1_checkpoint/v1_format_mnist/model.ckp"))},
            "signature": {
                "inputs": {"x": {"tensor": "feature:0", "shape": [1, 28, 28, 1]}},
                "outputs": {"y": {"tensor": "fc1_1/add:0"}},
            },
            "dataset": {
                "kind": "npz",
                "path": str(mnist / "mnist_test.npz"),
                "features": {"x": "images"},
                "label": "labels",
            },
            "calibration": {"kind": "npz", "path": str(mnist / "mnist_calibration.npz"), "features": {"x": "images"}},
            "validation": {"metrics": ["top1"]},
        },
    )
    report = workspace.build("recipe=v1")
    # "about 83% on MNIST", which a plain session reaches with pixels in 0..255: 83.10% of the 10,000 test images.
    assert value(report, "top1") == 0.831
    assert report.metrics is not None
    assert report.metrics["top1"].drop == 0
    assert value(report, "cosine") > 0.999999
    assert value(workspace.build("recipe=v1", "quantization=int8"), "top1") > 0.80


@pytest.mark.parametrize(
    ("file", "output", "labels"),
    [
        ("frozen_graph.pb", "MobilenetV1/Predictions/Reshape_1:0", "labels.txt"),
        ("retrained_graph.pb", "final_result:0", "retrained_labels.txt"),
    ],
)
def test_mobilenet_of_the_codelab_agrees_with_tensorflow(
    workspace: Workspace, shared_model: Find, file: str, output: str, labels: str
) -> None:
    folder = shared_model("frozen_graph/mobilenet_v1_025_128")
    recipe = {
        "source": {"kind": "frozen_graph", "path": str(shared_model(f"frozen_graph/mobilenet_v1_025_128/{file}"))},
        "signature": {
            "inputs": {"x": {"tensor": "input:0", "shape": [1, 128, 128, 3]}},
            "outputs": {"scores": {"tensor": output}},
        },
    }
    samples = random_samples(workspace.folder / "recipes" / "mobilenet", (128, 128, 3))
    workspace.write("mobilenet", {**recipe, "dataset": samples})
    report = workspace.build("recipe=mobilenet")
    assert value(report, "max_abs_error") < 1e-5
    assert value(report, "top1_agreement") == 1
    scores = answers(model_of(report), x=np.zeros((1, 128, 128, 3), np.float32))["scores"]
    assert scores.shape == (1, len((folder / labels).read_text().splitlines()))


def test_the_pose_net_agrees_with_its_authors_own_tflite_file(workspace: Workspace, shared_model: Find) -> None:
    from ai_edge_litert.interpreter import Interpreter

    folder = workspace.folder / "recipes" / "cpm"
    workspace.write(
        "cpm",
        {
            "source": {"kind": "frozen_graph", "path": str(shared_model("frozen_graph/cpm/model.pb"))},
            "signature": {
                "inputs": {"x": {"tensor": "image:0", "shape": [1, 192, 192, 3]}},
                "outputs": {"maps": {"tensor": "Convolutional_Pose_Machine/stage_5_out:0"}},
            },
            "dataset": random_samples(folder, (192, 192, 3), 0, 255, count=2),
        },
    )
    report = workspace.build("recipe=cpm")
    assert value(report, "max_abs_error") < 1e-4
    x = np.random.default_rng(1).uniform(0, 255, (1, 192, 192, 3)).astype(np.float32)
    theirs = Interpreter(model_path=str(shared_model("frozen_graph/cpm/model.tflite")))
    theirs.allocate_tensors()
    theirs.set_tensor(theirs.get_input_details()[0]["index"], x)
    theirs.invoke()
    expected = theirs.get_tensor(theirs.get_output_details()[0]["index"])
    # The README of the models: the authors' file agrees to 5.6e-6.
    np.testing.assert_allclose(answers(model_of(report), x=x)["maps"], expected, atol=2e-5)


def test_a_frozen_net_of_dense_layers_reaches_its_authors_accuracy(workspace: Workspace, shared_model: Find) -> None:
    folder = workspace.folder / "recipes" / "fc"
    folder.mkdir(parents=True)
    with np.load(builtin("recipes") / "mnist" / "data" / "mnist_test.npz") as data:
        images, labels = data["images"][:2000], data["labels"][:2000]
    np.savez(folder / "data.npz", x=images.reshape(2000, 784), labels=labels)
    workspace.write(
        "fc",
        {
            "source": {"kind": "frozen_graph", "path": str(shared_model("frozen_graph/mnist_fc-layers.pb"))},
            "signature": {
                "inputs": {"x": {"tensor": "X:0", "shape": [1, 784], "mean": [0], "std": [255]}},
                "outputs": {"y": {"tensor": "output:0"}},
            },
            "dataset": {"kind": "npz", "path": "data.npz", "features": {"x": "x"}, "label": "labels"},
            "validation": {"metrics": ["top1"]},
        },
    )
    # The README of the models: 94.05% on the first 2,000 test images.
    assert value(workspace.build("recipe=fc"), "top1") == 0.9405


def test_the_same_regression_as_checkpoint_and_as_graph_gives_the_same_model(workspace: Workspace, shared_model: Find) -> None:
    found = []
    for name, source in (
        ("from_checkpoint", {"kind": "tf1_checkpoint", "path": str(shared_model("tf1_checkpoint/regression/checkpoint/model"))}),
        ("from_graph", {"kind": "frozen_graph", "path": str(shared_model("tf1_checkpoint/regression/graphdef/frozen.pb"))}),
    ):
        recipe = {"source": source, "signature": {"inputs": {"x": {"tensor": "X:0"}}, "outputs": {"y": {"tensor": "pred:0"}}}}
        folder = workspace.folder / "recipes" / name
        workspace.write(name, {**recipe, "dataset": random_samples(folder, ())})
        workspace.edit(name, {"signature.inputs.x.shape": [1]})
        report = workspace.build(f"recipe={name}")
        assert value(report, "max_abs_error") < 1e-6
        found.append(answers(model_of(report), x=np.array([3.0], np.float32))["y"])
    np.testing.assert_array_equal(found[0], found[1])


def test_musicnn_with_its_unnamed_checkpoint_agrees_with_tensorflow(workspace: Workspace, shared_model: Find) -> None:
    folder = workspace.folder / "recipes" / "musicnn"
    workspace.write(
        "musicnn",
        {
            "source": {"kind": "tf1_checkpoint", "path": f"{shared_model('tf1_checkpoint/musicnn_mtt')}/.meta"},
            "signature": {
                "inputs": {"x": {"tensor": "model/Placeholder:0", "shape": [1, 187, 96]}},
                "outputs": {"tags": {"tensor": "model/Sigmoid:0"}},
                "constants": {"model/Placeholder_2:0": False},
            },
            "dataset": random_samples(folder, (187, 96), 0, 4, count=4),
        },
    )
    assert value(workspace.build("recipe=musicnn"), "max_abs_error") < 1e-5


def test_the_folder_of_an_unnamed_checkpoint_is_enough_and_its_switch_is_named(workspace: Workspace, shared_model: Find) -> None:
    folder = shared_model("tf1_checkpoint/musicnn_mtt")
    workspace.write(
        "musicnn",
        {
            "source": {"kind": "tf1_checkpoint", "path": str(folder)},
            "signature": {"inputs": {"x": {"tensor": "model/Placeholder:0"}}, "outputs": {"y": {"tensor": "model/Sigmoid:0"}}},
        },
    )
    report = workspace.build("recipe=musicnn")
    assert report.exit_code == 2
    assert report.error is not None
    assert '"model/Placeholder_2:0": ...' in report.error.hint


def test_a_face_detector_that_cannot_be_converted_says_what_and_what_to_do(workspace: Workspace, shared_model: Find) -> None:
    workspace.write(
        "mtcnn",
        {
            "source": {"kind": "frozen_graph", "path": str(shared_model("frozen_graph/mtcnn.pb"))},
            "signature": {
                "inputs": {"image": {"tensor": "input:0", "shape": [128, 128, 3]}},
                "outputs": {"boxes": {"tensor": "box:0"}},
                "constants": {"min_size:0": 40.0, "thresholds:0": [0.6, 0.7, 0.7], "factor:0": 0.7},
            },
        },
    )
    found = workspace.cli("recipe=mtcnn")
    print(found.stderr, found.stdout)
    assert found.returncode in (1, 2)
    assert "Traceback" not in found.stderr + found.stdout
    assert "error: " in found.stderr
    assert "hint: " in found.stderr
