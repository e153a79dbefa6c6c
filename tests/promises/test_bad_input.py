"""A user's mistake: exit code 2, one message that names the file and the field, no traceback, and nothing in dist."""

from __future__ import annotations

import io
import json
import re
import shutil
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlkit_build.store import Digest
from tests.conftest import Workspace
from tests.promises.conftest import Command, snapshot

Refused = Callable[..., "Refusal"]


@dataclass
class Refusal:
    """What the command line said when it refused: the one error, its hint, and everything on both streams."""

    message: str
    hint: str
    everything: str


@pytest.fixture
def refused(workspace: Workspace, command: Command) -> Refused:
    """Run the command line, and demand that it refuses as promised."""

    def call(*arguments: str, exit_code: int = 2) -> Refusal:
        before = snapshot(workspace.folder / "dist")
        code, out, err = command(*arguments)
        errors = [line.removeprefix("error: ") for line in err.splitlines() if line.startswith("error: ")]
        hints = [line.removeprefix("hint: ") for line in err.splitlines() if line.startswith("hint: ")]
        assert code == exit_code, err
        assert len(errors) == 1, err
        assert "Traceback" not in out + err
        assert snapshot(workspace.folder / "dist") == before
        return Refusal(errors[0], "\n".join(hints), out + err)

    return call


def text_recipe(workspace: Workspace, text: str, name: str = "mine") -> Path:
    """Write a recipe file as text; return it."""
    file = workspace.folder / "recipes" / name / "recipe.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(text, encoding="utf-8")
    return file


# Overrides and recipe files -----------------------------------------------------------------------------------------------


def test_an_unknown_recipe_lists_the_known_ones(workspace: Workspace, refused: Refused) -> None:
    workspace.copy("add_one", "mine")
    found = refused("recipe=mnits")
    assert found.message == "recipe=mnits: no such recipe; known recipes: add_one, digits_lstm, flags, mine, mnist, multiply"
    assert found.hint.startswith("did you mean 'mnist'")


def test_no_recipe_at_all_lists_the_known_ones(workspace: Workspace, refused: Refused) -> None:
    known = "add_one, digits_lstm, flags, mnist, multiply"
    assert refused("quantization=int8").message == f"recipe: none given; known recipes: {known}"


@pytest.mark.parametrize(
    ("key", "misspelt", "hint"),
    [
        ("nmae", "nmae", "'name'"),
        ("source.pth", "source.pth", "'path'"),
        ("signature.inputs.x.tensr", "signature.inputs.x.tensr", "'tensor'"),
        ("dataset.sampels", "dataset.sampels", "'samples'"),
        ("validation.gates.max_abs_error.maxx", "validation.gates.max_abs_error.maxx", "'max'"),
    ],
)
def test_an_unknown_key_in_a_recipe_names_file_and_key_and_suggests(
    workspace: Workspace, refused: Refused, key: str, misspelt: str, hint: str
) -> None:
    file = workspace.copy("add_one", "mine") / "recipe.yaml"
    workspace.edit("mine", {key: 1})
    found = refused("recipe=mine")
    assert found.message.startswith(f"{file}: {misspelt}: unknown field; known: ")
    assert hint in found.hint


@pytest.mark.parametrize(
    ("override", "hint"),
    [("quantizaton=int8", "'quantization'"), ("source.pth=x", "'path'"), ("quantization.mod=int8", "'mode'"), ("+jbos=2", "")],
)
def test_an_unknown_key_on_the_command_line_names_the_override(refused: Refused, override: str, hint: str) -> None:
    found = refused("recipe=add_one", override)
    assert found.message.startswith(f"override {override!r}: ")
    assert hint in found.hint


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("dataset.samples", "many", "dataset.samples: expected an integer, found 'many'"),
        ("signature.inputs.x.shape", [1, "a"], "signature.inputs.x.shape[1]: expected an integer, found 'a'"),
        ("signature.inputs.x", "x:0", "signature.inputs.x: expected a mapping of tensor, shape, mean, std, found 'x:0'"),
        ("adapters", "softmax", "adapters: expected a list, found 'softmax'"),
        (
            "validation",
            ["top1"],
            "validation: expected a mapping of metrics, gates, output, baseline, hops, latency, runtimes, found the list [top1]",
        ),
        (
            "validation.gates.top1",
            0.9,
            "validation.gates.top1: expected a mapping of min, max, max_drop, max_regression, significance, found 0.9",
        ),
        ("validation.gates.top1", {"min": "high"}, "validation.gates.top1.min: expected a number, found 'high'"),
        (
            "quantization",
            "int8",
            "quantization: expected a mapping of mode, io, granularity, algorithm, observer, percentile, backend, rules, found",
        ),
        ("source", "model/graph.pb", "source: expected a mapping with `kind`, found 'model/graph.pb'"),
        ("source.kind", "pb", "source.kind: expected one of "),
        ("source.kind", None, "source.kind: missing"),
        ("cache.enabled", "perhaps", "cache.enabled: expected true or false, found 'perhaps'"),
        ("version", [1], "version: expected a text, found the list [1]"),
        ("defaults", 5, "defaults: expected a list of choices, found 5"),
        ("defaults", [{"override /quantisation": "int8"}], "defaults: Could not override 'quantisation'"),
        ("defaults", ["nothing"], "defaults: Could not load 'recipe/nothing'"),
        ("description", "${nope}", "description: Interpolation key 'nope' not found"),
        ("source.path", "${nope}", "source.path: Interpolation key 'nope' not found"),
    ],
)
def test_a_value_of_the_wrong_type_in_a_recipe_names_file_and_field(
    workspace: Workspace, refused: Refused, key: str, value: Any, expected: str
) -> None:
    file = workspace.copy("add_one", "mine") / "recipe.yaml"
    workspace.edit("mine", {key: value})
    assert refused("recipe=mine").message.startswith(f"{file}: {expected}")


