"""What an operator gives: its types and shapes, and its value where all that it reads is known. TensorFlow itself is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mlkit_build.graphs.loops.values import Known, Spec, Tensor

if TYPE_CHECKING:
    from tensorflow.core.framework.attr_value_pb2 import AttrValue
    from tensorflow.core.framework.graph_pb2 import GraphDef
    from tensorflow.core.framework.node_def_pb2 import NodeDef

SMALL = 4096
"""The most elements of a tensor that is computed here rather than left in the graph: shapes and masks, never weights."""

_NO_LARGER = frozenset(
    [
        "Abs",
        "Add",
        "AddN",
        "AddV2",
        "All",
        "Any",
        "ArgMax",
        "Cast",
        "Ceil",
        "Concat",
        "ConcatV2",
        "Div",
        "Equal",
        "ExpandDims",
        "FloorDiv",
        "FloorMod",
        "Floor",
        "Gather",
        "GatherV2",
        "Greater",
        "GreaterEqual",
        "Less",
        "LessEqual",
        "LogicalAnd",
        "LogicalNot",
        "LogicalOr",
        "Max",
        "Maximum",
        "Mean",
        "Min",
        "Minimum",
        "Mod",
        "Mul",
        "Neg",
        "NotEqual",
        "Pack",
        "Pow",
        "Prod",
        "RealDiv",
        "Reshape",
        "ReverseV2",
        "Rsqrt",
        "Select",
        "SelectV2",
        "Shape",
        "Sign",
        "Size",
        "Slice",
        "Split",
        "SplitV",
        "Sqrt",
        "Square",
        "Squeeze",
        "StridedSlice",
        "Sub",
        "Sum",
        "Transpose",
        "TruncateDiv",
        "TruncateMod",
        "Unpack",
    ]
)
"""Operators whose result is not larger than what they read, or only by broadcasting small tensors against each other."""


@dataclass(frozen=True, eq=False)
class Operation:
    """An operator with its attributes: a node without its name and inputs.

    Attributes:
        key: Equal for operators that compute the same from the same.
    """

    op: str
    attributes: Mapping[str, AttrValue]
    key: tuple[str, bytes] = field(init=False)

    def __post_init__(self) -> None:
        """Compute the key once: thousands of nodes are made from one operation."""
        parts = [
            name.encode() + b"=" + value.SerializeToString(deterministic=True)
            for name, value in sorted(self.attributes.items())
            if not name.startswith("_")
        ]
        object.__setattr__(self, "key", (self.op, b"\0".join(parts)))

    @classmethod
    def of(cls, node: NodeDef) -> Operation:
        """Return the operation of a node of the source graph."""
        return cls(node.op, {name: value for name, value in node.attr.items() if name not in ("_output_shapes", "_class")})

    @classmethod
    def new(cls, op: str, **attributes: Any) -> Operation:
        """Return an operation with attributes as Python values; a number is a type where the name is `T...` or `...type`."""
        return cls(op, {name: _attribute(name, value) for name, value in attributes.items()})

    @property
    def stateful(self) -> bool:
        """Whether two equal calls may differ, or leave something behind. An operator that TensorFlow does not know is."""
        definition = _definition(self.op)
        return definition is None or bool(definition.is_stateful)


class Operators:
    """Answers for one graph, remembering each question: a loop's steps mostly repeat themselves."""

    def __init__(self, graph_def: GraphDef) -> None:
        """Prepare to answer under the versions and with the functions of `graph_def`."""
        import tensorflow as tf
        from tensorflow.core.framework.graph_pb2 import GraphDef

        self._graph = tf.Graph()
        self._specs: dict[tuple[Any, ...], tuple[Spec, ...] | str] = {}
        self._values: dict[tuple[Any, ...], tuple[Known, ...] | None] = {}
        self._tensors: dict[Any, Any] = {}
        with self._graph.as_default():
            tf.graph_util.import_graph_def(GraphDef(versions=graph_def.versions, library=graph_def.library), name="")

    def specs(self, operation: Operation, inputs: Sequence[Tensor]) -> tuple[Spec, ...]:
        """Return the types and shapes of the results.

        Raises:
            ValueError: TensorFlow refuses the operator on these inputs.
        """
        key = (operation.key, *(item.key if isinstance(item, Known) else item.spec for item in inputs))
        found = self._specs.get(key)
        if found is None:
            found = self._specs[key] = self._infer(operation, inputs)
        if isinstance(found, str):
            raise ValueError(found)
        return found

    def _infer(self, operation: Operation, inputs: Sequence[Tensor]) -> tuple[Spec, ...] | str:
        import tensorflow as tf

        with self._graph.as_default():
            tensors = [self._tensor(item) for item in inputs]
            try:
                made = self._graph.create_op(operation.op, tensors, attrs=dict(operation.attributes), compute_device=False)
            except (ValueError, TypeError, RuntimeError, tf.errors.OpError) as error:
                return str(error).splitlines()[0]
        return tuple(Spec(output.dtype.as_datatype_enum, _shape(output)) for output in made.outputs)

    def _tensor(self, item: Tensor) -> Any:
        import tensorflow as tf

        key = item.key if isinstance(item, Known) else item.spec
        if key not in self._tensors:
            dtype = tf.as_dtype(item.spec.dtype)
            if isinstance(item, Known):
                self._tensors[key] = tf.constant(item.array, dtype)
            else:
                # Not as the placeholder's attribute: up to producer version 21 an empty shape there stands for an unknown one.
                self._tensors[key] = tf.compat.v1.placeholder(dtype)
                self._tensors[key].set_shape(item.spec.shape)
        return self._tensors[key]

    def values(self, operation: Operation, inputs: Sequence[Known], name: str) -> tuple[Known, ...] | None:
        """Return the results, or None where they are too large, not a function of the inputs, or an error."""
        key = (operation.key, *(item.key for item in inputs))
        if key not in self._values:
            self._values[key] = self._compute(operation, inputs, name) if self._foldable(operation, inputs) else None
        return self._values[key]

    def _foldable(self, operation: Operation, inputs: Sequence[Known]) -> bool:
        if operation.stateful:
            return False
        if operation.op in _NO_LARGER:
            return True
        try:
            specs = self.specs(operation, inputs)
        except ValueError:
            return False
        return all(spec.shape is not None and None not in spec.shape and _elements(spec) <= SMALL for spec in specs)

    def _compute(self, operation: Operation, inputs: Sequence[Known], name: str) -> tuple[Known, ...] | None:
        import tensorflow as tf
        from tensorflow.python.eager import context, execute

        try:
            with context.eager_mode(), tf.device("CPU:0"):
                given = [tf.constant(item.array, tf.as_dtype(item.spec.dtype)) for item in inputs]
                attributes = _attributes(operation)
                count = len(output_names(operation))
                results = execute.quick_execute(operation.op, count, given, attributes, context.context())
                arrays = [np.asarray(result.numpy()) for result in results]
        except (ValueError, TypeError, RuntimeError, NotImplementedError, tf.errors.OpError):
            return None
        if any(array.dtype.kind not in "biufV" or array.size > SMALL for array in arrays):
            return None
        return tuple(
            Known(array, result.dtype.as_datatype_enum, name if index == 0 else f"{name}/output_{index}")
            for index, (array, result) in enumerate(zip(arrays, results, strict=True))
        )


