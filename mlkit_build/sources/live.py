"""Models that live in this process: a Keras model, a `tf.function`, a `tf.Module`, or a TensorFlow 1 session with its tensors.

A file that Keras saved and a recipe's Python function end here too. A model is traced with the shapes that the signature pins;
a session's graph is copied and its variables are read. Neither is changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlkit_build.errors import SourceError, words_of
from mlkit_build.graphs import DeclaredTensor, OpenedModel
from mlkit_build.sources.session import open_session
from mlkit_build.sources.traced import declared_outputs, node_name, traced

if TYPE_CHECKING:
    pass

FORMS = (
    "a Keras model, a tf.function with its input_signature, a concrete function, a tf.Module with one of these, or "
    "(session, inputs, outputs) of TensorFlow 1"
)
_TRACING = (
    "an object whose method or variables it needs must live on: return that object, a tf.Module; shapes come from "
    "`input_signature=[tf.TensorSpec(shape, dtype, name=...)]`"
)


def open_live(model: Any, origin: str, where: str) -> OpenedModel:
    """Open whatever a person would call a model.

    Args:
        model: One of FORMS; a function may also come as `(function, [tf.TensorSpec, ...])`.
        origin: What to name in messages.
        where: The field that brought it.

    Raises:
        SourceError: It is none of these, or it cannot be traced.
    """
    if isinstance(model, tuple) and len(model) == 3 and hasattr(model[0], "run") and hasattr(model[0], "graph"):
        return open_session(model[0], model[1], model[2], origin, where)
    if _is_keras(model):
        return open_keras(model, origin, where)
    specs = None
    if isinstance(model, tuple) and len(model) == 2 and callable(model[0]):
        model, specs = model
    function = _function(model)
    if function is None:
        several = _functions_of(model)
        hint = f"it has {', '.join(several)}: name one `__call__`, or set `signatures`" if several else "give the model itself"
        raise SourceError(f"{where}: expected {FORMS}, found {_described(model)}", hint)
    return _open_function(function, model, specs, origin, where)


def open_keras(model: Any, origin: str, where: str) -> OpenedModel:
    """Open a Keras model of either generation.

    Raises:
        SourceError: It was never built, so that nobody knows its inputs.
    """
    import tensorflow as tf

    tensors = list(getattr(model, "inputs", None) or [])
    if not tensors:
        return _open_subclassed(model, origin, where)
    names = _unique([_input_name(model, index, tensor) for index, tensor in enumerate(tensors)])
    inputs = tuple(
        DeclaredTensor(name, f"{node_name(name)}:0", tuple(tensor.shape), tf.as_dtype(tensor.dtype).name)
        for name, tensor in zip(names, tensors, strict=True)
    )
    nested = getattr(model, "_inputs_struct", None)

    def call(*values: Any) -> Any:
        packed = (
            tf.nest.pack_sequence_as(nested, values) if nested is not None else values[0] if len(values) == 1 else list(values)
        )
        return model(packed, training=False)

    def trace(specs: list[Any]) -> Any:
        return tf.function(call, autograph=False).get_concrete_function(*specs)

    outputs = declared_outputs(_keras_output_names(model), model.outputs)
    return traced(trace, inputs, outputs, list(model.weights), origin, where)


def _open_subclassed(model: Any, origin: str, where: str) -> OpenedModel:
    """Open a Keras model whose layers are called by code of its own: it knows its inputs only from having been called."""
    import tensorflow as tf

    shapes = (model.get_build_config() or {}).get("input_shape")
    if shapes is None:
        raise SourceError(
            f"{where}: {origin}: the Keras model {model.name!r} has no inputs yet",
            "call `model.build(input_shape)` or call it once on a batch before it is returned or saved",
        )
    dtype = getattr(model, "input_dtype", None) or model.compute_dtype

    def spec(name: str, shape: Any) -> Any:
        return tf.TensorSpec([None, *list(shape)[1:]], dtype, name=name)

    if isinstance(shapes, Mapping):
        specs: Any = {key: spec(str(key), shape) for key, shape in shapes.items()}
    elif shapes and all(isinstance(shape, (list, tuple, tf.TensorShape)) for shape in shapes):
        specs = [spec(f"input_{index}", shape) for index, shape in enumerate(shapes)]
    else:
        specs = spec("input", shapes)

    def call(values: Any) -> Any:
        return model(values, training=False)

    return _open_function(tf.function(call, autograph=False), model, [specs], origin, where)


def _open_function(function: Any, owner: Any, specs: Any, origin: str, where: str) -> OpenedModel:
    """Open a tf.function or a concrete function.

    Args:
        owner: The object that it is a method of, which the function itself does not keep alive.
    """
    import tensorflow as tf

    if hasattr(function, "get_concrete_function"):
        if specs is None and function.input_signature is None:
            raise SourceError(
                f"{where}: {origin}: the tf.function has no input signature, so that nobody knows what it takes",
                "write `@tf.function(input_signature=[tf.TensorSpec(shape, dtype, name=...)])`",
            )
        try:
            concrete = function.get_concrete_function(*(specs or ()))
        except Exception as error:  # whatever the author's code raises
            raise SourceError(f"{where}: {origin}: the function cannot be traced: {words_of(error)}", _TRACING) from error
    else:
        concrete = function
    try:
        variables = list(concrete.graph.variables)
    except AssertionError as error:  # TensorFlow holds them by weak references
        raise SourceError(f"{where}: {origin}: variables of the function were deleted", _TRACING) from error
    arguments, keywords = concrete.structured_input_signature
    flat = [spec for spec in tf.nest.flatten((arguments, keywords)) if isinstance(spec, tf.TensorSpec)]
    names = _unique([spec.name or f"input_{index}" for index, spec in enumerate(flat)])
    inputs = tuple(
        DeclaredTensor(
            name, f"{node_name(name)}:0", None if spec.shape.rank is None else tuple(spec.shape.as_list()), spec.dtype.name
        )
        for name, spec in zip(names, flat, strict=True)
    )

    def trace(specs: list[Any], alive: Any = owner) -> Any:
        def filled(values: Iterable[Any]) -> Any:
            waiting = iter(values)
            return tf.nest.map_structure(
                lambda item: next(waiting) if isinstance(item, tf.TensorSpec) else item, (arguments, keywords)
            )

        if hasattr(function, "python_function"):
            given, named = filled(specs)
            again = tf.function(function.python_function, autograph=getattr(function, "_autograph", True))
            return again.get_concrete_function(*given, **named)

        def call(*values: Any) -> Any:
            given, named = filled(values)
            return function(*given, **named)

        return tf.function(call, autograph=False).get_concrete_function(*specs)

    names = _output_names(concrete.structured_outputs)
    if not names:
        raise SourceError(f"{where}: {origin}: the function returns nothing", "return a tensor, or a mapping of tensors")
    results = [tensor for tensor in tf.nest.flatten(concrete.structured_outputs) if tensor is not None]
    return traced(trace, inputs, declared_outputs(names, results), variables, origin, where, known=concrete)


def _is_keras(model: Any) -> bool:
    return any(cls.__module__.startswith(("keras.", "tf_keras.")) and cls.__name__ == "Model" for cls in type(model).__mro__)


def _function(model: Any) -> Any:
    """Return the one traced function that the object stands for, or None."""
    if _is_function(model):
        return model
    signatures = getattr(model, "signatures", None)
    if isinstance(signatures, Mapping) and signatures:
        return signatures.get("serving_default", next(iter(signatures.values())))
    names = _functions_of(model)
    chosen = "__call__" if "__call__" in names else names[0] if len(names) == 1 else None
    return None if chosen is None else getattr(model, chosen)


def _functions_of(model: Any) -> list[str]:
    """Return the names of a module's traced functions: methods of its class, and attributes of its own."""
    import tensorflow as tf

    if not isinstance(model, tf.Module):
        return []
    methods = [name for name in dir(type(model)) if _is_function(getattr(type(model), name, None))]
    return methods + [name for name, item in vars(model).items() if _is_function(item) and name not in methods]