def test_a_quantization_written_as_a_plain_word_is_told_how_to_write_it(workspace: Workspace, refused: Refused) -> None:
    workspace.copy("add_one", "mine")
    workspace.edit("mine", {"quantization": "int8"})
    assert "defaults: [override /quantization: int8]" in refused("recipe=mine").hint


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("jobs=many", "jobs: expected an integer, found 'many'"),
        ("jobs=0", "jobs: expected at least 1, found 0"),
        ("ui=jsn", "ui: expected one of auto, plain, rich, json, quiet, found 'jsn'"),
        ("cache.enabled=perhaps", "cache.enabled: expected true or false, found 'perhaps'"),
        ("signature.inputs.x.shape=[1,a]", "signature.inputs.x.shape[1]: expected an integer, found 'a'"),
        ("adapters=softmax", "expected a list"),
        ("quantization=", "expected the name of a choice, found nothing; known: dynamic_range, "),
        ("+quantization=", "expected the name of a choice, found nothing; known: dynamic_range, "),
        ("recipe=", "expected the name of a choice, found nothing; known recipes: add_one, "),
        ("target=[any]", "expected the name of a choice, found [any]; known: custom, image_labeling"),
        ("quantization.mode=null", "quantization.mode: expected a text, found null"),
        ("target=null", "expected the name of a choice, found null"),
        ("output_dir=", "output_dir: expected a folder, found an empty text"),
        ("source.kind=tf1_checkpoint", "source.path: missing, and it has no default"),
        ("source.kind=tf1", "source.kind: expected one of tf1_checkpoint, frozen_graph, "),
        ("calibration={kind: bogus}", "calibration.kind: expected one of npz, npy, idx, "),
        ("calibration={samples: 10}", "calibration.kind: missing"),
        ("+calibration.samples=10", "calibration.kind: missing"),
        ("calibration.samples=10", "calibration: expected one whose samples to set, found none"),
        ("calibration={kind: random, samples: 10}", "calibration.features: nothing feeds the input 'x'"),
        ("calibration={kind: random, smaples: 10}", "calibration.smaples: unknown field; known: kind, features, samples, seed"),
        ("dataset={kind: csv, features: {x: a..b}}", "dataset.features.x: expected a list, found 'a..b'"),
        ("dataset.path=a;b", "not understood"),
        ("+validation.gates.rms_eror.max=1", "validation.gates.rms_eror: nothing measures it; expected one of"),
        ("+validation.gates.rms_error.max=abc", "validation.gates.rms_error.max: expected a number, found 'abc'"),
        ("variant=a/b", "variant: expected letters, digits"),
        ("a=[", "not understood"),
    ],
)
def test_a_wrong_value_on_the_command_line_names_the_override(refused: Refused, override: str, expected: str) -> None:
    found = refused("recipe=add_one", override)
    assert found.message.startswith(f"override {override!r}: "), found.message
    assert expected in found.message


SHAPES: list[tuple[str, Any, str, str]] = [
    (
        "quantization.rules",
        [{"mod": "int8"}],
        "quantization.rules[0].mod: unknown field; known: operator, tensor, mode",
        "'mode'",
    ),
    (
        "quantization.rules",
        [{"mode": "int8"}, {"mode": "int8", "tensr": "x"}],
        "quantization.rules[1].tensr: unknown field; known: operator, tensor, mode",
        "'tensor'",
    ),
    (
        "quantization.rules",
        {"mode": "int8"},
        "quantization.rules: expected a list, found the mapping {mode: int8}",
        "brackets: [{mode: int8}]",
    ),
    ("quantization.rules", ["int8"], "quantization.rules[0]: expected a mapping of operator, tensor, mode, found 'int8'", ""),
    ("quantization.rules", [{"operator": "ADD"}], "quantization.rules[0].mode: missing, and it has no default", "state `mode:`"),
    ("quantization.rules", [{"mode": ["int8"]}], "quantization.rules[0].mode: expected a text, found the list [int8]", ""),
    ("quantization", {"rules": [{"mod": "int8"}]}, "quantization.rules[0].mod: unknown field", "'mode'"),
    ("validation.gates", {"size_bytes": {"mx": 3}}, "validation.gates.size_bytes.mx: unknown field; known: min, max", "'max'"),
    (
        "validation.gates",
        ["top1"],
        "validation.gates: expected a mapping of names, each with min, max, max_drop, max_regression, significance",
        "",
    ),
    (
        "validation.gates",
        {"top1": [3]},
        "validation.gates.top1: expected a mapping of min, max, max_drop, max_regression, significance, found the list [3]",
        "",
    ),
    ("adapters", {"a": 1}, "adapters: expected a list, found the mapping {a: 1}", "a list has brackets: [{a: 1}]"),
    ("signature.inputs.x.shape", {"a": 1}, "signature.inputs.x.shape: expected a list, found the mapping {a: 1}", ""),
    ("validation.metrics", {"top1": 1}, "validation.metrics: expected a list, found the mapping {top1: 1}", ""),
]
"""Key, value, what the message says of it wherever it is stated, and what the hint holds."""


