"""A SavedModel of TensorFlow 1 or 2: `saved_model.pb` with its signatures, and the variables beside it.

The graph is read as data, like a checkpoint's: nothing is restored into a session, and models whose objects today's
`tf.saved_model.load` cannot build again are read all the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from mlkit_build.errors import SourceError, did_you_mean
from mlkit_build.sources.frozen_graph import check_size, what_it_is
from mlkit_build.sources.tf1_checkpoint import checkpoint_values, saved_names

if TYPE_CHECKING:
    from tensorflow.core.framework.node_def_pb2 import NodeDef
    from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef, SignatureDef
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel as SavedModelProto

    from mlkit_build.graphs import DeclaredSignature, OpenedModel
    from mlkit_build.recipe import SavedModel

_VARIABLES = "variables"
_INITIALIZER = "__saved_model_init_op"


def files(source: SavedModel, folder: Path) -> dict[str, Path]:
    """Return `saved_model` and the files of the folder `variables`, by their names there.

    Raises:
        SourceError: The folder is missing or holds no SavedModel.
    """
    place = folder / source.path
    if place.name in ("saved_model.pb", "saved_model.pbtxt"):
        place = place.parent
    found = [place / name for name in ("saved_model.pb", "saved_model.pbtxt") if (place / name).is_file()]
    if not found:
        what = "nothing" if not place.exists() else "a file" if place.is_file() else "a folder without it"
        below = (
            sorted((Path(source.path) / path.parent.name).as_posix() for path in place.glob("*/saved_model.pb"))
            if place.is_dir()
            else []
        )
        raise SourceError(
            f"source.path: expected a SavedModel's folder, with saved_model.pb in it, at {place}, found {what}",
            f"did you mean {' or '.join(below)}?" if below else "",
        )
    roles = {"saved_model": found[0]}
    if (place / _VARIABLES).is_dir():
        roles |= {path.name: path for path in sorted((place / _VARIABLES).iterdir()) if path.name.startswith("variables.")}
    return roles


def load(files: Mapping[str, Path], source: SavedModel) -> OpenedModel:
    """Open one graph of the SavedModel with its variables and signatures.

    Raises:
        SourceError: A file is damaged, or there is no such graph or signature; lists those there are.
    """
    from mlkit_build.graphs import LoadedGraph, OpenedModel, needed_nodes
    from mlkit_build.graphs.functions import library_of, write_out_calls

    path = files["saved_model"]
    meta_graph = _meta_graph(_parse(path), source.tags, path)
    graph_def = meta_graph.graph_def
    nodes = {node.name: node for node in graph_def.node}
    restore = meta_graph.saver_def.restore_op_name
    saved_as = saved_names(graph_def.node)
    if restore in nodes:
        # TensorFlow 2 restores in a function, which names the variables by their place in the object graph.
        written_out = {name: _copy(nodes[name]) for name in needed_nodes(nodes, [restore])}
        write_out_calls(written_out, library_of(graph_def), [restore])
        saved_as |= saved_names(written_out.values())
    index = files.get("variables.index")
    values = checkpoint_values(str(index).removesuffix(".index"), saved_as) if index else _no_variables(path)
    return OpenedModel.of(LoadedGraph(graph_def, values, str(path)), _signatures(meta_graph, source.signature, path))


def _parse(path: Path) -> SavedModelProto:
    from google.protobuf import text_format
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    check_size(path, "source.path")
    data = path.read_bytes()
    model = SavedModel()
    problem = "it holds no graph"
    try:
        if path.suffix == ".pbtxt":
            text_format.Parse(data.decode("utf-8"), model)
        else:
            model.ParseFromString(data)
    except (DecodeError, text_format.ParseError, UnicodeDecodeError) as error:
        problem = str(error)
    if not any(meta_graph.graph_def.node for meta_graph in model.meta_graphs):
        hint = what_it_is(data, "save the model again; the file may be truncated")
        raise SourceError(f"source.path: {path} is not a SavedModel: {problem}", hint)
    return model


def _meta_graph(model: SavedModelProto, tags: tuple[str, ...] | None, path: Path) -> MetaGraphDef:
    known = {tuple(sorted(meta_graph.meta_info_def.tags)): meta_graph for meta_graph in model.meta_graphs}
    if tags is None:
        chosen = next(iter(known.values())) if len(known) == 1 else known.get(("serve",))
    else:
        chosen = known.get(tuple(sorted(tags)))
    if chosen is None:
        listed = " or ".join(f"[{', '.join(item)}]" for item in known)
        asked = "missing" if tags is None else f"no graph is tagged [{', '.join(tags)}]"
        raise SourceError(f"source.tags: {asked}; {path} has {listed}", f"add `tags: [{', '.join(next(iter(known)))}]`")
    return chosen


def _signatures(meta_graph: MetaGraphDef, wanted: str | None, path: Path) -> tuple[DeclaredSignature, ...]:
    signatures = {key: item for key, item in sorted(meta_graph.signature_def.items()) if key != _INITIALIZER}
    if wanted is not None and wanted not in signatures:
        raise SourceError(
            f"source.signature: no signature {wanted!r}; {path} has {', '.join(signatures) or 'none'}",
            did_you_mean(wanted, list(signatures)),
        )
    if not signatures and meta_graph.object_graph_def.nodes:  # TensorFlow 2 keeps functions, and no graph to guess from
        raise SourceError(
            f"source.path: {path} has no signature, so that none of its functions can be called",
            "save it again with one: `tf.saved_model.save(model, folder, signatures=model.method)`",
        )
    chosen = {wanted: signatures[wanted]} if wanted is not None else signatures
    recorded = {node.name: node.attr["_output_shapes"].list.shape for node in meta_graph.graph_def.node}
    return tuple(_declared(key, item, recorded) for key, item in chosen.items() if item.inputs or item.outputs)


def _declared(key: str, signature: SignatureDef, recorded: Mapping[str, Any]) -> DeclaredSignature:
    """Return a signature as its author declared it.

    Args:
        recorded: Node -> the shapes of its outputs as the graph records them: early writers left them out of the signature.
    """
    from tensorflow import as_dtype

    from mlkit_build.graphs import DeclaredSignature, DeclaredTensor, TensorName

    def tensors(infos: Any) -> tuple[DeclaredTensor, ...]:
        found = []
        for name, info in sorted(infos.items()):
            shape: Any = info.tensor_shape
            if not info.HasField("tensor_shape"):
                place = TensorName.parse(info.name)
                shape = next(iter(recorded.get(place.node, ())[place.index : place.index + 1]), None)
            unknown = shape is None or shape.unknown_rank
            sizes = None if unknown else tuple(None if dim.size < 0 else int(dim.size) for dim in shape.dim)
            dtype = as_dtype(info.dtype).name if info.dtype else "?"
            found.append(DeclaredTensor(name, info.name, sizes, dtype))
        return tuple(found)

    return DeclaredSignature(key, tensors(signature.inputs), tensors(signature.outputs))


def _no_variables(path: Path) -> Any:
    def value(name: str) -> NoReturn:
        raise SourceError(
            f"source.path: {path.parent} has no {_VARIABLES}/variables.index, and the outputs need the variable {name!r}",
            "copy the whole folder of the SavedModel",
        )

    return value


def _copy(node: NodeDef) -> NodeDef:
    copy = type(node)()
    copy.CopyFrom(node)
    return copy
