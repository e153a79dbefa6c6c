"""A frozen graph: a GraphDef file whose variables are constants already."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from mlkit_build.errors import SourceError

if TYPE_CHECKING:
    from tensorflow.core.framework.graph_pb2 import GraphDef

    from mlkit_build.graphs import OpenedModel
    from mlkit_build.recipe import FrozenGraph

_NODE = re.compile(r"^\s*(node|graph_def|meta_info_def)\s*:?\s*\{", re.MULTILINE)
_UNKNOWN = "export the graph again; the file may be truncated, or a SavedModel's saved_model.pb"


def files(source: FrozenGraph, folder: Path) -> dict[str, Path]:
    """Return the one file, `graph`.

    Raises:
        SourceError: It is missing, or a folder.
    """
    return {"graph": existing_file("source.path", source.path, folder, "a GraphDef file")}


def load(files: Mapping[str, Path], source: FrozenGraph) -> OpenedModel:
    """Parse the GraphDef.

    Raises:
        SourceError: It is not a GraphDef.
    """
    from mlkit_build.graphs import LoadedGraph, OpenedModel

    path = files["graph"]

    def no_value(name: str) -> NoReturn:
        raise SourceError(
            f"source.path: {path} is not frozen: the variable {name!r} has no value in it "
            "(older converters say: Converting unsupported operation: Variable)",
            "a GraphDef holds the graph without its variables; use `source: {kind: tf1_checkpoint, path: ...}` with the "
            "checkpoint that was saved from this graph",
        )

    return OpenedModel.of(LoadedGraph(read_graph(path, "source.path"), no_value, str(path)))


def existing_file(field: str, stated: str, folder: Path, expected: str) -> Path:
    """Return the file that the recipe names.

    Raises:
        SourceError: It is missing, or a folder.
    """
    path = folder / stated
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing"
        elsewhere = Path(stated).absolute()
        hint = f"paths are relative to the recipe's folder; {elsewhere} exists" if elsewhere.is_file() else ""
        raise SourceError(f"{field}: expected {expected} at {path}, found {found}", hint)
    return path


def read_graph(path: Path, field: str) -> GraphDef:
    """Return the GraphDef in a file, binary or text; of a MetaGraphDef, its graph.

    Raises:
        SourceError: It is neither, or has no nodes.
    """
    from google.protobuf import text_format
    from google.protobuf.message import DecodeError
    from tensorflow.core.framework.graph_pb2 import GraphDef
    from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef

    check_size(path, field)
    data = path.read_bytes()
    problem = "it has no nodes"
    is_text = _is_text(data)
    for message in (GraphDef(), MetaGraphDef()):
        try:
            if is_text:
                text_format.Parse(data.decode("utf-8"), message)
            else:
                message.ParseFromString(data)
        except (DecodeError, text_format.ParseError, UnicodeDecodeError) as error:
            problem = str(error)
            continue
        graph_def: GraphDef = message.graph_def if isinstance(message, MetaGraphDef) else message
        if graph_def.node and all(node.name and node.op for node in graph_def.node):
            return graph_def
    text = _decoded(data) if is_text else ""
    if text and not _NODE.search(text):
        line = text.strip().splitlines()[0]
        raise SourceError(
            f"{field}: {path} is not a GraphDef: it is a text that begins with {line[:40]!r}",
            "name the file that holds the model; a GraphDef as text is a list of `node { ... }`",
        )
    raise SourceError(f"{field}: {path} is not a GraphDef: {problem}", what_it_is(data))


def check_size(path: Path, field: str) -> None:
    """Refuse a file that no protobuf message can be, before it is read.

    Raises:
        SourceError: It has 2 GB or more.
    """
    from mlkit_build.graphs.variables import MAX_BYTES

    size = path.stat().st_size
    if size > MAX_BYTES:
        raise SourceError(
            f"{field}: {path} has {size} bytes; a GraphDef can hold 2 GB (protobuf's limit for one message)",
            "keep the weights outside of the graph: a tf1_checkpoint or a saved_model; LiteRT models are limited to 2 GB as well",
        )


def _is_text(data: bytes) -> bool:
    """Return whether the data can be a text proto: a binary GraphDef begins with a field's tag, a control character."""
    start = data[:4096].lstrip()
    return bool(start) and all(byte >= 0x20 or byte in b"\t\r\n" for byte in start)


def _decoded(data: bytes) -> str:
    """Return the data as text, or an empty string where it is none."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return ""


def what_it_is(data: bytes, otherwise: str = _UNKNOWN) -> str:
    """Return a guess at what a file that should have been a model is, as a hint; `otherwise` where there is none."""
    if not data:
        return "the file is empty; it may be truncated: copy it again"
    if data[4:8] == b"TFL3":
        return "it is a .tflite model, which is converted already"
    if data[:2] == b"PK":
        return "it is a zip archive; a .keras file is one"
    if data[:8] == b"\x89HDF\r\n\x1a\n":
        return "it is an HDF5 file, as Keras writes"
    return otherwise
