from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlkit_build.errors import SourceError
from mlkit_build.recipe import FrozenGraph
from mlkit_build.sources import SOURCES, frozen_graph, source
from mlkit_build.stages.freeze import freeze_graph
from tests.sources.tf1 import constants_only, digits, request, run_frozen, session


def triple(tf1: Any) -> None:
    tf1.multiply(tf1.placeholder("float32", [1, 2], name="x"), 3.0, name="y")


def opened(path: Path) -> Any:
    source = FrozenGraph(path=path.name)
    return frozen_graph.load(frozen_graph.files(source, path.parent), source).graph({})


@pytest.mark.parametrize("name", ["graph.pb", "graph.pbtxt"])
def test_a_graph_is_read_from_its_binary_and_its_text_form(tmp_path: Path, name: str) -> None:
    from google.protobuf import text_format

    graph_def, _ = constants_only(triple)
    text = text_format.MessageToString(graph_def).encode()
    (tmp_path / name).write_bytes(text if name.endswith("txt") else graph_def.SerializeToString())
    x = digits(1, [2])
    model = freeze_graph(opened(tmp_path / name), request({"x": "x:0"}, {"y": "y:0"}))
    np.testing.assert_array_equal(run_frozen(model, {"x": x})[0], x * 3)


def test_a_graph_whose_variables_were_never_frozen_names_one_and_says_what_to_use(tmp_path: Path) -> None:
    with session() as (tf1, running):
        tf1.matmul(tf1.placeholder("float32", [1, 2], name="x"), tf1.get_variable("w", [2, 2]), name="y")
        (tmp_path / "graph.pb").write_bytes(running.graph.as_graph_def().SerializeToString())
    with pytest.raises(SourceError, match="is not frozen: the variable 'w'") as caught:
        freeze_graph(opened(tmp_path / "graph.pb"), request({"x": "x:0"}, {"y": "y:0"}))
    assert "tf1_checkpoint" in caught.value.hint


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (b"", "the file is empty"),
        (b"\x1c\0\0\0TFL3 and so on", "it is a .tflite model"),
        (b"PK\x03\x04" + bytes(30), "a .keras file is one"),
        (b"\x89HDF\r\n\x1a\n" + bytes(30), "it is an HDF5 file"),
        (b"\xff" * 40, "may be truncated"),
    ],
)
def test_a_file_that_is_no_graph_is_told_what_it_is(tmp_path: Path, data: bytes, hint: str) -> None:
    (tmp_path / "graph.pb").write_bytes(data)
    with pytest.raises(SourceError, match="is not a GraphDef") as caught:
        opened(tmp_path / "graph.pb")
    assert hint in caught.value.hint


def test_text_that_is_no_graph_is_a_source_error(tmp_path: Path) -> None:
    (tmp_path / "graph.pbtxt").write_text("node { nome: 3 }")
    with pytest.raises(SourceError, match="is not a GraphDef"):
        opened(tmp_path / "graph.pbtxt")


def test_a_missing_file_is_named_with_the_place_that_was_looked_at(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        frozen_graph.files(FrozenGraph(path="none.pb"), tmp_path)
    assert caught.value.message == f"source.path: expected a GraphDef file at {tmp_path / 'none.pb'}, found nothing"


def test_a_file_beside_the_current_folder_is_pointed_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "graph.pb").write_bytes(b"x")
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(SourceError) as caught:
        frozen_graph.files(FrozenGraph(path="graph.pb"), tmp_path / "recipe")
    assert caught.value.hint == f"paths are relative to the recipe's folder; {tmp_path / 'here' / 'graph.pb'} exists"


@pytest.mark.parametrize("kind", sorted(SOURCES))
def test_every_kind_of_source_offers_files_and_load(kind: str) -> None:
    module = source(kind)
    assert callable(module.files)
    assert callable(module.load)
