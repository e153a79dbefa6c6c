"""`inspect` says what a model file holds, in words, as JSON, and as the lines of a recipe that then builds."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import yaml

from mlkit_build.errors import ConfigError
from tests.conftest import Workspace
from tests.promises.conftest import Command
from tests.sources.models import FORMS, checkpoint, keras_file, python_file, saved_model_v1, saved_model_v2, write_graph
from tests.sources.tf1 import save, session

Inspected = Callable[..., str]


@pytest.fixture
def inspected(workspace: Workspace, command: Command) -> Inspected:
    """Inspect in the workspace's folder, and return what is printed."""

    def call(*arguments: str) -> str:
        code, out, err = command("inspect", *arguments)
        assert code == 0, err
        assert err == ""
        return out

    return call


@pytest.fixture
def refused(workspace: Workspace, command: Command) -> Callable[..., str]:
    """Inspect what cannot be, and return the one error."""

    def call(*arguments: str) -> str:
        code, out, err = command("inspect", *arguments)
        assert code == 2, out + err
        assert out == ""
        assert "Traceback" not in err
        return err

    return call


def pasted(page: str) -> dict[str, Any]:
    """Return the recipe at the end of a page."""
    found: dict[str, Any] = yaml.safe_load(page.partition("recipe.yaml:\n")[2])
    return found


# The kinds of source, each in a form in which it says all that a recipe needs, or in which one thing only can be meant.
KINDS = [
    "checkpoint_prefix",
    "checkpoint_and_text_graph",
    "checkpoint_empty_prefix",
    "graph_text",
    "saved_model_v1_key",
    "saved_model_v2_default",
    "keras3",
    "keras2_h5",
    "python_module",
    "python_session",
]


@pytest.mark.parametrize("name", KINDS)
def test_the_recipe_that_inspect_prints_builds(workspace: Workspace, inspected: Inspected, name: str) -> None:
    form = FORMS[name]
    folder = workspace.folder / "recipes" / "pasted"
    folder.mkdir(parents=True)
    form.write(folder)
    stated = {key: value for key, value in form.source.items() if key != "kind"}
    place = stated.pop("path", None) or stated.pop("function")
    page = inspected(
        str(folder / place), *(f"--{key}={folder / value if key == 'graph' else value}" for key, value in stated.items())
    )
    assert page.startswith(f"{folder / place}: {form.source['kind']}\n")
    (folder / "recipe.yaml").write_text(page.partition("recipe.yaml:\n")[2])
    report = workspace.build("recipe=pasted")
    assert report.exit_code == 0, report.error


def test_a_checkpoint_is_shown_with_its_candidates_variables_and_operators(workspace: Workspace, inspected: Inspected) -> None:
    checkpoint(workspace.folder / "net")
    page = inspected("net")
    assert "possible inputs, the likeliest first\n  x:0  float32 [?, 4]\n" in page
    assert "possible outputs, the likeliest first\n  y:0  float32 [?, 3]\n" in page
    assert "2 variables, 2 of them used between x:0 and y:0\n  b  [3] float32\n  w  [4, 3] float32\n" in page
    assert "no operator is known not to convert" in page
    assert pasted(page) == {
        "name": "net",
        "source": {"kind": "tf1_checkpoint", "path": "../../net"},
        "signature": {"inputs": {"input": {"tensor": "x:0", "shape": [1, 4]}}, "outputs": {"output": {"tensor": "y:0"}}},
    }


def test_every_signature_of_a_saved_model_is_shown(workspace: Workspace, inspected: Inspected) -> None:
    saved_model_v2(workspace.folder / "saved", {"doubled": "doubled", "serving_default": "scores"})
    page = inspected("saved")
    assert "signature doubled\n  input   doubled_image:0  (image)  float32 [?, 4]\n" in page
    assert "signature serving_default\n" in page
    assert pasted(page)["signature"]["inputs"] == {"image": {"tensor": "serving_default_image:0", "shape": [1, 4]}}
    one = inspected("saved", "--signature", "doubled")
    assert "signature serving_default" not in one
    assert pasted(one)["source"] == {"kind": "saved_model", "path": "../../saved", "signature": "doubled"}


