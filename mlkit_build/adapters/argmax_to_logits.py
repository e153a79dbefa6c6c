"""`argmax_to_logits`: a model that returns the index of the best class returns what it chose from: a value for each class.

Labels with confidences need those values, and so does int8: ai-edge-quantizer knows no ARG_MAX.
"""

from __future__ import annotations

from dataclasses import replace

from mlkit_build.adapters import FrozenModel
from mlkit_build.adapters.graph_view import RENAMING, RESHAPING, GraphView
from mlkit_build.adapters.options import OutputOptions
from mlkit_build.adapters.stitching import chosen_output, tensor_spec
from mlkit_build.errors import ConfigError

_THROUGH = (*RENAMING, *RESHAPING, "Cast")


def adapt(model: FrozenModel, options: OutputOptions) -> FrozenModel:
    """Replace an output that is an ArgMax, maybe cast or reshaped, by the ArgMax's input, in its own shape.

    Raises:
        ConfigError: The output is something else; names the operators behind it.
    """
    output = chosen_output(model, options.output, "argmax_to_logits")
    view = GraphView(model)
    found = list(view.behind(output.tensor, _THROUGH))
    if found[-1].op != "ArgMax":
        raise ConfigError(
            f"argmax_to_logits needs an output that is an ArgMax, found {output.name} ({output.tensor}), which comes from "
            + ", from ".join(f"{node.op} ({node.name})" for node in found[:6]),
            "drop the adapter, or name the tensor of the logits in signature.outputs",
        )
    new = tensor_spec(model, output.name, found[-1].input[0])
    outputs = tuple(new if spec is output else spec for spec in model.signature.outputs)
    return replace(model, signature=replace(model.signature, outputs=outputs))