@pytest.mark.parametrize(("key", "value", "expected", "hint"), SHAPES)
@pytest.mark.parametrize("way", ["file", "override", "sweep"])
def test_a_value_of_the_wrong_shape_is_named_with_its_place(
    workspace: Workspace, refused: Refused, way: str, key: str, value: Any, expected: str, hint: str
) -> None:
    folder = workspace.copy("add_one", "mine")
    if way == "file":
        workspace.edit("mine", {key: value})
        place, found = str(folder / "recipe.yaml"), refused("recipe=mine")
    else:
        override = f"{key}={json.dumps(value, separators=(',', ':'))}".replace('"', "")
        place, found = f"override {override!r}", refused("recipe=mine", override, *["-m"] * (way == "sweep"))
    assert re.sub("^mine/[^ ]*: ", "", found.message).startswith(f"{place}: {expected}"), found.message
    assert hint in found.hint


@pytest.mark.parametrize("override", ["quantization.rules.0.mode=int8", "quantization.rules[0].mode=int8"])
def test_an_item_of_a_list_is_not_stated_by_its_position(refused: Refused, override: str) -> None:
    found = refused("recipe=add_one", override)
    assert found.message.startswith(f"override {override!r}: ")
    assert found.hint == "a list is given whole: quantization.rules=[...]"


def test_a_wrong_value_in_a_file_of_conf_is_named_with_its_place(workspace: Workspace, refused: Refused) -> None:
    file = workspace.folder / "conf/quantization/mixed.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("mode: int8\nrules:\n  - {mode: int8, tensr: x}\n")
    message = refused("recipe=add_one", "quantization=mixed").message
    assert message.startswith(f"{file}: quantization.rules[0].tensr: unknown field")


def test_a_recipe_that_is_no_name_lists_the_known_ones(refused: Refused) -> None:
    expected = "override 'recipe={a:1}': expected the name of a choice, found {a:1}; known recipes: add_one, "
    assert refused("recipe={a:1}").message.startswith(expected)


def test_several_values_without_a_sweep_are_told_of_the_flag(refused: Refused) -> None:
    assert "-m" in refused("recipe=add_one,mnist").hint


@pytest.mark.parametrize(
    ("override", "expected", "hint"),
    [
        (
            "quantization=int9",
            "known: dynamic_range, dynamic_range_int4, float16, float32, int16x8, int8",
            "did you mean 'int8' or 'int16x8'?",
        ),
        ("target=image_label", "known: custom, image_labeling, object_detection", "did you mean 'image_labeling'?"),
        (
            "source=saved_graph",
            "frozen_graph, keras, python, saved_model, tf1_checkpoint",
            "did you mean 'frozen_graph' or 'saved_model'?",
        ),
        (
            "dataset=npv",
            "known: csv, idx, image_folder, npy, npz, python, random, tfds, tfrecord, wav_folder",
            "did you mean 'npz' or 'npy'?",
        ),
    ],
)
def test_an_unknown_choice_lists_the_known_ones(refused: Refused, override: str, expected: str, hint: str) -> None:
    found = refused("recipe=add_one", override)
    assert found.message.startswith(f"{override}: no such choice; ")
    assert expected in found.message
    assert found.hint == hint