def test_one_graph_of_a_saved_model_is_chosen_by_its_tags(
    workspace: Workspace, inspected: Inspected, refused: Callable[..., str]
) -> None:
    saved_model_v1(workspace.folder / "saved", tags=("train",), second=("serve", "gpu"))
    assert pasted(inspected("saved", "--tags", "gpu,serve"))["source"]["tags"] == ["gpu", "serve"]
    assert "has [train] or [gpu, serve]" in refused("saved")


def test_json_holds_what_the_page_shows(workspace: Workspace, inspected: Inspected) -> None:
    keras_file(workspace.folder / "model.keras", 3)
    found = json.loads(inspected("model.keras", "--json"))
    assert found["source"]["kind"] == found["kind"] == "keras"
    assert [item["name"] for item in found["signatures"][0]["inputs"]] == ["image"]
    assert found["signatures"][0]["inputs"][0]["shape"] == [None, 4]
    assert found["operators"]["MatMul"] == 1
    assert found["problems"] == []
    assert yaml.safe_load(found["recipe"])["signature"]["inputs"]["image"]["shape"] == [1, 4]


def test_a_function_is_inspected_from_wherever_one_stands(workspace: Workspace, inspected: Inspected) -> None:
    folder = workspace.folder.parent / "elsewhere"
    python_file(folder, "module")
    (folder / "model.py").write_text("import beside\n" + (folder / "model.py").read_text())
    (folder / "beside.py").write_text("")
    for path in (f"{folder}/model.py:build", "../elsewhere/model.py:build"):
        assert pasted(inspected(path))["source"] == {"kind": "python", "function": "model.py:build"}


@pytest.mark.parametrize("name", ["my model, v2.pb", "a: b.pb", "a#b.pb", "{x}.pb", "1.0", "null", "é.pb"])
def test_a_path_is_printed_so_that_yaml_reads_it_back(workspace: Workspace, inspected: Inspected, name: str) -> None:
    write_graph(workspace.folder / "graph.pb", constants=True)
    (workspace.folder / "graph.pb").rename(workspace.folder / name)
    assert pasted(inspected(name))["source"] == {"kind": "frozen_graph", "path": f"../../{name}"}


def test_what_will_not_convert_is_told_with_its_place(workspace: Workspace, inspected: Inspected) -> None:
    from tests.sources.tf1 import constants_only

    def build(tf1: Any) -> None:
        import tensorflow as tf

        x = tf1.placeholder("float32", [5, 4], name="boxes")
        kept = tf.raw_ops.NonMaxSuppression(boxes=x, scores=x[:, 0], max_output_size=3)
        tf1.gather(x, kept, name="y")

    (workspace.folder / "graph.pb").write_bytes(constants_only(build)[0].SerializeToString())
    page = inspected("graph.pb")
    assert "will not convert: NonMaxSuppression (" in page
    assert "no operator is known not to convert" not in page


