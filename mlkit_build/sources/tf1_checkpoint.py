"""A TensorFlow 1 checkpoint with its graph: `<prefix>.meta`, and `.index` with `.data-*` (V2) or one file (V1).

The graph is cut first and only the variables in the cut are read, straight from the checkpoint: no session, no saver, and
nothing of the training graph has to be importable.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlkit_build.errors import SourceError, did_you_mean
from mlkit_build.sources.frozen_graph import existing_file, read_graph

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tensorflow.core.framework.node_def_pb2 import NodeDef

    from mlkit_build.graphs import OpenedModel
    from mlkit_build.recipe import Tf1Checkpoint

_SUFFIX = re.compile(r"\.(meta|index|data-\d{5}-of-\d{5})$")
_STATE = re.compile(r'^model_checkpoint_path:\s*"([^"]+)"', re.MULTILINE)
_SHARD = re.compile(r"\.data-(\d{5})-of-(\d{5})$")


def files(source: Tf1Checkpoint, folder: Path) -> dict[str, Path]:
    """Return `meta`, and `index` with every `data-*` shard, or `v1`.

    Raises:
        SourceError: A part is missing; names it.
    """
    stem = _SUFFIX.sub("", source.path)
    # A saver given "folder/" writes `folder/.meta` and so on: a prefix that is empty, and named here by its .meta file.
    unnamed = stem != source.path and (not stem or stem.endswith("/"))
    prefix = folder / stem
    if prefix.is_dir() and not unnamed:
        prefix = _latest(prefix, source.path)
        unnamed = prefix.is_dir()
    part = partial(_part, prefix, "") if unnamed else partial(_part, prefix.parent, prefix.name)
    meta, index = part(".meta"), part(".index")
    if source.graph is not None:
        meta = existing_file("source.graph", source.graph, folder, "a GraphDef or MetaGraphDef file")
    shards = sorted(path for path in _siblings(part(".data-")) if _SHARD.search(path.name))
    if not (meta.exists() or index.exists() or shards or prefix.exists()):
        elsewhere = Path(source.path + ".index").absolute()
        hint = f"paths are relative to the recipe's folder; {elsewhere} exists" if elsewhere.is_file() else ""
        raise SourceError(f"source.path: no checkpoint at {prefix} (looked for .meta, .index and .data-*)", hint)
    if not meta.is_file():
        raise SourceError(
            f"source.path: checkpoint part missing: {meta}",
            "the .meta file holds the graph: copy it beside the checkpoint, or name the graph's own file with source.graph",
        )
    if prefix.is_file() and not index.exists():
        return {"meta": meta, "v1": prefix}
    if not index.is_file():
        raise SourceError(f"source.path: checkpoint part missing: {index}", "copy all files of the checkpoint")
    if not shards:
        raise SourceError(
            f"source.path: checkpoint part missing: {part('.data-00000-of-00001')}",
            "copy all files of the checkpoint",
        )
    count = int(_SHARD.search(shards[0].name)[2])  # type: ignore[index]
    for number in range(count):
        shard = part(f".data-{number:05d}-of-{count:05d}")
        if shard not in shards:
            raise SourceError(f"source.path: checkpoint part missing: {shard}", "copy all files of the checkpoint")
    return {"meta": meta, "index": index} | {f"data-{n:05d}-of-{count:05d}": shards[n] for n in range(count)}


def load(files: Mapping[str, Path], source: Tf1Checkpoint) -> OpenedModel:
    """Open the graph and the checkpoint.

    Raises:
        SourceError: A part is truncated or not what it should be.
    """
    from mlkit_build.graphs import LoadedGraph, OpenedModel

    prefix = str(files["v1"]) if "v1" in files else str(files["index"]).removesuffix(".index")
    own = str(files["meta"]) == f"{prefix}.meta"  # which field names it is not told: it decides nothing but what to blame
    graph_def = read_graph(files["meta"], "source.path" if own else "source.graph")
    values = checkpoint_values(prefix, saved_names(graph_def.node))
    return OpenedModel.of(LoadedGraph(graph_def, values, str(files["meta"])))


def checkpoint_values(prefix: str, saved_as: Mapping[str, tuple[str, str]]) -> Callable[[str], NDArray[Any]]:
    """Return what reads a variable's value from the checkpoint by its node's name.

    Args:
        prefix: The checkpoint's prefix, or the file of a V1 checkpoint.
        saved_as: Variable node -> (name in the checkpoint, slice); a node that is not in it is saved under its own name.

    Raises:
        SourceError: The checkpoint cannot be read.
    """
    import numpy as np
    import tensorflow as tf

    try:
        reader = tf.compat.v1.train.NewCheckpointReader(prefix)
        shapes = reader.get_variable_to_shape_map()
    except (tf.errors.OpError, ValueError, RuntimeError, IndexError) as error:
        raise _damaged(prefix, error) from error

    def value(name: str) -> NDArray[Any]:
        key, cut = saved_as.get(name, (name, ""))
        if key not in shapes:
            raise SourceError(
                f"source.path: {prefix} has no value for the variable {name!r}, which the outputs need",
                did_you_mean(key, list(shapes)) or f"it holds {len(shapes)} variables",
            )
        try:
            whole = np.asarray(reader.get_tensor(key))
        except (tf.errors.OpError, ValueError, RuntimeError, IndexError) as error:
            raise _damaged(prefix, error) from error
        return whole[_slices(cut)] if cut else whole

    return value


def _latest(folder: Path, stated: str) -> Path:
    """Return the prefix that the folder's `checkpoint` file calls the latest, or its only one.

    Raises:
        SourceError: The folder holds none, or several and no word on which.
    """
    found = sorted({_SUFFIX.sub("", path.name) for path in folder.iterdir() if _SUFFIX.search(path.name)})
    state = folder / "checkpoint"
    if state.is_file():
        named = _STATE.search(state.read_text(encoding="utf-8", errors="replace"))
        if named is None:
            raise SourceError(f'source.path: {state} does not say `model_checkpoint_path: "..."`', "name the prefix itself")
        # The path is often one of the machine that trained the model; its files are here, perhaps under another name.
        if Path(named[1]).name in found or len(found) != 1:
            return folder / Path(named[1]).name
    if len(found) == 1:
        return folder / found[0]
    names = ", ".join(f"{stated.rstrip('/')}/{name or '.meta'}" for name in found)
    raise SourceError(
        f"source.path: expected a checkpoint's prefix, found the folder {folder}, which has no `checkpoint` file",
        f"name one of: {names}" if found else "it holds no checkpoint",
    )


def _part(folder: Path, name: str, suffix: str) -> Path:
    return folder / f"{name}{suffix}"


def _siblings(start: Path) -> list[Path]:
    if not start.parent.is_dir():
        return []
    return [path for path in start.parent.iterdir() if path.name.startswith(start.name)]


def _damaged(prefix: str, error: Exception) -> SourceError:
    text = str(error).strip().splitlines()
    return SourceError(
        f"source.path: the checkpoint {prefix} cannot be read: {text[0] if text else type(error).__name__}",
        "it may be truncated or damaged; copy all its files again",
    )


def saved_names(graph: Iterable[NodeDef]) -> dict[str, tuple[str, str]]:
    """Return variable node -> (name in the checkpoint, slice), as the graph's own saver restores them.

    They differ where the saver was given a mapping, for instance of moving averages, or where a variable is partitioned.
    """
    from mlkit_build.graphs.surgery import TensorName, constant_value

    nodes = {node.name: node for node in graph}

    def texts(name: str) -> list[str]:
        value = constant_value(nodes[name]) if name in nodes else None
        return [] if value is None else [item.decode() for item in value.ravel().tolist()]

    saved: dict[str, tuple[str, str]] = {}
    for node in nodes.values():
        if node.op not in ("Assign", "AssignVariableOp") or len(node.input) < 2:
            continue
        restored = TensorName.parse(node.input[1])
        while restored.node in nodes and nodes[restored.node].op == "Identity":
            restored = TensorName.parse(nodes[restored.node].input[0])
        restore = nodes.get(restored.node)
        if restore is None or restore.op not in ("RestoreV2", "Restore", "RestoreSlice"):
            continue
        names, cuts = texts(TensorName.parse(restore.input[1]).node), []
        if len(restore.input) > 2:
            cuts = texts(TensorName.parse(restore.input[2]).node)
        if restored.index < len(names):
            cut = cuts[restored.index] if restored.index < len(cuts) else ""
            saved[TensorName.parse(node.input[0]).node] = (names[restored.index], cut)
    return saved


def _slices(text: str) -> tuple[slice, ...]:
    """Read a saver's slice, `10 4 0,5:-`: the full shape, then `start,length` or `-` per dimension."""
    parts = text.split(" ")[-1].split(":")
    ranges = [None if part == "-" else [int(number) for number in part.split(",")] for part in parts]
    return tuple(slice(None) if item is None else slice(item[0], item[0] + item[1]) for item in ranges)
