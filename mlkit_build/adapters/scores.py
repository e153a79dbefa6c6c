"""What `softmax` and `sigmoid` share: an output of logits becomes one of scores, once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mlkit_build.adapters import FrozenModel
from mlkit_build.adapters.graph_view import RENAMING, RESHAPING, GraphView
from mlkit_build.adapters.stitching import replace_output
from mlkit_build.errors import ConfigError
from mlkit_build.signature import TensorSpec

if TYPE_CHECKING:
    from tensorflow.core.framework.node_def_pb2 import NodeDef

_VALUES = (*RENAMING, *RESHAPING)


def append_scores(model: FrozenModel, output: TensorSpec, adapter: str, function: Callable[..., Any]) -> FrozenModel:
    """Put the function behind the output.

    Raises:
        ConfigError: The output is scores already. Twice the function still gives scores, only flatter ones: nothing would fail.
    """
    found = scores_node(GraphView(model), output.tensor)
    if found is not None:
        raise ConfigError(
            f"{adapter} needs logits, found {output.name} ({output.tensor}), which is scores already: the result of the "
            f"operator {found.op} {found.name}",
            "drop the adapter",
        )
    return replace_output(model, output, adapter, lambda logits: function(logits, name=adapter))


def scores_node(view: GraphView, tensor: str) -> NodeDef | None:
    """Return what makes scores in 0..1 of logits right before the tensor, or None where nothing does."""
    found = view.origin(tensor, _VALUES)
    return found if found.op in ("Softmax", "Sigmoid") or _is_quotient_of_exponents(found, view) else None


def _is_quotient_of_exponents(node: NodeDef, view: GraphView) -> bool:
    """Return whether the node is a softmax written out, `exp(x) / sum(exp(x))`."""
    if node.op not in ("RealDiv", "Div"):
        return False
    above, below = view.origin(node.input[0], RENAMING), view.origin(node.input[1], _VALUES)
    return above.op == "Exp" and below.op == "Sum" and view.origin(below.input[0], RENAMING) is above
