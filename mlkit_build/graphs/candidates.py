"""Guesses at what a graph without a signature takes and returns, ranked, for messages and for graphs where only one guess is
possible."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mlkit_build.graphs.loaded import DeclaredSignature, DeclaredTensor
from mlkit_build.graphs.signature_lines import SHOWN, input_lines, output_lines
from mlkit_build.graphs.surgery import CONTROL_FLOW_V1, PLACEHOLDERS, VARIABLES, TensorName, needed_nodes
from mlkit_build.graphs.twins import carries_data, for_evaluation_first
from mlkit_build.records import dataclass

if TYPE_CHECKING:
    from tensorflow.core.framework.graph_pb2 import GraphDef
    from tensorflow.core.framework.node_def_pb2 import NodeDef

_FED_BY_A_PIPELINE = (
    "IteratorGetNext",
    "QueueDequeue",
    "QueueDequeueMany",
    "QueueDequeueManyV2",
    "QueueDequeueUpToV2",
    "QueueDequeueV2",
)
_BESIDE = ("Save", "Restore", "Assign", "Resource", "Apply", "Summary", "Initialize", "IsVariable", "Queue", "Lookup", "Random")
_NO_RESULT = ("NoOp", "Const", "Placeholder", "Assert", "Shape", "ShapeN", "Rank", "Size", "PlaceholderWithDefault")
_SCOPES = ("gradients", "metrics", "save", "save_1", "init", "report_uninitialized_variables", "summaries")
_LOSS = re.compile(r"cross_entropy|CrossEntropy|(^|/)loss|[Rr]egularizer|random_uniform|AssignMovingAvg|/moments/")


@dataclass(frozen=True)
class Candidates:
    """What could be meant, the likeliest first.

    Attributes:
        inputs: Placeholders, and what an input pipeline gives.
        outputs: Tensors that nothing of the model's own forward computation reads.
        choices: Placeholders that look like switches of the training: to be given a constant.
    """

    inputs: tuple[DeclaredTensor, ...]
    outputs: tuple[DeclaredTensor, ...]
    choices: tuple[DeclaredTensor, ...]

    def signature(self) -> DeclaredSignature | None:
        """Return the one signature that is possible, or None."""
        if len(self.inputs) == len(self.outputs) == 1 and not self.choices:
            return DeclaredSignature("", self.inputs, self.outputs)
        return None

    def as_recipe(self, indent: str = "  ", *, scaling: bool = False) -> str:
        """Return the candidates as YAML to paste: the likeliest ones, the others as comments.

        Args:
            indent: Before each line.
            scaling: Leave room for mean and std where an input looks like an image.
        """
        lines = ["signature:", "  inputs:"]
        lines += input_lines(self.inputs, "input", scaling) or ["    # no placeholder: name a tensor to cut the graph at"]
        lines += ["  outputs:", *output_lines(self.outputs, "output")]
        if self.choices:
            lines.append("  constants:")
            lines += [f'    "{spec.tensor}": {_text(self.likely_value(spec))}  # {spec.dtype}' for spec in self.choices[:SHOWN]]
        return "\n".join(indent + line for line in lines)

    def likely_value(self, spec: DeclaredTensor) -> bool | float | int:
        """Return what a switch of the training is at inference: false, or a keep probability of 1."""
        return False if spec.dtype == "bool" else 1.0 if spec.dtype.startswith("float") else 0


def _text(value: bool | float | int) -> str:
    return str(value).lower()


def candidates(graph_def: GraphDef, *, describe: bool = True) -> Candidates:
    """Rank the graph's possible inputs and outputs.

    Args:
        describe: Ask TensorFlow for the outputs' shapes and types, which takes longer than all the rest.
    """
    nodes = {node.name: node for node in graph_def.node}
    fed = [_placeholder(node, graph_def) for node in graph_def.node if node.op in PLACEHOLDERS]
    fed += [
        DeclaredTensor(f"{_short(name.node)}_{name.index}", str(name), None, "?")
        for name in _read_tensors(nodes)
        if nodes[name.node].op in _FED_BY_A_PIPELINE
    ]
    depends = _dependences(nodes, fed)
    alone = {spec.tensor: sum(mask == 1 << index for mask in depends.values()) for index, spec in enumerate(fed)}
    before = [spec.tensor for spec in fed]
    fed.sort(key=lambda spec: (-_rank(spec), -alone[spec.tensor]))
    # Beside a tensor of pixels or features, one number is a switch of the training, such as a keep probability.
    choices = [spec for spec in fed[1:] if _is_choice(spec, nodes)]
    sources = {
        name: {tensor for index, tensor in enumerate(before) if mask >> index & 1} for name, mask in depends.items() if mask
    }
    inputs = for_evaluation_first([spec for spec in fed if spec not in choices], nodes, sources, _serves_training)
    outputs = [DeclaredTensor(_short(name), f"{name}:0", None, "?") for name in _outputs(nodes, inputs)]
    if describe:
        known = _described(graph_def, [spec.tensor for spec in outputs[: 2 * SHOWN]])
        outputs = [known.get(spec.tensor, spec) for spec in outputs]
    return Candidates(tuple(inputs), tuple(outputs), tuple(choices))


def _placeholder(node: NodeDef, graph_def: GraphDef) -> DeclaredTensor:
    from tensorflow import as_dtype

    shape = node.attr["shape"].shape
    unknown = shape.unknown_rank or "shape" not in node.attr or (not shape.dim and graph_def.versions.producer <= 21)
    sizes = None if unknown else tuple(None if dim.size < 0 else int(dim.size) for dim in shape.dim)
    return DeclaredTensor(_short(node.name), f"{node.name}:0", sizes, as_dtype(node.attr["dtype"].type).name)


def _short(name: str) -> str:
    return name.rsplit("/", 1)[-1]


def _is_choice(spec: DeclaredTensor, nodes: Mapping[str, NodeDef]) -> bool:
    single = spec.shape == () or (spec.shape is None and not carries_data(spec.tensor, nodes))
    return spec.dtype == "bool" or (single and spec.dtype.startswith("float"))


def _rank(spec: DeclaredTensor) -> int:
    if spec.dtype == "bool" or spec.shape == ():
        return 0
    if spec.shape is None:
        return 1
    image = len(spec.shape) == 4 and (spec.shape[-1] in (1, 3) or spec.shape[1] in (1, 3))
    floating = spec.dtype.startswith("float") or spec.dtype == "uint8"
    return 1 + 10 * image + 2 * len(spec.shape) + floating


def _read_tensors(nodes: Mapping[str, NodeDef]) -> list[TensorName]:
    read = {str(TensorName.parse(item)) for node in nodes.values() for item in node.input if not item.startswith("^")}
    return [TensorName.parse(text) for text in sorted(read) if TensorName.parse(text).node in nodes]


def _beside_the_model(node: NodeDef) -> bool:
    """Return whether the node serves training, saving or initializing, or gives no more than a shape."""
    if _serves_training(node):
        return True
    if node.op in (*_NO_RESULT, *CONTROL_FLOW_V1, *VARIABLES) and node.op not in ("Exit", "Merge"):
        return True
    return any(word in node.op for word in _BESIDE) and node.op != "ResourceGather"


def _serves_training(node: NodeDef) -> bool:
    """Return whether its name says that the node is no part of the model's own computation."""
    return node.name.split("/", 1)[0] in _SCOPES or "/Initializer/" in node.name or _LOSS.search(node.name) is not None


