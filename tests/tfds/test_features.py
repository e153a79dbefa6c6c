"""What `features.json` says of each feature, against the library; and what nobody should have written."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlkit_build.errors import ConfigError, MlkitBuildError, SourceError
from mlkit_build.tfds.features import IMAGE, NUMBERS, OTHER, TEXT, class_names, feature_named, read_features
from mlkit_build.tfds.prepared import FEATURES

FORMS = {  # as `prepare.py` declares them
    "image": (IMAGE, "uint8", (6, 5, 3)),
    "photo": (IMAGE, "uint8", (None, None, 3)),
    "mask": (IMAGE, "uint8", (4, 4, 1)),
    "floats": (OTHER, "float32", (4, 4, 1)),
    "label": (NUMBERS, "int64", ()),
    "n": (NUMBERS, "int32", ()),
    "b": (NUMBERS, "bool", (2,)),
    "z": (NUMBERS, "int16", (2, 3)),
    "dynamic": (OTHER, "int16", (None, None)),
    "name": (TEXT, "string", ()),
    "nest/inner": (NUMBERS, "int64", (2,)),
    "nest/deep/x": (NUMBERS, "float32", ()),
    "rows": (NUMBERS, "float32", (2, 2)),
    "open": (NUMBERS, "float32", (None,)),
    "objects/bbox": (NUMBERS, "float32", (None, 4)),
    "lists": (OTHER, "int64", (None, None)),
    "audio": (NUMBERS, "int64", (None,)),
    "box": (NUMBERS, "float32", (4,)),
    "film": (OTHER, "", ()),
}


@pytest.fixture
def folder(prepared: Path) -> Path:
    return prepared / "tfrecord" / "tiny" / "1.2.0"


def test_every_feature_is_told_as_it_was_declared(folder: Path) -> None:
    features = read_features(folder, "dataset")
    assert {name: (features[name].form, features[name].dtype, features[name].shape) for name in FORMS} == FORMS
    assert features["raw"].encoding == "bytes"
    assert features["z"].encoding == "zlib"
    assert [name for name, feature in features.items() if feature.optional] == ["lacking"]


def test_the_names_of_classes_are_found_where_the_library_put_them(folder: Path) -> None:
    features = read_features(folder, "dataset")
    assert class_names(folder, features["label"], "dataset") == ("cat", "dog", "emu")
    assert class_names(folder, features["nest/deep/kind"], "dataset") == ("cat", "dog", "emu")
    assert class_names(folder, features["n"], "dataset") == ()


def test_the_older_form_of_the_file_says_the_same(folder: Path, tmp_path: Path) -> None:
    code = (
        "import json, sys, tensorflow_datasets as tfds\n"
        "features = tfds.features.FeatureConnector.from_config(sys.argv[1])\n"
        "print('JSON', json.dumps(features.to_json()))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, timeout=300)
    older = done.stdout.partition("JSON ")[2]
    assert older.startswith('{"type": ')
    (tmp_path / FEATURES).write_text(older)
    assert read_features(tmp_path, "dataset") == read_features(folder, "dataset")


def test_the_forms_of_the_first_releases_are_read(tmp_path: Path) -> None:
    # As the docstring of `FeatureConnector.to_json` shows them.
    module = "tensorflow_datasets.core.features"
    stated = {
        "type": f"{module}.features_dict.FeaturesDict",
        "content": {
            "input": {
                "type": f"{module}.image_feature.Image",
                "content": {"shape": [None, None, 3], "dtype": "uint8", "encoding_format": "png"},
            },
            "target": {"type": f"{module}.class_label_feature.ClassLabel", "content": {"num_classes": 10}},
        },
    }
    (tmp_path / FEATURES).write_text(json.dumps(stated))
    found = read_features(tmp_path, "dataset")
    assert [(name, feature.form, feature.shape) for name, feature in found.items()] == [
        ("input", IMAGE, (None, None, 3)),
        ("target", NUMBERS, ()),
    ]


def test_a_feature_that_is_not_there_lists_those_that_are(folder: Path) -> None:
    features = read_features(folder, "dataset")
    with pytest.raises(ConfigError) as raised:
        feature_named(features, "imge", "dataset.features.x", folder)
    assert raised.value.message.startswith(f"dataset.features.x: no feature 'imge' in {folder}; it has audio, b, box,")
    assert "'image'" in raised.value.hint


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("film", "Video"),
        ("floats", "Image of float32"),
        ("lists", "Sequence of Sequence of Tensor of int64"),
        ("dynamic", "Tensor of int16"),
    ],
)
def test_a_feature_that_is_not_read_here_is_refused_by_its_kind(folder: Path, name: str, kind: str) -> None:
    with pytest.raises(ConfigError) as raised:
        feature_named(read_features(folder, "dataset"), name, "dataset.label", folder)
    assert f"dataset.label: expected an image, numbers or a class label, found {name!r}, which is {kind}" in raised.value.message
    assert "kind python" in raised.value.hint


def tensor(**content: Any) -> str:
    inner = {"x": {"pythonClassName": "a.Tensor", "tensor": {"dtype": "uint8", "shape": {"dimensions": ["2"]}, **content}}}
    return json.dumps({"pythonClassName": "a.FeaturesDict", "featuresDict": {"features": inner}})


def nested(depth: int) -> str:
    return '{"pythonClassName": "FeaturesDict", "featuresDict": {"features": {"a": ' * depth + "{}" + "}}}" * depth


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "features.json: expected JSON"),
        ("{}", "the dataset: expected a feature with the name of its class, found {}"),
        ('{"pythonClassName": 3}', "expected a feature with the name of its class"),
        ('{"type": "FeaturesDict", "content": "{"}', "expected JSON as its content, found '{'"),
        ('{"pythonClassName": "FeaturesDict", "featuresDict": [1]}', "expected an object as its content, found list"),
        ('{"pythonClassName": "FeaturesDict", "featuresDict": {"features": {"x": 1}}}', "x: expected a feature with the name"),
        (tensor(shape={"dimensions": ["two"]}), "x: shape: expected a size, found 'two'"),
        (tensor(shape={"dimensions": ["9" * 40]}), "x: shape: expected a size, found '9999"),
        (tensor(shape={"dimensions": [-2]}), "x: shape: expected a size, found '-2'"),
        (tensor(shape={"dimensions": ["1"] * 99}), "x: shape: expected at most 16 sizes"),
        (nested(60), "nested too deeply"),
        (nested(20_000), "nested too deeply"),
    ],
)
def test_features_that_nobody_should_have_written_are_refused_by_file_and_feature(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / FEATURES).write_text(text)
    with pytest.raises(SourceError) as raised:
        read_features(tmp_path, "dataset")
    assert raised.value.message.startswith(f"dataset.path: {tmp_path / FEATURES}: ")
    assert message in raised.value.message


def test_names_of_classes_that_are_no_text_are_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / "label.labels.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(SourceError, match=r"label\.labels\.txt: expected UTF-8"):
        class_names(tmp_path / "copy", read_features(tmp_path / "copy", "dataset")["label"], "dataset")


KEYS = [
    "pythonClassName",
    "type",
    "content",
    "tensor",
    "sequence",
    "featuresDict",
    "features",
    "feature",
    "length",
    "shape",
    "dtype",
]
LEAVES = (
    st.none() | st.integers() | st.sampled_from(["a.Tensor", "a.Sequence", "a.FeaturesDict", "a.Image", "float32", "-1", "{}"])
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.sampled_from(KEYS),
        st.recursive(LEAVES, lambda x: st.dictionaries(st.sampled_from(KEYS), x) | st.lists(x, max_size=2), max_leaves=12),
    )
)
def test_no_json_brings_the_reader_down(tmp_path: Path, stated: Any) -> None:
    (tmp_path / FEATURES).write_text(json.dumps(stated))
    with suppress(MlkitBuildError):
        read_features(tmp_path, "dataset")
