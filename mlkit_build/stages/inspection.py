"""inspect: what a source holds, for somebody who must write its recipe. Runs where TensorFlow is; nothing is frozen for good."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlkit_build.errors import MlkitBuildError
from mlkit_build.graphs import DeclaredSignature, DeclaredTensor, OpenedModel, TensorName, canonical_form
from mlkit_build.plain import from_plain, pretty
from mlkit_build.recipe import AnySource
from mlkit_build.records import dataclass
from mlkit_build.sources import source

if TYPE_CHECKING:
    from tensorflow.core.framework.graph_pb2 import GraphDef

    from mlkit_build.graphs.candidates import Candidates


@dataclass(frozen=True)
class InspectParams:
    """What is inspected: the source, without the places of its files."""

    source: AnySource


@dataclass(frozen=True)
class Problem:
    """An operator that LiteRT has no counterpart for.

    Attributes:
        operator: TensorFlow's name of it.
        nodes: Where it stands.
        hint: What may stand in its place.
    """

    operator: str
    nodes: tuple[str, ...]
    hint: str


@dataclass(frozen=True)
class Inspection:
    """What there is to say about a source.

    Attributes:
        kind: The kind of source.
        signatures: Those that its author declared.
        inputs: What could be an input, the likeliest first, where nothing is declared.
        outputs: What could be an output, likewise.
        constants: Placeholders that look like switches of the training.
        variables: Name -> shape and type, e.g. `[3, 3, 1, 32] float32`, of all variables.
        used: Those of them that the counted part reads.
        part: The part of the graph that the operators are counted in: between which tensors, or all of it.
        uncut: Why it is all of it; empty where it is not, or where nothing is there to cut.
        operators: Operator -> count.
        problems: Operators that will not convert.
        advice: Where the graph could be cut instead.
        proposed: The signature that the recipe states, by its names; None where no input or output is found.
        scores: Whether the first output of that is known to be scores in 0..1.
        recipe: The lines of a recipe, to paste.
    """

    kind: str
    signatures: tuple[DeclaredSignature, ...]
    inputs: tuple[DeclaredTensor, ...]
    outputs: tuple[DeclaredTensor, ...]
    constants: tuple[DeclaredTensor, ...]
    variables: Mapping[str, str]
    used: tuple[str, ...]
    part: str
    uncut: str
    operators: Mapping[str, int]
    problems: tuple[Problem, ...]
    advice: str
    proposed: DeclaredSignature | None
    scores: bool
    recipe: str


@dataclass(frozen=True)
class _Part:
    """What the likeliest signature computes.

    Attributes:
        graph_def: The nodes.
        said: See `Inspection.part`.
        uncut: See `Inspection.uncut`.
        output: The first output, where the graph has it.
    """

    graph_def: GraphDef
    said: str = "in the whole graph"
    uncut: str = ""
    output: str | None = None


def inspect(params: Mapping[str, Any], inputs: Mapping[str, Path], outputs: Path) -> None:
    """Write `inspection.json`.

    Raises:
        SourceError: The source cannot be opened.
    """
    from mlkit_build.graphs.candidates import candidates
    from mlkit_build.graphs.signature_lines import signature_lines

    request = from_plain(InspectParams, params)
    model = source(request.source.kind).load(inputs, request.source)
    graph_def = model.graph({}).graph_def if not model.declared else _first_graph(model)
    found = None if model.declared else candidates(graph_def)
    proposed = _proposed(model.declared, found)
    part = _computing(model, found, graph_def)
    computing = part.graph_def
    problems, advice = _problems(computing)
    variables = _variable_names(graph_def)
    result = Inspection(
        kind=request.source.kind,
        signatures=model.declared,
        inputs=found.inputs if found else (),
        outputs=found.outputs if found else (),
        constants=found.choices if found else (),
        variables={variables[name]: told for name, told in sorted(_described_variables(graph_def).items())},
        used=tuple(sorted(variables[node.name] for node in computing.node if node.name in variables)),
        part=part.said,
        uncut=part.uncut,
        operators=_operators(computing),
        problems=problems,
        advice=advice,
        proposed=proposed,
        scores=_are_scores(part),
        recipe=found.as_recipe("", scaling=True)
        if found
        else "\n".join(signature_lines(proposed, scaling=True))
        if proposed
        else "",
    )
    (outputs / "inspection.json").write_bytes(pretty(result))


def _first_graph(model: OpenedModel) -> GraphDef:
    """Return the graph of a model that says what it takes, with an open batch pinned to 1."""
    from mlkit_build.stages.binding import pinned_shape

    shapes = {spec.name: shape for spec in model.declared[0].inputs if (shape := pinned_shape(spec)) is not None}
    return model.graph(shapes).graph_def


def _proposed(declared: tuple[DeclaredSignature, ...], found: Candidates | None) -> DeclaredSignature | None:
    from mlkit_build.stages.binding import DEFAULT_KEY

    if found is None:
        return next((item for item in declared if item.key == DEFAULT_KEY), declared[0])
    if not found.inputs or not found.outputs:
        return None
    return DeclaredSignature("", (replace(found.inputs[0], name="input"),), (replace(found.outputs[0], name="output"),))


def _are_scores(part: _Part) -> bool:
    from mlkit_build.adapters import FrozenModel
    from mlkit_build.adapters.graph_view import GraphView
    from mlkit_build.adapters.scores import scores_node
    from mlkit_build.signature import FrozenSignature

    view = GraphView(FrozenModel(part.graph_def, FrozenSignature((), ())))
    if part.output is None or TensorName.parse(part.output).node not in view.nodes:
        return False
    return scores_node(view, part.output) is not None


def _computing(model: OpenedModel, found: Candidates | None, graph_def: GraphDef) -> _Part:
    """Return the graph of the likeliest signature; all of the graph where that cannot be cut out."""
    from mlkit_build.stages.binding import bind, pinned_shape
    from mlkit_build.stages.cutting import cut_graph
    from mlkit_build.stages.params import FreezeInput, FreezeParams

    inputs: dict[str, FreezeInput] = {}
    outputs: dict[str, str | None] = {}
    constants: dict[str, Any] = {}
    if found is not None:
        if not found.inputs or not found.outputs:
            return _Part(graph_def)
        inputs = {"input": FreezeInput(found.inputs[0].tensor, pinned_shape(found.inputs[0]))}
        outputs = {"output": found.outputs[0].tensor}
        constants = {spec.tensor: found.likely_value(spec) for spec in found.choices}
    try:
        from mlkit_build.recipe import FrozenGraph

        bound = bind(FreezeParams(FrozenGraph(path=""), inputs, outputs, constants), model)
        cut = cut_graph(model.graph(bound.shapes), bound.request)
    except MlkitBuildError as error:
        return _Part(graph_def, uncut=error.message, output=None if found else model.declared[0].outputs[0].tensor)
    starts = ", ".join(spec.tensor for spec in cut.inputs)
    ends = ", ".join(str(tensor) for tensor in cut.outputs.values())
    computing = canonical_form(cut.graph_def, cut.outputs.values())
    return _Part(computing, f"between {starts} and {ends}", output=str(next(iter(cut.outputs.values()))))


def _operators(graph_def: GraphDef) -> dict[str, int]:
    counted = Counter(node.op for node in graph_def.node)
    counted.update(node.op for function in graph_def.library.function for node in function.node_def)
    return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))


def _problems(graph_def: GraphDef) -> tuple[tuple[Problem, ...], str]:
    from mlkit_build.graphs.operators import unconvertible

    found = unconvertible(graph_def)
    problems = tuple(Problem(finding.operator, finding.nodes, finding.hint) for finding in found)
    return problems, found[0].cut if found else ""


def _variable_names(graph_def: GraphDef) -> dict[str, str]:
    """Return node -> the name that the variable's author knows it by, which the node of a captured variable has not."""
    from mlkit_build.graphs.surgery import VARIABLES

    nodes = [node for node in graph_def.node if node.op in VARIABLES]
    shared = {node.name: node.attr["shared_name"].s.decode(errors="replace") or node.name for node in nodes}
    counted = Counter(shared.values())
    return {name: label if counted[label] == 1 else name for name, label in shared.items()}


def _described_variables(graph_def: GraphDef) -> dict[str, str]:
    from tensorflow import as_dtype

    from mlkit_build.graphs.surgery import VARIABLES

    found = {}
    for node in graph_def.node:
        if node.op in VARIABLES:
            shape = [dim.size if dim.size >= 0 else "?" for dim in node.attr["shape"].shape.dim]
            found[node.name] = f"{shape} {as_dtype(node.attr['dtype'].type).name}".replace("'", "")
    return dict(sorted(found.items()))
