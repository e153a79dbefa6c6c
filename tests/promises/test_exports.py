"""What is exported computes what was trained, byte for byte the same wherever and whenever, and only what changed is redone."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from mlkit_build.engine.pool import Pool
from mlkit_build.job import JobReport
from tests.conftest import Workspace, built_once
from tests.promises.conftest import Command

MODES = ["float32", "float16", "dynamic_range"]
PACKAGING = {"describe", "app", "package", "readme"}


def only_model(report: JobReport) -> Path:
    assert report.exit_code == 0, report.error
    assert report.bundle is not None
    return report.bundle / f"{report.recipe}.tflite"


def reasons(report: JobReport) -> dict[str, str]:
    return {result.action.name: result.reason for result in report.actions if not result.cached}


# The article's two models: x + 1, and x * w with w assigned 2 after its initializer gave 0.
@pytest.mark.parametrize("quantization", MODES)
@pytest.mark.parametrize(("recipe", "expected"), [("add_one", 43.0), ("multiply", 84.0)])
def test_the_articles_models_answer_42_as_they_were_made(
    workspace: Workspace, recipe: str, expected: float, quantization: str
) -> None:
    from ai_edge_litert.interpreter import Interpreter

    model = only_model(workspace.build(f"recipe={recipe}", f"quantization={quantization}"))
    runner = Interpreter(model_path=str(model)).get_signature_runner("serving_default")
    assert runner(x=np.array([42.0], np.float32))["y"].tolist() == [expected]


def test_a_bundle_that_was_measured_is_not_replaced_by_one_that_is_not_without_a_word(
    warm_workspace: Workspace, command: Command
) -> None:
    assert command("recipe=mnist")[0] == 0
    unmeasured = ("recipe=mnist", "dataset=null", "validation={}", "ui=plain")
    code, _, err = command(*unmeasured)
    assert code == 0
    (line,) = (line for line in err.splitlines() if "the bundle there had" in line)
    assert line.startswith(
        "warning: mnist/int8: dist/mnist/int8: the bundle there had what this one lacks: measured values (top1, "
    )
    assert "gates (top1" in line
    assert line.endswith("variant= gives this one a place of its own")
    assert "the bundle there had" not in command(*unmeasured)[2]  # nothing is replaced
    assert "the bundle there had" not in command("recipe=mnist", "ui=plain")[2]  # nothing is lost


def test_labels_that_no_metric_reads_are_told(warm_workspace: Workspace, command: Command) -> None:
    said = "warning: mnist/float32: dataset.label: no metric reads the labels, so accuracy is not measured; "
    float32 = ("recipe=mnist", "quantization=float32", "validation.gates={}")
    code, _, err = command(*float32, "validation.metrics=[]")
    assert code == 0
    assert said in err
    assert said not in command(*float32)[2]
    assert said not in command(*float32, "validation.metrics=[]", "~dataset.label")[2]


def elsewhere(base: Path, pool: object, name: str, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    folder, cache = base / name / "deep" / "work", base / f"{name}-cache"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MLKIT_BUILD_CACHE", str(cache))
    return Workspace(folder, cache, pool)  # type: ignore[arg-type]


@pytest.mark.parametrize("quantization", ["float16", "int8"])
def test_the_same_build_in_another_place_and_after_other_builds_gives_the_same_bytes(
    tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, quantization: str
) -> None:
    overrides = ("recipe=mnist", f"quantization={quantization}", "dataset.samples=300", "validation.gates={}")
    first = workspace.build(*overrides)
    other = elsewhere(tmp_path, workspace.pool, "other", monkeypatch)
    other.build("recipe=add_one", "quantization=float16")
    other.build("recipe=multiply")
    second = other.build(*overrides)
    assert {result.cached for result in second.actions} == {False}
    assert first.bundle is not None
    assert second.bundle is not None
    for name in ("manifest.json", "mnist.tflite"):
        one, two = (workspace.folder / first.bundle / name), (other.folder / second.bundle / name)
        assert one.read_bytes() == two.read_bytes(), name


@pytest.fixture(scope="session")
def built_mnist(tmp_path_factory: pytest.TempPathFactory, pool: Pool) -> Path:
    """The mnist recipe on 300 test images, built. Never write to it: use `mnist`."""
    folder = tmp_path_factory.mktemp("mnist_300")
    place = Workspace(folder, folder / "cache", pool)
    place.copy("mnist")
    place.edit("mnist", {"dataset.samples": 300, "validation.gates": {}})
    return built_once(folder, pool, "recipe=mnist")


@pytest.fixture
def mnist(workspace: Workspace, built_mnist: Path) -> Workspace:
    """A copy of it, to change something in."""
    for part in ("recipes", "dist"):
        shutil.copytree(built_mnist / part, workspace.folder / part)
    shutil.copytree(built_mnist / "cache", workspace.cache)
    return workspace


def rewrite(path: Path, **changed: object) -> None:
    with np.load(path) as data:
        arrays = {name: data[name] for name in data.files}
    for name, edit in changed.items():
        edit(arrays[name])  # type: ignore[operator]
    np.savez_compressed(path, **arrays)


def test_a_build_with_nothing_changed_runs_nothing(mnist: Workspace) -> None:
    report = mnist.build("recipe=mnist")
    assert mnist.ran(report) == set()
    assert report.status == "unchanged"


def test_touching_files_runs_nothing(mnist: Workspace) -> None:
    for path in (mnist.folder / "recipes" / "mnist").rglob("*"):
        os.utime(path, (1_900_000_000, 1_900_000_000))
    assert mnist.ran(mnist.build("recipe=mnist")) == set()


def test_one_changed_calibration_image_reruns_what_depends_on_it_and_says_why(mnist: Workspace) -> None:
    # One pixel of one image: no range changes, but the samples on which the model is said to be calibrated do.
    rewrite(mnist.folder / "recipes/mnist/data/mnist_calibration.npz", images=lambda images: images.__setitem__((3, 0, 0), 7))
    report = mnist.build("recipe=mnist")
    assert report.exit_code == 0, report.error
    assert mnist.ran(report) == {"calibrate", "quantize", "evaluate", "package"}
    why = reasons(report)
    assert why["calibrate"].startswith("calibration (")
    assert why["quantize"].startswith("statistics.json of calibrate: ")
    assert why["evaluate"].startswith("calibration (")
    assert why["package"].startswith("quantization.json of quantize: ")


def test_a_calibration_archive_written_again_with_equal_samples_changes_no_model(mnist: Workspace) -> None:
    path = mnist.folder / "recipes/mnist/data/mnist_calibration.npz"
    with np.load(path) as arrays:
        np.savez(path, **{name: arrays[name][::-1] for name in arrays})
    report = mnist.build("recipe=mnist")
    assert report.exit_code == 0, report.error
    assert mnist.ran(report) == {"calibrate", "evaluate"}


def test_calibration_images_with_another_range_rerun_exactly_what_follows_calibration(mnist: Workspace) -> None:
    def fade(images: np.ndarray) -> None:  # type: ignore[type-arg]
        images //= 2

    rewrite(mnist.folder / "recipes/mnist/data/mnist_calibration.npz", images=fade)
    report = mnist.build("recipe=mnist")
    assert report.exit_code == 0, report.error
    assert mnist.ran(report) == {"calibrate", "quantize", "hops", "evaluate", "latency", *PACKAGING}
    why = reasons(report)
    assert why["calibrate"].startswith("calibration (")
    assert why["quantize"].startswith("statistics.json of calibrate: ")
    assert "model.tflite of quantize: " in why["evaluate"]
    assert "model.tflite of describe: " in why["package"]


def test_changed_labels_rerun_the_contract_and_the_package_only(mnist: Workspace) -> None:
    labels = mnist.folder / "recipes" / "mnist" / "labels.txt"
    labels.write_text(labels.read_text().replace("0", "zero"))
    report = mnist.build("recipe=mnist")
    assert PACKAGING <= mnist.ran(report) <= {"contract", *PACKAGING}
    assert "labels: other content" in reasons(report)["package"]


def test_changed_test_images_rerun_what_is_measured_on_them(mnist: Workspace) -> None:
    rewrite(mnist.folder / "recipes/mnist/data/mnist_test.npz", images=lambda images: np.subtract(255, images, out=images))
    report = mnist.build("recipe=mnist")
    assert report.exit_code == 0, report.error
    assert mnist.ran(report) == {"reference", "origin", "hops", "evaluate", "app", "package", "readme"}
    assert reasons(report)["reference"].startswith("dataset (")


def test_changed_test_labels_rerun_only_the_measuring(mnist: Workspace) -> None:
    def shift(labels: np.ndarray) -> None:  # type: ignore[type-arg]
        labels[:] = (labels + 1) % 10

    rewrite(mnist.folder / "recipes/mnist/data/mnist_test.npz", labels=shift)
    report = mnist.build("recipe=mnist")
    assert report.exit_code == 0, report.error
    measuring = {"evaluate", "app", "package", "readme"}
    assert measuring <= mnist.ran(report) <= {"reference", "origin", "hops", *measuring}
    assert report.metrics is not None
    assert report.metrics["top1"].value < 0.1


def test_a_checkpoint_saved_again_with_equal_weights_freezes_and_stops(workspace: Workspace) -> None:
    import tensorflow as tf

    folder = workspace.copy("multiply") / "model"
    assert workspace.build("recipe=multiply").exit_code == 0
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    meta = tf.compat.v1.MetaGraphDef.FromString(before["multiply.ckpt.meta"])
    nodes = list(reversed(meta.graph_def.node))
    del meta.graph_def.node[:]
    meta.graph_def.node.extend(nodes)
    meta.graph_def.node.add(name="beside", op="NoOp")
    (folder / "multiply.ckpt.meta").write_bytes(meta.SerializeToString())
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        value = tf.train.load_checkpoint(str(folder / "multiply.ckpt")).get_tensor("w")
        for number, name in enumerate(("beside", "w")):
            session.run(
                tf.raw_ops.SaveV2(
                    prefix=f"{workspace.folder}/part{number}",
                    tensor_names=[name],
                    shape_and_slices=[""],
                    tensors=[tf.constant(value)],
                )
            )
        for path in folder.glob("multiply.ckpt.[id]*"):
            path.unlink()
        parts = [f"{workspace.folder}/part{number}" for number in range(2)]
        session.run(tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=parts, destination_prefix=str(folder / "multiply.ckpt")))
    assert "multiply.ckpt.data-00001-of-00002" in {path.name for path in folder.iterdir()}
    report = workspace.build("recipe=multiply")
    assert report.exit_code == 0, report.error
    assert workspace.ran(report) == {"freeze", "origin"}


def test_changed_weights_rerun_everything_that_depends_on_the_graph(workspace: Workspace) -> None:
    import tensorflow as tf

    folder = workspace.copy("multiply") / "model"
    workspace.build("recipe=multiply")
    shutil.rmtree(folder.parent / "__pycache__", ignore_errors=True)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tensors = {"prefix": str(folder / "multiply.ckpt"), "tensor_names": ["w"], "shape_and_slices": [""]}
        session.run(tf.raw_ops.SaveV2(**tensors, tensors=[tf.constant(3.0)]))
    report = workspace.build("recipe=multiply")
    assert report.exit_code == 0, report.error
    assert workspace.ran(report) == {
        "freeze",
        "convert",
        "reference",
        "origin",
        "hops",
        "evaluate",
        "describe",
        "package",
        "readme",
        "latency",
    }
