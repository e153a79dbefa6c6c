"""Small TensorFlow 1 models, built and saved as their authors would. TensorFlow is imported when one is built, not before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlkit_build.adapters import FrozenModel
from mlkit_build.graphs import LoadedGraph
from mlkit_build.plain import to_plain
from mlkit_build.recipe import Adapter, FrozenGraph, Tf1Checkpoint
from mlkit_build.signature import FrozenSignature
from mlkit_build.stages.params import FreezeInput, FreezeParams


@contextmanager
def session() -> Iterator[tuple[Any, Any]]:
    """Yield (tf.compat.v1, session) in a graph of its own, with seed 7 and control flow as TensorFlow 1 wrote it."""
    import tensorflow as tf

    tf1 = tf.compat.v1
    functional = tf1.control_flow_v2_enabled()
    tf1.disable_control_flow_v2()
    try:
        with tf.Graph().as_default() as graph, tf1.Session(graph=graph) as running:
            tf1.set_random_seed(7)
            yield tf1, running
    finally:
        if functional:
            tf1.enable_control_flow_v2()


def save(running: Any, prefix: Path, **options: Any) -> Path:
    """Save graph and variables as `tf.compat.v1.train.Saver(**options)` does; return the prefix."""
    import tensorflow as tf

    prefix.parent.mkdir(parents=True, exist_ok=True)
    tf.compat.v1.train.Saver(**options).save(running, str(prefix), write_state=False)
    return prefix


def constants_only(
    build: Callable[[Any], Any], values: Mapping[str, Any] | None = None, outputs: Sequence[str] = ()
) -> tuple[Any, list[NDArray[Any]]]:
    """Build a graph without variables; return its GraphDef and what the session gives for `outputs`."""
    with session() as (tf1, running):
        build(tf1)
        feed = {running.graph.get_tensor_by_name(name): value for name, value in (values or {}).items()}
        found = running.run(list(outputs), feed) if outputs else []
        return running.graph.as_graph_def(), found


def loaded(graph_def: Any) -> LoadedGraph:
    """Return a source that is open already and has no variables."""

    def none(name: str) -> NDArray[Any]:
        raise AssertionError(f"no variables here, asked for {name}")

    return LoadedGraph(graph_def, none, "graph.pb")


def request(
    inputs: Mapping[str, str | tuple[str, tuple[int, ...]]],
    outputs: Mapping[str, str],
    constants: Mapping[str, Any] | None = None,
    adapters: tuple[str, ...] = (),
    kind: str = "frozen_graph",
) -> FreezeParams:
    """Return what freeze is told; an input is a tensor, or a tensor with its shape."""
    stated = {
        name: FreezeInput(spec, None) if isinstance(spec, str) else FreezeInput(spec[0], spec[1]) for name, spec in inputs.items()
    }
    source = next(cls(path="") for cls in (FrozenGraph, Tf1Checkpoint) if cls().kind == kind)
    return FreezeParams(source, stated, dict(outputs), constants or {}, tuple(Adapter(name=name) for name in adapters))


def run_graph(graph_def: Any, feed: Mapping[str, Any], outputs: Sequence[str]) -> list[NDArray[Any]]:
    """Run a GraphDef in a plain session."""
    import tensorflow as tf

    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as running:
        tf.graph_util.import_graph_def(graph_def, name="")
        found: list[NDArray[Any]] = running.run(list(outputs), dict(feed))
        return found


def run_frozen(model: FrozenModel, values: Mapping[str, Any]) -> list[NDArray[Any]]:
    """Run a frozen model on values by input name."""
    feed = {spec.tensor: values[spec.name] for spec in model.signature.inputs}
    return run_graph(model.graph_def, feed, [spec.tensor for spec in model.signature.outputs])


def write_frozen(model: FrozenModel, folder: Path) -> dict[str, Path]:
    """Write a frozen model as the freeze stage does; return the files by name."""
    graph, signature = folder / "frozen_graph.pb", folder / "signature.json"
    graph.write_bytes(model.graph_def.SerializeToString(deterministic=True))
    model.signature.write(signature)
    return {"frozen_graph.pb": graph, "signature.json": signature}


def freeze_files(params: FreezeParams, files: Mapping[str, Path], to: Path) -> FrozenModel:
    """Run the freeze stage on files, as a child does, and read back what it wrote."""
    import tensorflow as tf

    from mlkit_build.stages.freeze import freeze

    to.mkdir(parents=True, exist_ok=True)
    freeze(to_plain(params), files, to)
    graph_def = tf.compat.v1.GraphDef.FromString((to / "frozen_graph.pb").read_bytes())
    return FrozenModel(graph_def, FrozenSignature.read(to / "signature.json"))


def digits(count: int, shape: Sequence[int], seed: int = 3) -> NDArray[np.float32]:
    """Return reproducible values in -1..1 to run models on."""
    return np.random.default_rng(seed).uniform(-1, 1, (count, *shape)).astype(np.float32)