def test_a_second_look_is_answered_from_the_cache_until_the_file_changes(
    workspace: Workspace, inspected: Inspected, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint(workspace.folder / "net")
    first = inspected("net")
    with monkeypatch.context() as patched:
        patched.setattr("mlkit_build.engine.run.Engine._run", lambda *_: pytest.fail("it ran again"))
        assert inspected("net") == first
    write_graph(workspace.folder / "net.meta", constants=True)
    assert "2 variables" in first
    assert "variables" not in inspected("net")


def uncommented(page: str) -> str:
    """Return the recipe at the end of a page, with all that waits to be filled in."""
    return re.sub("^# ", "", page.partition("recipe.yaml:\n")[2], flags=re.MULTILINE)


def test_what_is_printed_of_an_image_classifier_builds_a_measured_int8_bundle_for_ml_kit(
    workspace: Workspace, inspected: Inspected
) -> None:
    """Nothing is done but to uncomment every line, and to put the labels and images where they say."""
    import keras
    from PIL import Image

    photo = keras.Input((16, 16, 3), name="photo")
    mean = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(3, 1)(photo))
    model = keras.Model(photo, keras.layers.Dense(3, name="logits")(mean))
    model.set_weights([np.eye(3)[None, None], np.zeros(3), 20 * np.eye(3), np.zeros(3)])  # each class is a colour
    model.save(workspace.folder / "colours.keras")
    page = inspected("colours.keras")
    assert "make it int8 for ML Kit, and measured" in page
    folder = workspace.folder / "recipes" / "colours"
    assert "\nrecipes/colours/recipe.yaml:\n" in page
    assert re.search(r"^# labels: .*the 3 classes", page, re.MULTILINE)
    rng = np.random.default_rng(0)
    for place, count in (("data/test/{}", 20), ("data/calibration", 4)):
        for channel, name in enumerate(("red", "green", "blue")):
            (folder / place.format(name)).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                pixels = rng.integers(0, 120, (16, 16, 3), np.uint8)
                pixels[..., channel] += 130
                Image.fromarray(pixels).save(folder / place.format(name) / f"{name}{number}.png")
    (folder / "labels.txt").write_text("red\ngreen\nblue\n")
    (folder / "recipe.yaml").write_text(uncommented(page))
    report = workspace.build("recipe=colours")
    assert report.exit_code == 0, report.error
    assert report.variant == "int8"
    assert report.metrics is not None
    assert report.metrics["top1"].value == 1
    assert [verdict.limit for verdict in report.gates] == ["min", "max_drop"]
    assert report.bundle is not None
    manifest = json.loads((report.bundle / "manifest.json").read_bytes())
    assert manifest["recipe"]["target"] == {"task": "image_labeling"}
    assert manifest["recipe"]["adapters"] == [{"name": "softmax", "options": {}}]


def test_what_is_printed_of_other_classifiers_is_measured_and_int8_as_well(workspace: Workspace, inspected: Inspected) -> None:
    checkpoint(workspace.folder / "net")
    page = inspected("net")
    recipe = yaml.safe_load(uncommented(page))
    assert recipe["defaults"] == [{"override /quantization": "int8"}]  # ML Kit has images only
    folder = workspace.folder / "recipes" / "net"
    (folder / "data").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("test", "calibration"):
        x = rng.uniform(0, 1, (60, 4)).astype(np.float32)
        np.savez(folder / f"data/{name}.npz", input=x, labels=np.zeros(60, np.int64))
    (folder / "labels.txt").write_text("a\nb\nc\n")
    (folder / "recipe.yaml").write_text(uncommented(page))
    report = workspace.build("recipe=net", "validation.gates={}")
    assert report.exit_code == 0, report.error
    assert report.metrics is not None
    assert {"top1", "cosine"} <= set(report.metrics)


def test_a_model_in_a_recipes_folder_is_named_as_seen_from_there(workspace: Workspace, inspected: Inspected) -> None:
    folder = workspace.folder / "recipes" / "mine"
    (folder / "model").mkdir(parents=True)
    write_graph(folder / "model/graph.pb", constants=True)
    (folder / "module.py").write_text(
        "def build():\n    import keras\n    x = keras.Input((3,))\n    return keras.Model(x, x + 1)\n"
    )
    for path in ("recipes/mine/model/graph.pb", str(folder / "model/graph.pb")):
        page = inspected(path)
        assert "\nrecipes/mine/recipe.yaml:\n" in page
        assert pasted(page)["name"] == "mine"
        assert pasted(page)["source"] == {"kind": "frozen_graph", "path": "model/graph.pb"}
        assert "there already" not in page
    (folder / "recipe.yaml").write_text("name: mine\n")
    assert "That file is there already: keep what it says" in inspected("recipes/mine/model/graph.pb")
    source = pasted(inspected("recipes/mine/module.py:build", "files=[recipes/mine/model/graph.pb]"))["source"]
    assert source == {"kind": "python", "function": "module.py:build", "files": ["model/graph.pb"]}


def test_what_is_printed_builds_where_it_says_without_moving_the_model(workspace: Workspace, inspected: Inspected) -> None:
    checkpoint(workspace.folder / "models" / "net")
    page = inspected("models/net")
    folder = workspace.folder / "recipes" / "net"
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(page.partition("recipes/net/recipe.yaml:\n")[2])
    report = workspace.build("recipe=net")
    assert report.exit_code == 0, report.error