@pytest.mark.parametrize(
    ("recipe", "key", "value", "expected", "hint"),
    [
        ("mnist", "quantization.mode", "int9", "quantization.mode: expected one of float32", "did you mean 'int8'"),
        ("mnist", "quantization.io", "int4", "quantization.io: expected one of float32, uint8, int8, found 'int4'", "'int8'"),
        ("mnist", "target.task", "labeling", "target.task: expected one of image_labeling", "'image_labeling'"),
        ("mnist", "validation.metrics", ["top2"], "validation.metrics[0]: expected one of top1, top_k, ", "did you mean 'top1'"),
        ("mnist", "validation.output", "score", "validation.output: expected one of scores, found 'score'", "'scores'"),
        (
            "mnist",
            "adapters",
            ["softmx"],
            "adapters[0]: expected one of rgb_to_grayscale, bgr_to_rgb, nchw_to_nhwc, ",
            "did you mean 'softmax'?",
        ),
        ("mnist", "signature.inputs.image.std", None, "signature.inputs.image.std: missing, though mean is given", ""),
        ("mnist", "signature.inputs.image.std", [0], "signature.inputs.image.std: expected values that are not 0", ""),
        ("mnist", "signature.inputs.image.mean", [1, 2], "signature.inputs.image.mean: expected 1 or 3 values, found 2", ""),
        ("mnist", "signature.inputs.image.mean", [float("nan")], "signature.inputs.image.mean[0]: expected a finite number", ""),
        ("mnist", "signature.inputs.image.shape", [-1, 28, 28, 1], "image.shape: expected every dimension to be at least 1", "1"),
        ("mnist", "signature.outputs", {"image": {"tensor": "a"}}, "signature: 'image' names an input and an output", ""),
        ("mnist", "calibration", None, "calibration: missing, and quantization.mode=int8 needs samples", "dynamic_range"),
        ("mnist", "quantization.io", "int8", "quantization.io: 'int8' is refused by ML Kit", "uint8"),
        ("mnist", "validation.gates", {"top5": {"min": 1}}, "validation.gates.top5: nothing measures it", "{top_k: {k: 5}}"),
        ("mnist", "validation.gates", {"macro_f1": {"min": 1}}, "macro_f1: nothing measures it", "add per_class to validation.m"),
        (
            "mnist",
            "validation.metrics",
            [{"top_k": {"n": 5}}],
            "validation.metrics[0].top_k.n: no such option; expected one of k",
            "",
        ),
        ("mnist", "validation.metrics", ["top1", "top1"], "validation.metrics[1]: top1 is measured already", ""),
        (
            "mnist",
            "validation.gates.top1",
            {},
            "validation.gates.top1: expected min, max, max_drop or max_regression, found none",
            "",
        ),
        ("mnist", "validation.gates.cosine", {"max_drop": 1}, "validation.gates.cosine.max_drop: this value has no Tensor", ""),
        ("mnist", "validation.gates.top1.max", float("inf"), "validation.gates.top1.max: expected a finite number", ""),
        ("mnist", "validation.metrics", [], "validation.gates.top1: nothing measures it", "add top1 to validation.metrics"),
        ("mnist", "dataset", None, "dataset: missing, and validation has metrics or gates that need samples", "npz"),
        ("mnist", "dataset.label", None, "dataset.label: missing, and validation.metrics asks for top1", ""),
        ("mnist", "dataset.features", {"imgae": "images"}, "dataset.features.imgae: no such input", "did you mean 'image'?"),
        ("mnist", "dataset.features", {}, "dataset.features: nothing feeds the input 'image'", "image: <array>"),
        ("mnist", "dataset.samples", 0, "dataset.samples: expected at least 1, found 0", ""),
        ("mnist", "signature.constants", {"keep_prob:0": None}, "signature.constants.keep_prob:0: expected a value", "1.0"),
        ("mnist", "name", "a/b", "name: expected letters, digits", ""),
        ("mnist", "name", None, "name: missing", ""),
        ("mnist", "source", None, "source: missing", "tf1_checkpoint"),
        ("mnist", "source.path", None, "source.path: missing", ""),
        ("add_one", "quantization.io", "uint8", "quantization.io: 'uint8' needs full-integer int8", "quantization=int8"),
    ],
)
def test_values_that_cannot_be_are_refused_before_any_file_is_opened(
    workspace: Workspace, refused: Refused, recipe: str, key: str, value: Any, expected: str, hint: str
) -> None:
    file = workspace.copy(recipe, "mine") / "recipe.yaml"
    workspace.edit("mine", {key: value})
    found = refused("recipe=mine")
    assert found.message.startswith(f"{file}: ")
    assert expected in found.message
    assert hint in found.hint
    assert not workspace.cache.exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: a\nsource: {kind: [\n", "not valid YAML at line 3, column 1"),
        ("name: a\n  version: 1\n", "not valid YAML at line 2"),
        ("name: a\nname: b\n", "not valid YAML at line 2, column 1: found duplicate key name"),
        ("name: a\n\tversion: 1\n", "not valid YAML at line 2"),
        ("- name: a\n- version: 1\n", "expected a mapping of recipe fields at the top level"),
        ("", "name: missing"),
        ("# nothing but a comment\n", "name: missing"),
        ("name: a\n", "source: missing"),
        ("name: a\nsource: {kind: frozen_graph}\n", "source.path: missing"),
        ("name: !!python/object:os.system a\n", "not valid YAML at line 1"),
        ("1: 2\n", "1: unknown field"),
        ("name: a\0b\n", "cannot be read as YAML"),
    ],
)
def test_a_recipe_file_that_is_no_recipe_is_named_with_its_line(
    workspace: Workspace, refused: Refused, text: str, expected: str
) -> None:
    file = text_recipe(workspace, text)
    assert refused("recipe=mine").message.startswith(f"{file}: {expected}")


def test_a_recipe_file_that_is_not_utf8_is_named(workspace: Workspace, refused: Refused) -> None:
    file = text_recipe(workspace, "")
    file.write_bytes(b"name: \xff\xfe\n")
    assert refused("recipe=mine").message.startswith(f"{file}: cannot be read as YAML")


def test_the_previous_bundle_is_untouched_by_a_refused_recipe(workspace: Workspace, refused: Refused) -> None:
    workspace.copy("add_one")
    assert workspace.build("recipe=add_one").exit_code == 0
    workspace.edit("add_one", {"signature.outputs.y.tensor": "z:0"})
    before = snapshot(workspace.folder / "dist")
    refused("recipe=add_one")
    assert before
    assert snapshot(workspace.folder / "dist") == before


# Checkpoints and graphs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", [".meta", ".index", ".data-00000-of-00001"])
def test_a_missing_part_of_a_checkpoint_is_named(workspace: Workspace, refused: Refused, part: str) -> None:
    missing = workspace.copy("multiply") / f"model/multiply.ckpt{part}"
    missing.unlink()
    found = refused("recipe=multiply")
    assert found.message == f"source.path: checkpoint part missing: {missing}"
    assert "copy" in found.hint


def test_a_missing_checkpoint_is_named(workspace: Workspace, refused: Refused) -> None:
    folder = workspace.copy("multiply")
    workspace.edit("multiply", {"source.path": "model/other.ckpt"})
    assert refused("recipe=multiply").message.startswith(f"source.path: no checkpoint at {folder / 'model/other.ckpt'}")


def test_a_folder_of_two_checkpoints_is_told_which_prefixes_to_name(workspace: Workspace, refused: Refused) -> None:
    folder = workspace.copy("multiply")
    (folder / "model/other.ckpt.index").touch()
    workspace.edit("multiply", {"source.path": "model"})
    assert refused("recipe=multiply").hint == "name one of: model/multiply.ckpt, model/other.ckpt"


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
@pytest.mark.parametrize("part", [".meta", ".index", ".data-00000-of-00001"])
def test_a_truncated_checkpoint_is_named(workspace: Workspace, refused: Refused, part: str, share: float) -> None:
    file = workspace.copy("mnist") / f"model/mnist.ckpt{part}"
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * share)])
    found = refused("recipe=mnist")
    assert found.message.startswith("source.path: ")
    assert str(file if part == ".meta" else file.with_name("mnist.ckpt")) in found.message
    assert "truncated" in found.hint


