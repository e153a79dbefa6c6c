"""Surgery on GraphDefs: names, pruning, constants, canonical form. No session, no variables, no files."""

from mlkit_build.graphs.branches import take_known_branches
from mlkit_build.graphs.canonical import canonical_form
from mlkit_build.graphs.dropout import switch_off_dropout
from mlkit_build.graphs.loaded import DeclaredSignature, DeclaredTensor, LoadedGraph, OpenedModel
from mlkit_build.graphs.surgery import (
    TensorName,
    constant_node,
    find_tensor,
    needed_nodes,
    placeholder_node,
    without_training_marks,
)

__all__ = [
    "DeclaredSignature",
    "DeclaredTensor",
    "LoadedGraph",
    "OpenedModel",
    "TensorName",
    "canonical_form",
    "constant_node",
    "find_tensor",
    "needed_nodes",
    "placeholder_node",
    "switch_off_dropout",
    "take_known_branches",
    "without_training_marks",
]