def known_constant(node: NodeDef) -> Known | None:
    """Return the value of a small numeric constant, or None for any other node."""
    from tensorflow import make_ndarray

    if node.op != "Const":
        return None
    proto = node.attr["value"].tensor
    if int(np.prod([dim.size for dim in proto.tensor_shape.dim], dtype=np.int64)) > SMALL:
        return None
    array = np.asarray(make_ndarray(proto))
    return Known(array, proto.dtype, node.name) if array.dtype.kind in "biuf" else None


def _elements(spec: Spec) -> int:
    return int(np.prod([size or 0 for size in spec.shape or ()], dtype=np.int64))


def _shape(tensor: Any) -> tuple[int | None, ...] | None:
    return None if tensor.shape.rank is None else tuple(tensor.shape.as_list())


def _definition(op: str) -> Any:
    from tensorflow.python.framework import op_def_registry

    return op_def_registry.get(op)


def output_names(operation: Operation) -> list[tuple[str, int]]:
    """Return, for each result in order, the name of the output argument and the position in it: how functions name tensors."""
    names = []
    for argument in _definition(operation.op).output_arg:
        count = 1
        if argument.number_attr:
            count = operation.attributes[argument.number_attr].i
        elif argument.type_list_attr:
            count = len(operation.attributes[argument.type_list_attr].list.type)
        names += [(argument.name, index) for index in range(count)]
    return names


def _attributes(operation: Operation) -> tuple[Any, ...]:
    """Return the attributes as TensorFlow's eager runtime takes them: names and values in turn."""
    found: list[Any] = []
    for attribute in _definition(operation.op).attr:
        if attribute.name in operation.attributes:
            found += [attribute.name, _python_value(operation.attributes[attribute.name])]
    return tuple(found)


def _python_value(value: AttrValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "list":
        listed = value.list
        return next((list(items) for name in ("s", "i", "f", "b", "type") if (items := getattr(listed, name))), [])
    if kind == "shape":
        return None if value.shape.unknown_rank else [dim.size for dim in value.shape.dim]
    return getattr(value, kind) if kind else None


def _attribute(name: str, value: Any) -> AttrValue:
    from tensorflow.core.framework.attr_value_pb2 import AttrValue

    if isinstance(value, AttrValue):
        return value
    if isinstance(value, bool):
        return AttrValue(b=value)
    if isinstance(value, int):
        return AttrValue(type=value) if name[0] == "T" or name.endswith("type") else AttrValue(i=value)
    if isinstance(value, list):
        return AttrValue(list=AttrValue.ListValue(type=value))
    raise TypeError(f"{name}: {value!r}")