@pytest.mark.parametrize("offset", [5, 100_000, 260_000])
def test_a_checkpoint_with_a_flipped_byte_is_named(workspace: Workspace, refused: Refused, offset: int) -> None:
    file = workspace.copy("mnist") / "model/mnist.ckpt.data-00000-of-00001"
    data = bytearray(file.read_bytes())
    data[offset] ^= 0xFF
    file.write_bytes(data)
    assert refused("recipe=mnist").message.startswith(f"source.path: the checkpoint {file.with_name('mnist.ckpt')}")


def _zip() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("config.json", "{}")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (b"", "the file is empty"),
        (np.random.default_rng(1).bytes(1000), ""),
        (_zip(), "zip archive"),
        (b"\x1c\0\0\0TFL3" + bytes(100), ".tflite"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
        (b"hello, this is no graph\n", ""),
    ],
    ids=["empty", "random", "zip", "tflite", "hdf5", "text"],
)
def test_a_file_that_is_no_graph_is_named_with_what_it_is(workspace: Workspace, refused: Refused, data: bytes, hint: str) -> None:
    file = workspace.copy("add_one") / "model/graph.pb"
    file.write_bytes(data)
    found = refused("recipe=add_one")
    assert found.message.startswith(f"source.path: {file} is not a GraphDef: ")
    assert hint in found.hint


@pytest.mark.parametrize("length", [1, 10, 50, 131])
def test_a_truncated_graph_is_named(workspace: Workspace, refused: Refused, length: int) -> None:
    file = workspace.copy("add_one") / "model/graph.pb"
    file.write_bytes(file.read_bytes()[:length])
    assert refused("recipe=add_one").message.startswith(f"source.path: {file} is not a GraphDef: ")


def test_a_missing_graph_is_named(workspace: Workspace, refused: Refused) -> None:
    file = workspace.copy("add_one") / "model/graph.pb"
    file.unlink()
    assert refused("recipe=add_one").message == f"source.path: expected a GraphDef file at {file}, found nothing"


def test_a_graph_with_variables_given_as_a_frozen_one_is_told_what_to_use(workspace: Workspace, refused: Refused) -> None:
    folder = workspace.copy("multiply", "mine")
    meta_graph = (folder / "model/multiply.ckpt.meta").read_bytes()
    (folder / "model/graph.pb").write_bytes(_graph_def_of(meta_graph))
    workspace.edit("mine", {"source": {"kind": "frozen_graph", "path": "model/graph.pb"}})
    found = refused("recipe=mine")
    assert f"{folder / 'model/graph.pb'} is not frozen: the variable 'w' has no value in it" in found.message
    assert "Converting unsupported operation: Variable" in found.message
    assert "tf1_checkpoint" in found.hint


def _graph_def_of(meta_graph: bytes) -> bytes:
    """Return the bytes of field 2, `graph_def`, of a MetaGraphDef (tensorflow/core/protobuf/meta_graph.proto)."""
    position = 0

    def varint() -> int:
        nonlocal position
        value = shift = 0
        while True:
            byte = meta_graph[position]
            position += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while True:
        tag, length = varint(), varint()
        assert tag & 7 == 2, "a MetaGraphDef's first fields are messages"
        if tag >> 3 == 2:
            return meta_graph[position : position + length]
        position += length


def test_a_tensor_that_is_not_in_the_graph_lists_the_nearest_names(warm_workspace: Workspace, refused: Refused) -> None:
    folder = warm_workspace.copy("mnist")
    warm_workspace.edit("mnist", {"signature.outputs.scores.tensor": "logit:0"})
    found = refused("recipe=mnist")
    assert found.message.startswith("signature.outputs.scores.tensor: no tensor 'logit:0' in ")
    assert str(folder / "model/mnist.ckpt.meta") in found.message
    assert "logits:0" in found.hint


def test_an_output_that_the_inputs_do_not_reach_is_named(workspace: Workspace, refused: Refused) -> None:
    workspace.copy("mnist")
    workspace.edit("mnist", {"signature.outputs.scores.tensor": "conv1/kernel:0"})
    message = refused("recipe=mnist").message
    assert "signature.outputs: scores (conv1/kernel:0) cannot be reached from the input 'image' (image:0)" in message


def test_another_placeholder_without_a_value_suggests_constants(workspace: Workspace, refused: Refused) -> None:
    workspace.copy("mnist")
    workspace.edit("mnist", {"signature.constants": {}})
    found = refused("recipe=mnist")
    assert "placeholder keep_prob:0, which is neither input nor constant" in found.message
    assert 'constants: {"keep_prob:0": ...}' in found.hint


def test_dropout_that_is_still_on_is_named(workspace: Workspace, refused: Refused) -> None:
    workspace.copy("mnist")
    workspace.edit("mnist", {"signature.constants": {"keep_prob:0": 0.5}})
    found = refused("recipe=mnist")
    assert "random numbers" in found.message
    assert "dropout is still on" in found.hint


@pytest.mark.parametrize("value", ["one", {"a": 1}, [[1], [2, 3]]])
def test_a_constant_of_another_type_is_named(workspace: Workspace, refused: Refused, value: Any) -> None:
    workspace.copy("mnist")
    workspace.edit("mnist", {"signature.constants": {"keep_prob:0": value}})
    message = refused("recipe=mnist").message
    assert message.startswith("signature.constants.keep_prob:0: expected a value of type float32, found ")


def test_a_constant_for_what_is_no_placeholder_is_named(workspace: Workspace, refused: Refused) -> None:
    workspace.copy("mnist")
    workspace.edit("mnist", {"signature.constants": {"keep_prob:0": 1.0, "logits:0": 1.0}})
    assert refused("recipe=mnist").message.startswith("signature.constants.logits:0: expected a placeholder")


