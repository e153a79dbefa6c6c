"""A trained model is exported from any form that people keep it in, and what it is built from is what decides a rebuild."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlkit_build.config.schema import GROUPS, kind_of
from mlkit_build.job import JobReport
from mlkit_build.sources import SOURCES
from tests.conftest import Workspace
from tests.sources.models import FORMS, answer, python_file
from tests.sources.tf1 import digits

SAMPLES = digits(16, [4])


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all forms: what they freeze to is mostly the same, and then converted and measured once."""
    return tmp_path_factory.mktemp("sources")


def with_samples(workspace: Workspace, name: str, recipe: Mapping[str, Any], feature: str = "image") -> Path:
    """Write a recipe that is measured on SAMPLES and demands parity; return its folder."""
    data = {"kind": "npz", "path": "samples.npz", "features": {feature: "x"}}
    gates = {"gates": {"max_abs_error": {"max": 1e-5}}}
    folder = workspace.write(name, {**recipe, "dataset": data, "validation": gates})
    np.savez(folder / "samples.npz", x=SAMPLES)
    return folder


def answers(report: JobReport, **feeds: Any) -> dict[str, Any]:
    from ai_edge_litert.interpreter import Interpreter

    assert report.exit_code == 0, report.error
    assert report.bundle is not None
    model = Interpreter(model_path=str(report.bundle / f"{report.recipe}.tflite"))
    found: dict[str, Any] = model.get_signature_runner("serving_default")(**feeds)
    return found


@pytest.mark.parametrize("name", FORMS)
def test_every_form_of_every_kind_answers_as_the_trained_model(workspace: Workspace, cache: Path, name: str) -> None:
    form = FORMS[name]
    x, y = form.names
    folder = with_samples(workspace, name, {"source": form.source, "signature": form.signature}, feature=x)
    form.write(folder)
    report = workspace.build(f"recipe={name}", f"cache.dir={cache}")
    for sample in SAMPLES[:4]:
        found = answers(report, **{x: sample[None]})
        np.testing.assert_allclose(found[y], form.factor * answer(sample[None]), atol=1e-5)
    assert report.metrics is not None
    assert report.metrics["max_abs_error"].value <= 1e-5


def test_no_kind_of_source_is_without_a_form_that_is_built() -> None:
    assert {form.source["kind"] for form in FORMS.values()} == set(SOURCES) == {kind_of(kind) for kind in GROUPS["source"]}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("checkpoint_prefix", "checkpoint_meta_file"),
        ("checkpoint_and_graph", "checkpoint_and_text_graph"),
        ("graph_binary", "graph_text"),
    ],
)
def test_one_model_in_two_forms_is_converted_and_measured_once(workspace: Workspace, cache: Path, one: str, other: str) -> None:
    for name in (one, other):
        form = FORMS[name]
        folder = with_samples(workspace, "same", {"source": form.source, "signature": form.signature})
        form.write(folder)
        report = workspace.build("recipe=same", f"cache.dir={cache}")
        assert report.exit_code == 0, report.error
        shutil.rmtree(folder)
    assert workspace.ran(report) <= {"freeze", "origin"}  # which runs each form as it was saved


# Names, constants and shapes ----------------------------------------------------------------------------------------------


def two_branches(folder: Path) -> None:
    """Write a graph of two inputs, a switch and two outputs, whose placeholders have a training batch of 32."""
    from tests.sources.tf1 import session

    with session() as (tf1, running):
        left, right = (tf1.placeholder("float32", [32, 4], name=name) for name in ("left", "nested/right"))
        keep, train = tf1.placeholder("float32", name="keep_prob"), tf1.placeholder("bool", [], name="is_training")
        total = left + 2.0 * right
        tf1.identity(tf1.where(train, total * 0.0, total) * keep, name="sum")
        tf1.identity(left - right, name="difference")
        (folder / "graph.pb").write_bytes(running.graph.as_graph_def().SerializeToString())


@pytest.mark.parametrize("suffix", [":0", ""])
def test_several_inputs_and_outputs_are_named_and_tensors_may_lack_their_index(workspace: Workspace, suffix: str) -> None:
    inputs = {"a": {"tensor": f"left{suffix}", "shape": [1, 4]}, "b": {"tensor": f"nested/right{suffix}", "shape": [1, 4]}}
    outputs = {"minus": {"tensor": f"difference{suffix}"}, "plus": {"tensor": f"sum{suffix}"}}
    constants = {f"keep_prob{suffix}": 1.0, f"is_training{suffix}": False}
    recipe = {
        "source": {"kind": "frozen_graph", "path": "graph.pb"},
        "signature": {"inputs": inputs, "outputs": outputs, "constants": constants},
        "dataset": {"kind": "npz", "path": "samples.npz", "features": {"a": "x", "b": "z"}},
        "validation": {"gates": {"max_abs_error": {"max": 1e-5}}},
    }
    folder = workspace.write("branches", recipe)
    two_branches(folder)
    np.savez(folder / "samples.npz", x=SAMPLES, z=SAMPLES[::-1])
    left, right = SAMPLES[:1], SAMPLES[1:2]
    found = answers(workspace.build("recipe=branches"), a=left, b=right)
    assert set(found) == {"minus", "plus"}
    np.testing.assert_allclose(found["plus"], left + 2 * right, atol=1e-6)
    np.testing.assert_allclose(found["minus"], left - right, atol=1e-6)