def test_a_size_that_is_still_open_is_told_by_inspect_and_by_the_build(workspace: Workspace, inspected: Inspected) -> None:
    import keras

    x = keras.Input((None, None, 3), name="img")
    keras.Model(x, keras.layers.Conv2D(2, 1)(x)).save(workspace.folder / "open.keras")
    page = inspected("open.keras")
    assert "2 variables, 2 of them used in the whole graph\n" in page
    assert "\nwhat the signature computes is not known yet: signature.inputs.img.shape: missing, and img:0 has dynamic" in page
    folder = workspace.folder / "recipes" / "open"
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(page.partition("recipe.yaml:\n")[2])
    with pytest.raises(ConfigError, match=r"signature\.inputs\.img\.shape\[1\]: expected an integer, found '\.\.\.'") as caught:
        workspace.compose("recipe=open")
    assert "put the size that the app feeds in its place" in caught.value.hint


@pytest.mark.parametrize(
    ("path", "name"),
    [("net.v2/model.pb", "net_v2"), ("é.pb", "work"), ("half_plus/00000123/saved_model", "half_plus"), ("a b.pb", "a_b")],
)
def test_a_recipe_is_named_after_its_model(workspace: Workspace, inspected: Inspected, path: str, name: str) -> None:
    write_graph(workspace.folder / path, constants=True)
    assert f"\nname: {name}\n" in inspected("--kind", "frozen_graph", path)


def test_a_functions_files_and_arguments_are_stated_as_overrides(
    workspace: Workspace, inspected: Inspected, refused: Callable[..., str]
) -> None:
    text = (
        "import keras, numpy as np\n"
        "def build(units):\n"
        "    np.load('w.npz')\n"
        "    return keras.Sequential([keras.Input((3,), name='x'), keras.layers.Dense(units, name='y')])\n"
    )
    (workspace.folder / "model.py").write_text(text)
    np.savez(workspace.folder / "w.npz", w=np.ones(2))
    page = inspected("model.py:build", "files=[w.npz]", "source.arguments.units=5")
    assert "output  outputs/y:0  (y)  float32 [?, 5]" in page
    assert "  sequential/y/kernel  [3, 5] float32" in page
    source = {"kind": "python", "function": "model.py:build", "arguments": {"units": 5}, "files": ["w.npz"]}
    assert pasted(page)["source"] == source
    assert "hint: what it is called with is stated as `arguments: {name: value}`" in refused("model.py:build", "files=[w.npz]")
    assert "has no field 'fils'; known: function, arguments, files, timeout_s" in refused("model.py:build", "fils=[w.npz]")
    assert "source.files: expected a list, found 3" in refused("model.py:build", "files=3")
    assert "override 'files=[': not understood" in refused("model.py:build", "files=[")


def test_of_two_branches_with_the_same_weights_the_one_for_evaluation_is_proposed(
    workspace: Workspace, inspected: Inspected
) -> None:
    with session() as (tf1, running):
        weights = tf1.get_variable("weights", [3, 3, 1, 2])

        def scores(x: Any, name: str) -> Any:
            with tf1.name_scope(name):
                return tf1.reduce_mean(tf1.nn.conv2d(x, weights, [1, 1, 1, 1], "SAME"), [1, 2], name="scores")

        train = scores(tf1.placeholder("float32", [16, 8, 8, 1], name="train"), "net")
        labels = tf1.placeholder("int64", [16], name="labels")
        loss = tf1.reduce_mean(tf1.nn.sparse_softmax_cross_entropy_with_logits(logits=train, labels=labels), name="loss")
        tf1.train.GradientDescentOptimizer(0.1).minimize(loss)
        scores(tf1.placeholder("float32", name="feature"), "net_1")
        running.run(tf1.global_variables_initializer())
        save(running, workspace.folder / "net")
    page = inspected("net")
    assert "to be constants" not in page
    signature = pasted(page)["signature"]
    assert signature["inputs"] == {"input": {"tensor": "feature:0", "shape": [1, 8, 8, 1]}}
    assert signature["outputs"] == {"output": {"tensor": "net_1/scores:0"}}
    assert "between feature:0 and net_1/scores:0" in page