@pytest.mark.parametrize("shape", [[1, 32, 32, 1], [1, 28, 28], [1, 28, 28, 3], [1, 784]])
def test_a_pinned_shape_that_contradicts_the_graph_shows_both(workspace: Workspace, refused: Refused, shape: list[int]) -> None:
    workspace.copy("mnist")
    workspace.edit("mnist", {"signature.inputs.image.shape": shape})
    message = refused("recipe=mnist").message
    assert message == f"signature.inputs.image.shape: expected [?, 28, 28, 1] as in the graph, found {shape}"


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((None, None, 3), "has dynamic dimensions in the graph: [?, ?, 3]"), (None, "the graph does not know the shape of x:0")],
)
def test_a_dynamic_shape_that_nothing_pins_is_named(
    workspace: Workspace, refused: Refused, shape: tuple[int | None, ...] | None, expected: str
) -> None:
    folder = workspace.copy("add_one", "mine")
    make_graph(workspace, shape, folder / "model/graph.pb")
    workspace.edit("mine", {"signature.inputs.x.shape": None})
    found = refused("recipe=mine")
    assert found.message.startswith("signature.inputs.x.shape: missing, and ")
    assert expected in found.message
    assert "state " in found.hint


def make_graph(workspace: Workspace, shape: tuple[int | None, ...] | None, to: Path) -> None:
    """Write the GraphDef of `y = x + 1` over a placeholder of `shape`, in a child that has TensorFlow."""
    work = workspace.folder / "graph"
    (work / "out").mkdir(parents=True)
    request = {"function": f"{__name__}:_write_graph", "params": {"shape": shape}, "inputs": {}, "work": str(work)}
    assert workspace.pool.submit("tensorflow", {**request, "log": str(work / "log")}).result().status == 0
    shutil.copyfile(work / "out/graph.pb", to)


def _write_graph(params: Mapping[str, Any], inputs: Mapping[str, Path], outputs: Path) -> None:
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, params["shape"], name="x")
        tf.add(x, 1.0, name="y")
    (outputs / "graph.pb").write_bytes(graph.as_graph_def().SerializeToString())


# Labels -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"0\n1\n2\n", "expected 10 labels, one for each class of the output 'scores', found 3"),
        (b"".join(b"%d\n" % label for label in range(11)), "expected 10 labels, one for each class"),
        (b"0\n1\n\xff\n", "expected UTF-8 text, found byte 4 that is not"),
        ("0\n1\n".encode("utf-16"), "expected UTF-8 text"),
        (b"", "expected one class per line, found an empty file"),
        (b"0\n1\n\n3\n4\n5\n6\n7\n8\n9\n", "line 3 is blank"),
        (b"0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n\n", "line 11 is blank"),
    ],
    ids=["too few", "too many", "latin-1", "utf-16", "empty", "blank line", "blank line at the end"],
)
def test_labels_that_are_not_one_per_class_are_named(
    warm_workspace: Workspace, refused: Refused, content: bytes, expected: str
) -> None:
    file = warm_workspace.copy("mnist") / "labels.txt"
    file.write_bytes(content)
    assert refused("recipe=mnist").message.startswith(f"labels: {file}: {expected}")


def test_missing_labels_are_named(workspace: Workspace, refused: Refused) -> None:
    file = workspace.copy("mnist") / "labels.txt"
    file.unlink()
    assert refused("recipe=mnist").message == f"labels: expected a file at {file}, found nothing"


@pytest.mark.parametrize("field", ["labels", "dataset.path", "calibration.path", "source.path"])
def test_a_path_meant_from_the_current_folder_is_told_so(workspace: Workspace, refused: Refused, field: str) -> None:
    workspace.copy("mnist")
    elsewhere = workspace.folder / "here.index"
    elsewhere.write_text("")
    workspace.edit("mnist", {field: "here" if field == "source.path" else "here.index"})
    found = refused("recipe=mnist")
    assert found.message.startswith(f"{field}: ")
    assert found.hint == f"paths are relative to the recipe's folder; {elsewhere} exists"


def test_a_path_that_no_file_can_have_is_named(workspace: Workspace, refused: Refused) -> None:
    workspace.copy("mnist")
    workspace.edit("mnist", {"labels": "a" * 300})
    message = refused("recipe=mnist").message
    assert message.startswith("labels: expected a file at /")
    assert message.endswith("aaa, found nothing: the name is too long for one")


# Datasets -----------------------------------------------------------------------------------------------------------------


def samples(workspace: Workspace, refused: Refused, changes: Mapping[str, Any], **arrays: Any) -> Refusal:
    """Build add_one on these arrays."""
    folder = workspace.copy("add_one", "mine")
    np.savez(folder / "data/samples.npz", **arrays)
    workspace.edit("mine", changes)
    return refused("recipe=mine")


def test_an_archive_without_the_array_lists_what_it_holds(workspace: Workspace, refused: Refused) -> None:
    found = samples(workspace, refused, {}, xs=np.zeros((4, 1), np.float32))
    assert found.message.startswith("dataset.features.x: no array 'x' in ")
    assert found.message.endswith("; it holds xs")
    assert found.hint == "did you mean 'xs'?"