def _inside_loops(nodes: Mapping[str, NodeDef]) -> set[str]:
    """Return the nodes of while loops of control flow v1, from each Enter to the Exits, which are outside."""
    readers: dict[str, list[str]] = {}
    for node in nodes.values():
        for item in node.input:
            readers.setdefault(TensorName.parse(item.removeprefix("^")).node, []).append(node.name)
    waiting = [name for name, node in nodes.items() if node.op in ("Enter", "RefEnter")]
    inside = set(waiting)
    while waiting:
        for name in readers.get(waiting.pop(), []):
            if name not in inside and nodes[name].op not in ("Exit", "RefExit"):
                inside.add(name)
                waiting.append(name)
    return inside


def _dependences(nodes: Mapping[str, NodeDef], inputs: Sequence[DeclaredTensor]) -> dict[str, int]:
    """Return for each node the set of inputs that it depends on, one bit for each."""
    sources = {TensorName.parse(spec.tensor).node: 1 << index for index, spec in enumerate(inputs)}
    order = needed_nodes(nodes, list(nodes), control=False)
    depends: dict[str, int] = dict.fromkeys(order, 0)
    changed = True
    while changed:  # once more for every loop in a loop
        changed = False
        for name in order:
            mask = sources.get(name, 0)
            for item in nodes[name].input:
                if not item.startswith("^"):
                    mask |= depends.get(TensorName.parse(item).node, 0)
            changed |= mask != depends[name]
            depends[name] = mask
        changed &= any(node.op in CONTROL_FLOW_V1 for node in nodes.values())
    return depends


