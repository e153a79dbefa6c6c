"""A frozen graph: a GraphDef file whose variables are constants already."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from mlkit_build.errors import SourceError

if TYPE_CHECKING:
    from mlkit_build.graphs import LoadedGraph
    from mlkit_build.recipe import FrozenGraph


def files(source: FrozenGraph, folder: Path) -> dict[str, Path]:
    """Return the one file, `graph`.

    Raises:
        SourceError: It is missing, or a folder.
    """
    path = folder / source.path
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing"
        elsewhere = Path(source.path).absolute()
        hint = f"paths are relative to the recipe's folder; {elsewhere} exists" if elsewhere.is_file() else ""
        raise SourceError(f"source.path: expected a GraphDef file at {path}, found {found}", hint)
    return {"graph": path}


def load(files: Mapping[str, Path]) -> LoadedGraph:
    """Parse the GraphDef, binary or, where the name ends in `.pbtxt`, text.

    Raises:
        SourceError: It is not a GraphDef.
    """
    from mlkit_build.graphs import LoadedGraph

    path = files["graph"]

    def no_value(name: str) -> NoReturn:
        raise SourceError(
            f"source.path: {path} is not frozen: the variable {name!r} has no value in it "
            "(older converters say: Converting unsupported operation: Variable)",
            "a GraphDef holds the graph without its variables; use `source: {kind: tf1_checkpoint, path: ...}` with the "
            "checkpoint that was saved from this graph",
        )

    return LoadedGraph(_parse(path), no_value, str(path))


def _parse(path: Path) -> Any:
    from google.protobuf import text_format
    from google.protobuf.message import DecodeError
    from tensorflow.core.framework.graph_pb2 import GraphDef

    graph_def = GraphDef()
    data = path.read_bytes()
    try:
        if path.suffix == ".pbtxt":
            text_format.Parse(data.decode("utf-8"), graph_def)
        else:
            graph_def.ParseFromString(data)
    except (DecodeError, text_format.ParseError, UnicodeDecodeError) as error:
        raise SourceError(f"source.path: {path} is not a GraphDef: {error}", what_it_is(data)) from error
    if not graph_def.node or not all(node.name and node.op for node in graph_def.node):
        raise SourceError(f"source.path: {path} is not a GraphDef: it has no nodes", what_it_is(data))
    return graph_def


def what_it_is(data: bytes) -> str:
    """Return a guess at what a file that should have been a GraphDef is, as a hint."""
    if not data:
        return "the file is empty"
    if data[4:8] == b"TFL3":
        return "it is a .tflite model, which is converted already"
    if data[:2] == b"PK":
        return "it is a zip archive; a .keras file is one"
    if data[:8] == b"\x89HDF\r\n\x1a\n":
        return "it is an HDF5 file, as Keras writes"
    return "export the graph again; the file may be truncated, or a SavedModel's saved_model.pb"