@pytest.mark.parametrize("shape", [(4, 2), (4, 1, 3)])
def test_samples_of_another_shape_show_both(workspace: Workspace, refused: Refused, shape: tuple[int, ...]) -> None:
    workspace.copy("mnist")
    np.savez(workspace.folder / "recipes/mnist/data/mnist_test.npz", images=np.zeros(shape, np.uint8), labels=np.zeros(4, int))
    found = refused("recipe=mnist", "quantization=float32")
    assert f"expected samples of shape [28, 28, 3] for the input 'image', found {list(shape[1:])}" in found.message
    assert "recipes/mnist/data/mnist_test.npz, array 'images'" in found.message


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array([None, "a"], object), "expected an array of numbers, found 'x' of dtype object"),
        (np.array(["a", "b"]), "expected an array of numbers, found 'x' of dtype <U1"),
        (np.zeros((2, 1), np.complex64), "expected an array of numbers, found 'x' of dtype complex64"),
        (np.array("2020-01-01", "M8[D]"), "expected an array of numbers"),
        (np.float32(1), "expected an array with a sample dimension, found the scalar 'x'"),
        (np.asfortranarray(np.ones((3, 2), np.float32)), "expected 'x' in C order, found Fortran order"),
    ],
    ids=["object", "text", "complex", "date", "scalar", "fortran"],
)
def test_an_array_that_is_no_table_of_numbers_is_named(workspace: Workspace, refused: Refused, array: Any, expected: str) -> None:
    assert samples(workspace, refused, {}, x=array).message.startswith(f"dataset.features.x: {expected}")


def test_arrays_of_unequal_length_show_both_lengths(workspace: Workspace, refused: Refused) -> None:
    found = samples(workspace, refused, {"dataset.label": "t"}, x=np.zeros(4, np.float32), t=np.zeros(3, np.int64))
    assert "expected arrays with equal numbers of samples, found x has 4, t has 3" in found.message


def test_an_array_without_samples_is_named(workspace: Workspace, refused: Refused) -> None:
    found = samples(workspace, refused, {}, x=np.zeros((0, 1), np.float32))
    assert "samples.npz: expected samples, found none" in found.message


def test_more_samples_than_there_are_is_named(workspace: Workspace, refused: Refused) -> None:
    found = samples(workspace, refused, {"dataset.samples": 5}, x=np.zeros((4, 1), np.float32))
    assert found.message.startswith("dataset.samples: 5 asked, but ")
    assert found.message.endswith(" has 4")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_sample_that_is_not_finite_is_named(workspace: Workspace, refused: Refused, bad: float) -> None:
    found = samples(workspace, refused, {}, x=np.array([0, 1, bad], np.float32))
    assert "samples.npz, array 'x': sample 2: expected a finite number, found" in found.message


@pytest.mark.parametrize("length", [0, 10, 60, 150, 210])
def test_a_truncated_archive_is_named(workspace: Workspace, refused: Refused, length: int) -> None:
    file = workspace.copy("add_one") / "data/samples.npz"
    file.write_bytes(file.read_bytes()[:length])
    assert refused("recipe=add_one").message.startswith(f"dataset.path: {file}: ")


@pytest.mark.parametrize("offset", [40, 120, 170])
def test_an_archive_with_a_flipped_byte_is_named(workspace: Workspace, refused: Refused, offset: int) -> None:
    file = workspace.copy("add_one") / "data/samples.npz"
    np.savez(file, x=np.linspace(0, 1, 1000, dtype=np.float32).reshape(1000, 1))
    data = bytearray(file.read_bytes())
    data[offset] ^= 0xFF
    file.write_bytes(data)
    assert "samples.npz" in refused("recipe=add_one").message


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 'a'), }",
        "{'descr': '|V0', 'fortran_order': False, 'shape': (3,), }",
        "__import__('os').system('false')",
    ],
)
def test_a_hostile_array_header_is_refused(workspace: Workspace, refused: Refused, header: str) -> None:
    file = workspace.copy("add_one") / "data/samples.npz"
    text = header.encode().ljust(117) + b"\n"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(12))
    found = refused("recipe=add_one")
    assert "samples.npz" in found.message or found.message.startswith("dataset.features.x: ")


@pytest.mark.parametrize("content", [b"hello\n", b"\x93NUMPY\x01\x00v\x00"], ids=["text", "npy"])
def test_a_dataset_that_is_no_archive_is_named(workspace: Workspace, refused: Refused, content: bytes) -> None:
    file = workspace.copy("add_one") / "data/samples.npz"
    file.write_bytes(content)
    assert refused("recipe=add_one").message.startswith(f"dataset.path: {file}: expected a NumPy archive (.npz)")


def mnist_part(count: int, file: str = "mnist_test.npz") -> tuple[Any, Any]:
    """Return the first samples of a file of the built-in mnist recipe: images and labels."""
    from mlkit_build.config.roots import builtin

    with np.load(builtin("recipes") / "mnist/data" / file) as archive:
        return archive["images"][:count], archive["labels"][:count]


@pytest.mark.parametrize("label", [10, 255, -1])
def test_a_label_outside_the_classes_is_named(warm_workspace: Workspace, refused: Refused, label: int) -> None:
    file = warm_workspace.copy("mnist") / "data/mnist_test.npz"
    images, labels = mnist_part(20)
    labels = labels.astype(np.int64)
    labels[7] = label
    np.savez(file, images=images, labels=labels)
    found = refused("recipe=mnist", "quantization=float32")
    expected = f"dataset.path: {file}: sample 7: expected a label in 0..9, the model's classes, found {label}"
    assert found.message == expected
    assert "classes count from 0, in the order of the output 'scores'" in found.hint


def test_labels_that_are_no_integers_are_named(warm_workspace: Workspace, refused: Refused) -> None:
    file = warm_workspace.copy("mnist") / "data/mnist_test.npz"
    images, labels = mnist_part(20)
    np.savez(file, images=images, labels=labels.astype(np.float32))
    refusal = refused("recipe=mnist", "quantization=float32")
    expected = f"expected labels that are class indices, as integers, found float32: sample 0 has {labels[0]}"
    assert refusal.message == f"dataset.path: {file}: {expected}"
    assert "astype(np.int64)" in refusal.hint


