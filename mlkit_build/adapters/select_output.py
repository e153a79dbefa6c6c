"""`select_output`: keeps some of the outputs, in the order that the app wants them. What only the others needed goes."""

from __future__ import annotations

from dataclasses import replace

from mlkit_build.adapters import FrozenModel
from mlkit_build.adapters.options import SelectOutputOptions
from mlkit_build.adapters.stitching import chosen_output
from mlkit_build.errors import ConfigError
from mlkit_build.graphs import TensorName, needed_nodes


def adapt(model: FrozenModel, options: SelectOutputOptions) -> FrozenModel:
    """Keep the named outputs only.

    Raises:
        ConfigError: There is none of that name, or an input is needed by none of them.
    """
    kept = tuple(chosen_output(model, name, "select_output") for name in options.kept)
    nodes = {node.name: node for node in model.graph_def.node}
    needed = set(needed_nodes(nodes, [TensorName.parse(spec.tensor).node for spec in kept]))
    idle = [spec for spec in model.signature.inputs if TensorName.parse(spec.tensor).node not in needed]
    if idle:
        raise ConfigError(
            f"select_output: the input {idle[0].name!r} ({idle[0].tensor}) is not needed by {', '.join(options.kept)}",
            "keep an output that needs it, or drop the adapter and take the input and the other outputs out of the signature",
        )
    return replace(model, signature=replace(model.signature, outputs=kept))