def test_what_could_be_meant_is_listed_so_that_it_can_be_pasted(workspace: Workspace) -> None:
    import yaml

    folder = workspace.write("branches", {"source": {"kind": "frozen_graph", "path": "graph.pb"}})
    two_branches(folder)
    report = workspace.build("recipe=branches")
    assert report.exit_code == 2
    assert report.error is not None
    assert report.error.message.startswith("signature: missing, and ")
    explained, _, pasted = report.error.hint.partition("\n")
    assert explained == "choose among these, the likeliest first, and put them into the recipe:"
    signature = yaml.safe_load(pasted)["signature"]
    assert {entry["tensor"] for entry in signature["inputs"].values()} <= {"left:0", "nested/right:0"}
    assert signature["constants"] == {"is_training:0": False, "keep_prob:0": 1.0}
    signature["inputs"] = {"a": {"tensor": "left:0"}, "b": {"tensor": "nested/right:0"}}
    workspace.edit("branches", {"signature": signature})
    assert workspace.build("recipe=branches").exit_code == 0


# What decides a rebuild ---------------------------------------------------------------------------------------------------


@pytest.fixture
def package(workspace: Workspace) -> Path:
    """A `python` source, built, whose function uses a module, a package and a file of the recipe's folder."""
    arguments = {"function": "model.py:build", "arguments": {"factor": 3.0}, "files": ["weights/*.npy"]}
    folder = with_samples(workspace, "package", {"source": {"kind": "python", **arguments}})
    for path, text in {
        "model.py": "import tensorflow as tf\nimport layers\n\n\ndef build(factor):\n    from nets import head\n\n"
        "    return tf.function(lambda x: {'y': head.scaled(layers.shifted(x), factor)},\n"
        "                       input_signature=[tf.TensorSpec([None, 4], tf.float32, name='image')])\n",
        "layers.py": "def shifted(x):\n    return x + 1.0\n",
        "nets/__init__.py": "",
        "nets/head.py": "import numpy as np\nfrom . import sizes\n\n\ndef scaled(x, factor):\n"
        "    return x * factor * sizes.SIZE * float(np.load('weights/w.npy')[0])\n",
        "nets/sizes.py": "SIZE = 1.0\n",
        "nets/unused.py": "SIZE = 9.0\n",
        "train.py": "import layers\n",
        "notes.txt": "nothing\n",
    }.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(text)
    (folder / "weights").mkdir()
    np.save(folder / "weights/w.npy", np.ones(1, np.float32))
    report = workspace.build("recipe=package")
    x = SAMPLES[:1]
    np.testing.assert_allclose(answers(report, image=x)["y"], (x + 1) * 3, atol=1e-5)
    return folder


def test_a_changed_module_that_the_function_imports_is_built_again(workspace: Workspace, package: Path) -> None:
    for changed in ("layers.py", "nets/__init__.py", "nets/head.py", "nets/sizes.py", "model.py"):
        (package / changed).write_text((package / changed).read_text() + "\n# changed\n")
        report = workspace.build("recipe=package")
        assert report.exit_code == 0, report.error
        frozen = next(result for result in report.actions if result.action.name == "freeze")
        assert not frozen.cached, changed
        assert f"source ({changed}): other content" in frozen.reason
        assert workspace.ran(report) == {"freeze", "origin"}, "what it freezes to is the same"


def test_a_changed_stated_file_and_changed_arguments_are_built_again(workspace: Workspace, package: Path) -> None:
    np.save(package / "weights/w.npy", np.full(1, 2, np.float32))
    x = SAMPLES[:1]
    np.testing.assert_allclose(answers(workspace.build("recipe=package"), image=x)["y"], (x + 1) * 6, atol=1e-5)
    report = workspace.build("recipe=package", "source.arguments.factor=0.5")
    np.testing.assert_allclose(answers(report, image=x)["y"], x + 1, atol=1e-5)


def test_a_change_of_anything_else_in_the_folder_or_of_the_patience_is_no_rebuild(workspace: Workspace, package: Path) -> None:
    for unrelated in ("nets/unused.py", "train.py", "notes.txt"):
        (package / unrelated).write_text("changed = True\n")
    (package / "weights/readme.txt").write_text("matches no pattern\n")
    report = workspace.build("recipe=package", "source.timeout_s=99")
    assert report.exit_code == 0, report.error
    assert workspace.ran(report) == set()


def test_a_functions_copy_of_the_folder_holds_only_what_is_stated(workspace: Workspace, package: Path) -> None:
    (package / "layers.py").write_text(
        "from pathlib import Path\n\n\ndef shifted(x):\n    raise ValueError(sorted(Path().rglob('*')))\n"
    )
    report = workspace.build("recipe=package")
    assert report.error is not None
    for name in ("notes.txt", "train.py", "unused.py", "recipe.yaml", "samples.npz"):
        assert name not in report.error.message
    assert "weights/w.npy" in report.error.message


def test_two_builds_of_one_function_give_the_same_bytes(workspace: Workspace, tmp_path: Path) -> None:
    digests = []
    for number in range(2):
        folder = with_samples(workspace, "twice", {"source": {"kind": "python", "function": "model.py:build"}})
        python_file(folder, "keras")
        report = workspace.build("recipe=twice", f"cache.dir={tmp_path / f'cache{number}'}")
        assert report.exit_code == 0, report.error
        digests.append({result.action.name: result.outputs for result in report.actions if result.action.name != "latency"})
    assert digests[0] == digests[1]