def test_pixels_outside_0_to_255_are_named(warm_workspace: Workspace, refused: Refused) -> None:
    file = warm_workspace.copy("mnist") / "data/mnist_test.npz"
    images, labels = mnist_part(20)
    np.savez(file, images=images.astype(np.float32) - 128, labels=labels)
    found = refused("recipe=mnist", "quantization=float32")
    assert "sample 0: expected a pixel in 0..255, found -128" in found.message
    assert "mean and std of signature.inputs are applied here" in found.hint


def test_a_mean_per_channel_of_a_grey_image_is_named(workspace: Workspace, refused: Refused) -> None:
    workspace.copy("mnist")
    workspace.edit("mnist", {"adapters": ["softmax"], "signature.inputs.image.mean": [0, 0, 0]})
    found = refused("recipe=mnist", "quantization=float32", "target=custom")
    assert "signature.inputs.image.mean: expected 1 value, or one for each of the 1 channels, found 3" in found.message


# Calibration --------------------------------------------------------------------------------------------------------------


def test_calibration_samples_among_the_validation_samples_are_refused(warm_workspace: Workspace, refused: Refused) -> None:
    folder = warm_workspace.copy("mnist") / "data"
    images, labels = mnist_part(40)
    calibration, _ = mnist_part(30, "mnist_calibration.npz")
    np.savez(folder / "mnist_test.npz", images=images, labels=labels)
    np.savez(folder / "mnist_calibration.npz", images=np.concatenate([calibration, images[5:8]]))
    found = refused("recipe=mnist", "calibration.samples=33")
    assert found.message.startswith("calibration: 3 of its 33 samples are also in the validation dataset")
    assert found.hint == "calibrate on samples of the training set"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.nan, "sample 4: expected a finite number, found nan"),
        (np.inf, "sample 4: expected a finite number, found inf"),
        (1e38, "sample 4 has values beyond 1e+30"),
    ],
)
def test_calibration_values_that_no_range_can_hold_are_named(
    workspace: Workspace, refused: Refused, value: float, expected: str
) -> None:
    folder = workspace.copy("mnist") / "data"
    images, _ = mnist_part(10, "mnist_calibration.npz")
    images = images.astype(np.float32)
    images[4, 3, 2] = value
    np.savez(folder / "mnist_calibration.npz", images=images)
    small, labels = mnist_part(10)
    np.savez(folder / "mnist_test.npz", images=small, labels=labels)
    changes = {"signature.inputs.image.mean": None, "signature.inputs.image.std": None, "adapters": ["softmax"]}
    workspace.edit("mnist", {**changes, "calibration.samples": None, "signature.constants": {"keep_prob:0": 1.0}})
    found = refused("recipe=mnist", "target=custom")
    assert f"calibration.path: {folder / 'mnist_calibration.npz'}, array 'images'" in found.message
    assert expected in found.message


def test_empty_calibration_data_is_named(warm_workspace: Workspace, refused: Refused) -> None:
    file = warm_workspace.copy("mnist") / "data/mnist_calibration.npz"
    np.savez(file, images=np.zeros((0, 28, 28), np.uint8))
    assert refused("recipe=mnist").message.startswith(f"calibration.path: {file}: expected samples, found none")


def test_more_calibration_samples_than_there_are_is_named(warm_workspace: Workspace, refused: Refused) -> None:
    found = refused("recipe=mnist", "calibration.samples=501")
    assert found.message.startswith("calibration.samples: 501 asked, but ")


# Targets ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected", "hint"),
    [
        ({"adapters": ["softmax"]}, "expects an input [1, height, width, 3], found image [1, 28, 28, 1]", "rgb_to_grayscale"),
        (
            {"signature.inputs.image.mean": None, "signature.inputs.image.std": None},
            "expects mean and std for a floating-point image",
            "mean: [127.5]",
        ),
    ],
)
def test_a_model_that_ml_kit_would_refuse_is_refused_with_ml_kits_words(
    warm_workspace: Workspace, refused: Refused, changes: dict[str, Any], expected: str, hint: str
) -> None:
    warm_workspace.copy("mnist")
    warm_workspace.edit("mnist", changes)
    found = refused("recipe=mnist", "quantization=float32")
    assert found.message.startswith(f"target.task: image_labeling {expected}")
    assert "in the app ML Kit would say: " in found.message
    assert hint in found.hint


# What is not the recipe's fault -------------------------------------------------------------------------------------------


def test_an_output_folder_that_is_a_file_is_refused_with_a_message(workspace: Workspace, refused: Refused) -> None:
    (workspace.folder / "file").write_text("in the way")
    found = refused("recipe=add_one", f"output_dir={workspace.folder / 'file'}")
    assert found.message == f"output_dir: {workspace.folder / 'file'}: expected a folder, found a file"
    assert found.hint.startswith("set output_dir= to a folder")
    assert (workspace.folder / "file").read_text() == "in the way"


def test_an_impossible_cache_folder_warns_once_and_builds(workspace: Workspace, command: Command) -> None:
    (workspace.folder / "file").write_text("in the way")
    code, _, err = command("recipe=add_one", f"cache.dir={workspace.folder / 'file/cache'}")
    assert code == 0, err
    assert err.count("warning: ") == 1
    assert f"warning: cache {workspace.folder / 'file/cache'}" in err
    assert (workspace.folder / "dist/add_one/float32/manifest.json").is_file()


def test_the_bundle_built_without_a_cache_is_the_same(workspace: Workspace, command: Command) -> None:
    assert command("recipe=add_one", "output_dir=with")[0] == 0
    assert command("recipe=add_one", "output_dir=without", "cache.enabled=false")[0] == 0
    manifests = [workspace.folder / folder / "add_one/float32/manifest.json" for folder in ("with", "without")]
    assert len({Digest.of_file(manifest) for manifest in manifests}) == 1