def _is_function(item: Any) -> bool:
    return hasattr(item, "get_concrete_function") or hasattr(item, "structured_input_signature")


def _described(model: Any) -> str:
    if model is None:
        return "None"
    if isinstance(model, tuple):
        return f"a tuple of {', '.join(type(item).__name__ for item in model)}"
    return f"{type(model).__module__}.{type(model).__qualname__}"


def _input_name(model: Any, index: int, tensor: Any) -> str:
    names = getattr(model, "input_names", None)
    return str(names[index]) if names and index < len(names) else str(tensor.name).split(":")[0] or f"input_{index}"


def _keras_output_names(model: Any) -> list[str]:
    struct = getattr(model, "_outputs_struct", None)
    if isinstance(struct, Mapping):
        return _unique(_output_names(struct))
    names = list(getattr(model, "output_names", None) or getattr(getattr(model, "_functional", None), "output_names", None) or [])
    count = len(model.outputs)
    return _unique([str(name) for name in names] if len(names) == count else [f"output_{index}" for index in range(count)])


def _output_names(structure: Any) -> list[str]:
    """Return a name for each result: its key in a mapping, else `output`, or `output_0`, `output_1`, ..."""
    import tensorflow as tf

    if isinstance(structure, Mapping):
        return _unique([str(key) for key in sorted(structure) for item in tf.nest.flatten(structure[key]) if item is not None])
    count = sum(item is not None for item in tf.nest.flatten(structure))
    return ["output"] if count == 1 else [f"output_{index}" for index in range(count)]


def _unique(names: Sequence[str]) -> list[str]:
    seen: dict[str, int] = {}
    found = []
    for name in names:
        count = seen.get(name, 0)
        seen[name] = count + 1
        found.append(f"{name}_{count}" if count else name)
    return found