def _outputs(nodes: Mapping[str, NodeDef], inputs: Sequence[DeclaredTensor]) -> list[str]:
    """Return the nodes that the model's own computation ends in, the likeliest first.

    With labels beside the images, and nothing but losses and accuracies made of both, that is what depends on the images alone.
    """
    depends, loops = _dependences(nodes, inputs), _inside_loops(nodes)
    forward = {name: mask for name, mask in depends.items() if mask and name not in loops and not _beside_the_model(nodes[name])}
    whole = set(forward) - {TensorName.parse(spec.tensor).node for spec in inputs}
    alone = {name for name in whole if forward[name] == 1}
    # Loops and branches read for what comes after them.
    flow = {name for name in depends if name in loops or nodes[name].op in CONTROL_FLOW_V1}
    flow = {name for name in flow if not _serves_training(nodes[name])}
    ends = _ends(nodes, whole, flow)
    if len(inputs) > 1 and not any(_is_result(name, nodes) for name in ends if name not in alone):
        ends = _ends(nodes, alone, flow) or ends
    longest = {name: len(needed_nodes(nodes, [name], control=False)) for name in ends}
    ends.sort(key=lambda name: (_looks_minor(nodes[name]), -_looks_like_scores(nodes[name]), -longest[name], name))
    return ends


def _ends(nodes: Mapping[str, NodeDef], kept: set[str], flow: set[str]) -> list[str]:
    """Return those of `kept` that nothing of `kept` and `flow` reads."""
    read = {TensorName.parse(item).node for name in kept | flow for item in nodes[name].input if not item.startswith("^")}
    ends = [name for name in kept if name not in read]
    # Whoever ends in the best class has its scores right before it.
    ends += [TensorName.parse(nodes[name].input[0]).node for name in ends if nodes[name].op in ("ArgMax", "TopKV2")]
    return [name for name in dict.fromkeys(ends) if name in kept]


def _is_result(end: str, nodes: Mapping[str, NodeDef]) -> bool:
    """Return whether an end of the graph is more than a loss or an accuracy, which labels are for."""
    if _looks_minor(nodes[end]) or nodes[end].op in ("Mean", "Sum"):
        return False
    training = [node for node in nodes.values() if _serves_training(node)]
    return not any(TensorName.parse(item).node == end for node in training for item in node.input)


def _looks_minor(node: NodeDef) -> bool:
    return node.op in ("ArgMax", "TopKV2", "Equal") or "accuracy" in node.name.lower()


def _looks_like_scores(node: NodeDef) -> int:
    return {"Softmax": 3, "Sigmoid": 3, "LogSoftmax": 2, "Identity": 1, "BiasAdd": 1, "Add": 1, "AddV2": 1}.get(node.op, 0)


def _described(graph_def: GraphDef, tensors: list[str]) -> dict[str, DeclaredTensor]:
    """Return what TensorFlow knows of the tensors; nothing where it refuses the graph."""
    import tensorflow as tf

    from mlkit_build.graphs.surgery import without_training_marks

    clean = without_training_marks(graph_def)
    nodes = {node.name: node for node in clean.node}
    needed = set(needed_nodes(nodes, [TensorName.parse(tensor).node for tensor in tensors]))
    part = type(clean)(versions=clean.versions, library=clean.library)
    part.node.extend(node for node in clean.node if node.name in needed)
    with tf.Graph().as_default():
        try:
            found = tf.graph_util.import_graph_def(part, return_elements=tensors, name="")
        except (ValueError, KeyError, tf.errors.OpError):
            return {}
    described = {}
    for tensor, item in zip(tensors, found, strict=True):
        shape = None if item.shape.rank is None else tuple(item.shape.as_list())
        described[tensor] = DeclaredTensor(_short(TensorName.parse(tensor).node), tensor, shape, item.dtype.base_dtype.name)
    return described