def test_shapes_that_a_signature_leaves_out_are_those_that_the_graph_records(
    inspected: Inspected, shared_model: Callable[[str], Any]
) -> None:
    page = inspected(str(shared_model("saved_model/half_plus_three/00000123")))
    assert "  input   x:0  float32 [?, 1]\n  output  y:0  float32 [?, 1]\n" in page
    assert "  input   tf_example:0  (inputs)  float32 ?\n" in page
    assert "name: half_plus_three\n" in page


# What is refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("nowhere",), "error: nowhere: no such file or folder"),
        (("empty.pb",), "the file is empty"),
        (("text.pb",), "text.pb is not a GraphDef"),
        (("model.tflite",), "error: model.tflite: The model is not a valid Flatbuffer: an offset points to byte 28"),
        (("model.tflite", "--kind", "frozen_graph"), "model.tflite"),
        (("text.pb",), "it is a text that begins with 'hello'"),
        (("text.h5",), "text.h5 is not a Keras file"),
        (("recipe.yaml",), "a recipe is built with `mlkit-build recipe=work`"),
        (("model.py",), "error: model.py: expected FILE.py:FUNCTION"),
        (("model.py:nothing",), "error: source.function: no function 'nothing' in "),
        (("nowhere.py:build",), "error: source.function: expected a Python file at nowhere.py, found nothing"),
        (("text.pb", "--kind", "keras"), "error: source.path: "),
        (("text.pb", "--kind", "kears"), "invalid choice: 'kears'"),
        (("text.pb", "--tags", "serve"), "--tags and --signature are for a saved_model, and this is a frozen_graph"),
        (("text.pb", "--kind", "keras", "--graph", "g.pb"), "--graph is for a tf1_checkpoint, and this is a keras"),
        ((), "the following arguments are required: path"),
    ],
)
def test_what_cannot_be_inspected_is_named(
    workspace: Workspace, refused: Callable[..., str], arguments: tuple[str, ...], expected: str
) -> None:
    texts = dict.fromkeys(("text.pb", "text.h5", "recipe.yaml"), b"hello\n")
    for name, data in {"empty.pb": b"", "model.tflite": b"\x1c\0\0\0TFL3", "model.py": b"a = 1\n", **texts}.items():
        (workspace.folder / name).write_bytes(data)
    assert expected in refused(*arguments)


def test_a_function_that_hangs_is_ended(
    workspace: Workspace, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlkit_build.recipe import Python

    monkeypatch.setattr("mlkit_build.verbs.inspect.described", lambda path, *_: Python(function=path, timeout_s=1.0))
    (workspace.folder / "model.py").write_text("def build():\n    while True:\n        pass\n")
    assert "error: source.timeout_s: inspect was not done after 1 s and was ended" in refused("model.py:build")


def test_help_tells_what_may_be_inspected(command: Command) -> None:
    code, out, _ = command("inspect", "--help")
    assert code == 0
    for word in ("FILE.py:FUNCTION", "--json", "--kind", "--graph", "--signature", "--tags"):
        assert word in out


def test_a_finished_model_is_told_without_tensorflow(workspace: Workspace, inspected: Inspected) -> None:
    from tests.mlkit.contract.cases import GOOD

    (workspace.folder / "small.tflite").write_bytes(GOOD.build())
    page = inspected("small.tflite")
    assert page.startswith("small.tflite: tflite, ")
    assert "minimum runtime: 1.5.0" in page
    found = json.loads(inspected("small.tflite", "--json"))
    assert (found["kind"], found["tensor_count"], found["metadata"]["name"]) == ("tflite", 4, "small")
    assert not (workspace.cache / "v1").exists()  # no action was run


def test_a_bundles_model_says_what_its_manifest_says(warm_workspace: Workspace, command: Command) -> None:
    bundle = warm_workspace.build("recipe=mnist").bundle
    assert bundle is not None
    _, out, _ = command("inspect", str(bundle / "mnist.tflite"), "--json")
    found, manifest = json.loads(out), json.loads((bundle / "manifest.json").read_bytes())
    assert found["runtime"] == manifest["quantization"]["oldest_runtime"]
    assert found["signatures"][0]["inputs"]["image"]["shape"] == manifest["signature"]["inputs"][0]["shape"]
