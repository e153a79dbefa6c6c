"""What the recipe calls inputs and outputs, bound to tensors: stated, declared by the model's author, or inferred from the graph
where only one tensor can be meant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from mlkit_build.errors import ConfigError, did_you_mean
from mlkit_build.graphs import DeclaredSignature, DeclaredTensor, OpenedModel
from mlkit_build.records import dataclass
from mlkit_build.stages.params import FreezeInput, FreezeParams

DEFAULT_KEY = "serving_default"


@dataclass(frozen=True)
class Bound:
    """A request in which every input and output has its tensor.

    Attributes:
        request: The request, complete.
        shapes: Declared input -> the static shape to trace the model with.
    """

    request: FreezeParams
    shapes: dict[str, tuple[int, ...]]


def bind(request: FreezeParams, model: OpenedModel) -> Bound:
    """Complete the request's signature.

    Raises:
        ConfigError: A name fits nothing, or more than one tensor could be meant; lists the candidates, to paste.
    """
    declared = _declared(model)
    missing = not request.inputs or not request.outputs
    unnamed = any(spec.tensor is None for spec in request.inputs.values()) or None in request.outputs.values()
    if declared is None and (missing or unnamed):
        declared = _inferred(model, request)
    if declared is None:
        _refuse_twice({name: spec.tensor or "" for name, spec in request.inputs.items()})
        return Bound(request, {})
    inputs = _inputs(request, declared)
    _refuse_twice({name: spec.tensor or "" for name, spec in inputs.items()})
    outputs = _outputs(request, declared)
    if not inputs:
        raise ConfigError(
            f"signature.inputs: {model.origin} declares none, so that the model would always answer the same",
            "name the tensor that the app feeds: `inputs: {image: {tensor: ..., shape: [...]}}`",
        )
    stated = {spec.tensor: spec.shape for spec in inputs.values()}
    pinned = {
        spec.name: shape for spec in declared.inputs if (shape := stated.get(spec.tensor) or pinned_shape(spec)) is not None
    }
    return Bound(replace(request, inputs=inputs, outputs=outputs), pinned)


def _declared(model: OpenedModel) -> DeclaredSignature | None:
    if len(model.declared) <= 1:
        return model.declared[0] if model.declared else None
    default = [signature for signature in model.declared if signature.key == DEFAULT_KEY]
    if default:
        return default[0]
    keys = ", ".join(signature.key for signature in model.declared)
    raise ConfigError(
        f"source.signature: missing, and {model.origin} has several: {keys}", f"add `signature: {model.declared[0].key}`"
    )


def _inferred(model: OpenedModel, request: FreezeParams) -> DeclaredSignature:
    from mlkit_build.graphs.candidates import candidates

    graph_def = model.graph({}).graph_def
    found = candidates(graph_def, describe=False)
    given = _given(request)
    found = replace(
        found,
        inputs=tuple(spec for spec in found.inputs if spec.tensor not in given),
        choices=tuple(spec for spec in found.choices if spec.tensor not in given),
    )
    signature = found.signature()
    if signature is not None:
        return signature
    if request.inputs and all(spec.tensor for spec in request.inputs.values()) and len(found.outputs) == 1:
        return DeclaredSignature("", (), found.outputs)
    if request.outputs and all(request.outputs.values()) and len(found.inputs) == 1 and not found.choices:
        return DeclaredSignature("", found.inputs, ())
    named = DeclaredSignature("", found.inputs, found.outputs)
    if request.inputs and request.outputs and _names_fit(request, named):
        return named
    found = replace(found, outputs=candidates(graph_def).outputs)
    placeholders = len(found.inputs) + len(found.choices)
    raise ConfigError(
        f"signature: missing, and {model.origin} does not say it: {placeholders} possible inputs, "
        f"{len(found.outputs)} possible outputs",
        f"choose among these, the likeliest first, and put them into the recipe:\n{found.as_recipe()}",
    )


def _names_fit(request: FreezeParams, signature: DeclaredSignature) -> bool:
    """Return whether each name without a tensor is that of a candidate."""
    inputs = {name for name, spec in request.inputs.items() if spec.tensor is None}
    outputs = {name for name, tensor in request.outputs.items() if tensor is None}
    return inputs <= {spec.name for spec in signature.inputs} and outputs <= {spec.name for spec in signature.outputs}


def _given(request: FreezeParams) -> set[str]:
    """Return the tensors that have a value for good, and so are no inputs."""
    return set(request.constants) | {f"{name}:0" for name in request.constants}


def _inputs(request: FreezeParams, declared: DeclaredSignature) -> dict[str, FreezeInput]:
    if not request.inputs:
        given = _given(request)
        return {spec.name: FreezeInput(spec.tensor, None) for spec in declared.inputs if spec.tensor not in given}
    stated = {name: spec.tensor for name, spec in request.inputs.items()}
    tensors = _bound("signature.inputs", stated, declared.inputs)
    return {name: replace(spec, tensor=tensors[name]) for name, spec in request.inputs.items()}


def _refuse_twice(inputs: Mapping[str, str]) -> None:
    """Refuse two inputs that stand for one tensor."""
    seen: dict[str, str] = {}
    for name, tensor in inputs.items():
        first = seen.setdefault(tensor.removesuffix(":0"), name)
        if first != name:
            raise ConfigError(f"signature.inputs.{name}: {tensor} is the input {first!r} already", "name each tensor once")


def _outputs(request: FreezeParams, declared: DeclaredSignature) -> dict[str, str | None]:
    if not request.outputs:
        return {spec.name: spec.tensor for spec in declared.outputs}
    return dict(_bound("signature.outputs", request.outputs, declared.outputs))


def _bound(where: str, stated: dict[str, str | None] | object, declared: Sequence[DeclaredTensor]) -> dict[str, str]:
    """Return name -> tensor: a stated tensor, else the declared one of that name, else the only one left."""
    assert isinstance(stated, dict)
    known = {spec.name: spec.tensor for spec in declared}
    tensors: dict[str, str] = {}
    for name, tensor in stated.items():
        if tensor is not None:
            tensors[name] = known.get(tensor, tensor)
        elif name in known:
            tensors[name] = known[name]
    unbound = [name for name in stated if name not in tensors]
    left = [spec for spec in declared if spec.tensor not in tensors.values()]
    if len(unbound) == 1 and len(left) == 1:
        tensors[unbound[0]] = left[0].tensor
    elif unbound:
        listed = ", ".join(f"{spec.name} ({spec.tensor} {_shown(spec)})" for spec in declared)
        raise ConfigError(
            f"{where}.{unbound[0]}: the model has no {where.rsplit('.', 1)[1][:-1]} of that name; it has {listed or 'none'}",
            did_you_mean(unbound[0], list(known)) or f'use its name, or state the tensor: `{unbound[0]}: {{tensor: "..."}}`',
        )
    return {name: tensors[name] for name in stated}


def _shown(spec: DeclaredTensor) -> str:
    shape = "of unknown shape" if spec.shape is None else str([size if size is not None else "?" for size in spec.shape])
    return f"{spec.dtype} {shape}".replace("'", "")


def pinned_shape(spec: DeclaredTensor) -> tuple[int, ...] | None:
    """Return the model's own shape of an input with an unknown batch of 1; None where more than the batch is unknown."""
    if spec.shape is None:
        return None
    sizes = tuple(1 if index == 0 and size is None else size for index, size in enumerate(spec.shape))
    return None if None in sizes else tuple(int(size) for size in sizes if size is not None)
