from __future__ import annotations

from pathlib import Path

import pytest

from mlkit_build.errors import SourceError
from mlkit_build.recipe import AnySource, FrozenGraph, Keras, Python, SavedModel, Tf1Checkpoint
from mlkit_build.sources import SOURCES
from mlkit_build.sources.detect import described

HDF5, ZIP, TFLITE = b"\x89HDF\r\n\x1a\n", b"PK\x03\x04", b"\x1c\0\0\0TFL3"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a file of every kind."""
    monkeypatch.chdir(tmp_path)
    for name, data in {
        "graph.pb": b"\x0a\x00",
        "graph.pbtxt": b"node {}",
        "model.keras": ZIP,
        "model.h5": HDF5,
        "weights": HDF5,
        "net/model.ckpt.meta": b"",
        "net/model.ckpt.index": b"",
        "net/model.ckpt.data-00000-of-00001": b"",
        "unnamed/.meta": b"",
        "latest/checkpoint": b"",
        "saved/saved_model.pb": b"",
        "text/saved_model.pbtxt": b"",
        "many/one/saved_model.pb": b"",
        "many/two/saved_model.pb": b"",
        "empty/notes.txt": b"",
        "model.tflite": TFLITE,
        "named.pb": ZIP,
        "nothing.pb": b"",
        "model.py": b"",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    return tmp_path


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("graph.pb", FrozenGraph(path="graph.pb")),
        ("graph.pbtxt", FrozenGraph(path="graph.pbtxt")),
        ("model.keras", Keras(path="model.keras")),
        ("model.h5", Keras(path="model.h5")),
        ("weights", Keras(path="weights")),
        ("net/model.ckpt", Tf1Checkpoint(path="net/model.ckpt")),
        ("net/model.ckpt.meta", Tf1Checkpoint(path="net/model.ckpt.meta")),
        ("net/model.ckpt.index", Tf1Checkpoint(path="net/model.ckpt.index")),
        ("net/model.ckpt.data-00000-of-00001", Tf1Checkpoint(path="net/model.ckpt.data-00000-of-00001")),
        ("net", Tf1Checkpoint(path="net")),
        ("latest", Tf1Checkpoint(path="latest")),
        ("unnamed/.meta", Tf1Checkpoint(path="unnamed/.meta")),
        ("saved", SavedModel(path="saved")),
        ("saved/saved_model.pb", SavedModel(path="saved")),
        ("text", SavedModel(path="text")),
        ("model.py:build", Python(function="model.py:build")),
        ("nets/deep.py:build", Python(function="nets/deep.py:build")),
    ],
)
def test_a_path_is_the_kind_that_it_looks_like(path: str, expected: AnySource) -> None:
    assert described(path) == expected


def test_an_absolute_path_stays_one_and_a_home_is_written_out(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(here))
    assert described(str(here / "graph.pb")) == described("~/graph.pb") == FrozenGraph(path=str(here / "graph.pb"))


def test_a_kind_that_is_stated_is_believed() -> None:
    for kind in set(SOURCES) - {"python"}:
        assert described("weights", kind).kind == kind


def test_a_graph_that_is_stated_makes_it_a_checkpoint() -> None:
    assert described("net/model.ckpt", graph="graph.pb") == Tf1Checkpoint(path="net/model.ckpt", graph="graph.pb")


@pytest.mark.parametrize(
    ("path", "message", "hint"),
    [
        ("nowhere", "nowhere: no such file or folder", "FILE.py:FUNCTION"),
        ("empty", "empty: a folder with neither saved_model.pb nor a checkpoint in it", "name the model's file"),
        ("many", "many: a folder with neither", "did you mean many/one or many/two?"),
        ("model.tflite", "model.tflite: not a source of a recipe", "it is a .tflite model"),
        ("named.pb", "named.pb: not a source of a recipe", "it is a zip archive"),
        ("nothing.pb", "nothing.pb: not a source of a recipe", "the file is empty"),
    ],
)
def test_what_is_no_model_is_named(path: str, message: str, hint: str) -> None:
    with pytest.raises(SourceError) as caught:
        described(path)
    assert caught.value.message.startswith(message)
    assert hint in caught.value.hint


@pytest.mark.parametrize("path", ["model.py", "model.py:", "model:build", "graph.pb"])
def test_a_python_source_without_a_function_is_told_how_to_name_one(path: str) -> None:
    with pytest.raises(SourceError, match=r"expected FILE\.py:FUNCTION") as caught:
        described(path, "python")
    assert "model.py:build" in caught.value.hint


def test_a_python_file_alone_is_told_to_name_its_function() -> None:
    with pytest.raises(SourceError) as caught:
        described("model.py")
    assert "FILE.py:FUNCTION" in caught.value.hint + caught.value.message
