"""Folders of prepared datasets: which one is meant, what its information says, and what nobody should have written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlkit_build.errors import ConfigError, MlkitBuildError, SourceError
from mlkit_build.recipe import Tfds
from mlkit_build.tfds.prepared import INFO, prepared_folder, read_prepared

GOOD: dict[str, Any] = {"name": "a", "splits": [{"name": "test", "shardLengths": ["3", "2"]}]}


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    for name in ("mnist/3.0.1", "glue/cola/1.0.0", "glue/cola/2.0.0", "glue/sst2/2.0.0", "one/small/1.0.0"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / INFO).write_text(json.dumps(GOOD))
    (tmp_path / "mnist" / "incomplete.ABCDEF_3.0.2").mkdir()
    (tmp_path / "mnist" / "incomplete.ABCDEF_3.0.2" / INFO).write_text("")
    return tmp_path


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ({"name": "mnist"}, "mnist/3.0.1"),
        ({"name": "mnist", "version": "3.0.1"}, "mnist/3.0.1"),
        ({"name": "glue", "config": "cola", "version": "1.0.0"}, "glue/cola/1.0.0"),
        ({"name": "glue", "config": "sst2"}, "glue/sst2/2.0.0"),
        ({"name": "glue", "version": "1.0.0"}, "glue/cola/1.0.0"),
        ({"name": "one"}, "one/small/1.0.0"),
    ],
)
def test_what_a_name_means(data_dir: Path, spec: dict[str, str], found: str) -> None:
    assert prepared_folder(Tfds(split="test", **spec), data_dir, "dataset") == data_dir / found  # type: ignore[arg-type]
    assert prepared_folder(Tfds(split="test"), data_dir / found, "dataset") == data_dir / found


@pytest.mark.parametrize(
    ("spec", "message", "hint"),
    [
        ({"name": "mnits"}, "dataset: mnits is not prepared in {}", "did you mean 'mnist'?"),
        (
            {"name": "cifar10"},
            "dataset: cifar10 is not prepared in {}",
            "tfds.builder('cifar10', data_dir='{}').download_and_prepare()",
        ),
        (
            {"name": "mnist", "version": "1.0.0"},
            "mnist:1.0.0 is not prepared in {}, which has mnist/3.0.1",
            "tfds.builder('mnist:1.0.0'",
        ),
        ({"name": "glue", "config": "mrpc"}, "glue/mrpc is not prepared in {}, which has glue/cola/1.0.0,", "prepare it"),
        (
            {"name": "glue", "config": "cola"},
            "dataset.version: expected one of several that are prepared: glue/cola/1.0.0, glue/cola/2.0.0",
            "state",
        ),
        ({"name": "glue"}, "dataset.config: expected one of several that are prepared", "state dataset.config"),
        (
            {},
            "dataset.path: {}: expected a dataset that TensorFlow Datasets prepared, with dataset_info.json, found none",
            "it holds glue/",
        ),
    ],
)
def test_what_is_not_prepared_is_told_with_what_is(data_dir: Path, spec: dict[str, str], message: str, hint: str) -> None:
    with pytest.raises(ConfigError) as raised:
        prepared_folder(Tfds(split="test", **spec), data_dir, "dataset")  # type: ignore[arg-type]
    assert message.format(data_dir) in raised.value.message
    assert hint.format(data_dir) in raised.value.hint


def test_the_folder_of_a_dataset_in_place_of_a_version_lists_the_versions(data_dir: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        prepared_folder(Tfds(split="test"), data_dir / "mnist", "dataset")
    assert "3.0.1" in raised.value.hint
    with pytest.raises(ConfigError) as raised:
        prepared_folder(Tfds(split="test", name="mnist"), data_dir / "nowhere", "dataset")
    assert "mnist is not prepared in" in raised.value.message


def test_the_command_that_an_unprepared_dataset_is_told_prepares_it(prepared: Path) -> None:
    # The library is asked whether it takes what the hint says; that it then downloads is not for a test.
    import tensorflow_datasets as tfds

    with pytest.raises(ConfigError) as raised:
        prepared_folder(Tfds(split="test", name="mnist", version="3.0.1"), prepared, "dataset")
    code = raised.value.hint.partition('"')[2].rpartition('"')[0]
    builder = eval(code.partition("; ")[2].replace(".download_and_prepare()", ""), {"tfds": tfds})
    assert (builder.name, str(builder.version), Path(builder.data_path)) == ("mnist", "3.0.1", prepared / "mnist" / "3.0.1")


def test_shards_are_called_as_the_information_says(tmp_path: Path) -> None:
    def files(**split: Any) -> list[str]:
        (tmp_path / INFO).write_text(json.dumps({"name": "a", "splits": [{"name": "test", "shardLengths": ["3", "2"], **split}]}))
        return [shard.file for shard in read_prepared(tmp_path, "dataset").splits["test"]]

    assert files() == ["a-test.tfrecord-00000-of-00002", "a-test.tfrecord-00001-of-00002"]
    assert files(filepathTemplate="{SPLIT}-{SHARD_INDEX}.{FILEFORMAT}") == ["test-00000.tfrecord", "test-00001.tfrecord"]


def replaced(**changes: Any) -> str:
    return json.dumps({**GOOD, **changes})


def split(**changes: Any) -> str:
    return replaced(splits=[{"name": "test", "shardLengths": ["3"], **changes}])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "dataset_info.json: expected JSON, found something else"),
        ("[]", "dataset_info.json: expected an object, found list"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a": ' + "9" * 5000 + "}", "expected JSON"),
        (replaced(splits={}), "splits: expected a list, found dict"),
        (replaced(splits=[1]), "splits[0]: expected a split with a name, found 1"),
        (split(shardLengths=["-1"]), "splits[0].shardLengths[0]: expected a number of samples, found '-1'"),
        (split(shardLengths=["9" * 30]), "shardLengths[0]: expected a number of samples"),
        (split(shardLengths=[True]), "shardLengths[0]: expected a number of samples, found 'True'"),
        (split(shardLengths="3"), "expected shardLengths as a list"),
        (split(filepathTemplate="../{SHARD_X_OF_Y}"), "filepathTemplate: expected names of files in this folder, found '../"),
        (split(filepathTemplate="/etc/passwd"), "filepathTemplate: expected names of files in this folder"),
        (split(filepathTemplate="a" * 5_000), "filepathTemplate: expected names of files in this folder, found 'aaa"),
        (split(filepathTemplate=".."), "filepathTemplate: expected names of files in this folder"),
        (split(filepathTemplate="{OTHER}"), "filepathTemplate: expected names of files in this folder"),
        (replaced(fileFormat="parquet"), "fileFormat: expected tfrecord or array_record, found 'parquet'"),
        (replaced(fileFormat=["x"]), "fileFormat: expected tfrecord or array_record"),
    ],
)
def test_information_that_nobody_should_have_written_is_refused_by_file_and_field(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / INFO).write_text(text)
    with pytest.raises((ConfigError, SourceError)) as raised:
        read_prepared(tmp_path, "dataset")
    assert raised.value.message.startswith(f"dataset.path: {tmp_path / INFO}: ")
    assert message in raised.value.message


def test_information_that_is_huge_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / INFO).open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(SourceError, match=r"expected at most .* bytes, found 1073741824"):
        read_prepared(tmp_path, "dataset")


def test_a_split_without_shards_has_no_samples(tmp_path: Path) -> None:
    (tmp_path / INFO).write_text(replaced(splits=[{"name": "test"}]))
    with pytest.raises(ConfigError, match=r"dataset\.split: expected samples in 'test' of .*, found none"):
        read_prepared(tmp_path, "dataset").pieces("dataset.split", "test")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8), lambda x: st.lists(x, max_size=3), max_leaves=6
)
SPLIT = st.dictionaries(st.sampled_from(["name", "shardLengths", "filepathTemplate"]), JSON)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(["name", "fileFormat", "splits"]), JSON | st.lists(SPLIT, max_size=3)))
def test_no_json_brings_the_reader_down(tmp_path: Path, info: Any) -> None:
    (tmp_path / INFO).write_text(json.dumps(info))
    try:
        found = read_prepared(tmp_path, "dataset")
    except MlkitBuildError:
        return
    assert all("/" not in shard.file for shards in found.splits.values() for shard in shards)


def test_a_copy_of_a_folder_says_the_same(prepared: Path, tmp_path: Path) -> None:
    source = prepared / "tfrecord" / "tiny" / "1.2.0"
    shutil.copytree(source, tmp_path / "copy")
    assert read_prepared(tmp_path / "copy", "dataset").splits == read_prepared(source, "dataset").splits
    assert {name: sum(shard.samples for shard in shards) for name, shards in read_prepared(source, "dataset").splits.items()} == {
        "train": 17,
        "test": 9,
    }
