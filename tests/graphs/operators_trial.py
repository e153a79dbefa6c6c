"""Finds out what TensorFlow's converter makes of an operator: builds graphs of that one operator and converts them.

`python -m tests.graphs.operators_trial` tries every operator that can occur at inference and prints the sets of
`mlkit_build/graphs/operators_table.py`. Run it again for a new TensorFlow; it takes about a quarter of an hour.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import sys
import tempfile
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.graphs.operators_seeds import (
    ATTRIBUTES,
    FIVE_D,
    FLOAT_SHAPES,
    IN_COMPANY,
    INTEGERS,
    NOT_TRIED,
    PREFERRED_TYPES,
    SEEDS,
    written,
)

BUILTIN, SELECT, CUSTOM, UNKNOWN = "builtin", "select", "custom", "unknown"
"""Converts in at least one trial; never does, but TensorFlow's own kernel can be linked in; not even that; nothing is known."""

HANDLES = {
    "TensorArray": ("TensorArrayV3", {"size": 3, "dtype": "float32"}),
    "Queue": ("FIFOQueueV2", {"component_types": ["float32"]}),
    "Stack": ("StackV2", {"max_size": 3, "elem_type": "float32"}),
}
"""By the first words of an operator that takes a resource: the operator that makes one, with its arguments."""

ATTEMPTS = 400
"""Argument lists tried per choice of types until TensorFlow itself accepts and runs some."""
MOST = 1200
"""Argument lists tried per operator."""
VALID = 2
"""Accepted argument lists kept per choice of types."""
PER_TYPES = 12
"""Conversions per choice of types."""
TYPES = 4
"""Choices of types for which an operator is converted."""


@cache
def operators() -> dict[str, Any]:
    """Return every operator that TensorFlow knows by name, with its OpDef."""
    from tensorflow.core.framework.op_def_pb2 import OpList
    from tensorflow.python.client import pywrap_tf_session as session

    listed = OpList.FromString(session.TF_GetBuffer(session.TF_GetAllOpList()))
    return {operator.name: operator for operator in listed.op}


def verdict(name: str, most: int | None = None) -> tuple[str, str]:
    """Return what becomes of the operator, and an example or a reason.

    Args:
        most: How many conversions to try; all trials by default.
    """
    found: set[str] = set()
    reasons: list[str] = []
    tried = 0
    for graph, inputs, outputs, label in itertools.islice(trials(operators()[name]), most):
        what, text = convert_one(graph, inputs, outputs, name)
        if what == BUILTIN:
            return BUILTIN, label
        if "Unsupported TensorFlow type" in text:
            continue  # about the type of the model's inputs, not about the operator
        tried += 1
        found.add(what)
        reasons.append(f"{label}: {text}")
    if not tried or IN_COMPANY.fullmatch(name):
        return UNKNOWN, "depends on its neighbours" if tried else "no valid trial"
    if UNKNOWN in found or len(found) != 1:
        return UNKNOWN, next((reason for reason in reasons if "flex" not in reason), reasons[0])
    return found.pop(), f"{tried} trials, e.g. {reasons[0]}"


def convert_one(graph: Any, inputs: Sequence[str], outputs: Sequence[str], name: str) -> tuple[str, str]:
    """Convert a graph with built-in operators only; return BUILTIN, or what the converter says the operator needs."""
    import tensorflow as tf
    from tensorflow.lite.python.convert import ConverterError

    wrapped = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph, name=""), [])
    tensor = wrapped.graph.get_tensor_by_name
    try:
        function = wrapped.prune([tensor(item) for item in inputs], [tensor(item) for item in outputs])
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        converter.convert()
    except ConverterError as error:
        for data in error.errors:
            if data.operator.name == f"tf.{name}" and data.error_code in (1, 2):
                return (SELECT if data.error_code == 1 else CUSTOM), str(error).splitlines()[0][-200:]
        return UNKNOWN, str(error)[:300]
    except Exception as error:
        return UNKNOWN, f"{type(error).__name__} {error}"[:300]
    return BUILTIN, ""


def trials(operator: Any) -> Iterator[tuple[Any, list[str], list[str], str]]:
    """Yield (graph, inputs, outputs, label) of calls that TensorFlow runs: all data given, or only the first one."""
    if operator.name in written():
        yield _written(operator.name)
        return
    seen: set[bytes] = set()
    counts: Counter[str] = Counter()
    for types, arguments, extra in _calls(operator):
        for variable in _variable_choices(arguments):
            built = _build(operator, types, arguments, extra, variable)
            if built is None:
                continue
            graph, inputs, outputs = built
            text = graph.SerializeToString(deterministic=True)
            if text not in seen:
                seen.add(text)
                shown = ", ".join(f"{array.dtype}{list(array.shape)}" for array in arguments)
                for wanted in (outputs, outputs[:1])[: len(outputs)]:
                    counts[str(types)] += 1
                    if counts[str(types)] > PER_TYPES or len(counts) > TYPES:
                        continue
                    yield graph, inputs, wanted, f"{types} {extra or ''} {shown}; fed {list(variable)}; {len(wanted)} outputs"


def _written(name: str) -> tuple[Any, list[str], list[str], str]:
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        tf.identity(written()[name](tf.compat.v1), name="output")
        fed = [item.outputs[0].name for item in graph.get_operations() if item.type == "Placeholder"]
        return graph.as_graph_def(), fed, ["output:0"], "written"


def _variable_choices(arguments: Sequence[NDArray[Any]]) -> list[tuple[int, ...]]:
    """Which arguments are fed: all of them, the first, those of floating point, and every one but the last."""
    every = tuple(range(len(arguments)))
    floats = tuple(index for index in every if arguments[index].dtype.kind in "fc")
    return list(dict.fromkeys([every[:1], floats or every, every, every[:-1] or every]))


def _calls(operator: Any) -> Iterator[tuple[dict[str, str], list[NDArray[Any]], dict[str, Any]]]:
    """Yield types, arguments and attributes with which TensorFlow runs the operator; of those that it only builds, one."""
    chance = random.Random(operator.name)
    builds = found_types = 0
    for types in _type_choices(operator):
        for extra in ({}, FIVE_D) if "3D" in operator.name else ({},):
            pools = []
            for argument in operator.input_arg:
                dtype = _argument_type(argument, types)
                if dtype == "variant" or argument.is_ref or (dtype == "resource" and _handle(operator.name) is None):
                    return
                pools.append([np.array(0)] if dtype == "resource" else _values(dtype))
            total = int(np.prod([len(pool) for pool in pools])) if pools else 1
            if total <= ATTEMPTS:
                lists = [list(item) for item in itertools.product(*pools)]
                chance.shuffle(lists)
            else:
                lists = [[chance.choice(pool) for pool in pools] for _ in range(ATTEMPTS)]
            lists = [*_seeded(operator, types), *lists]
            valid, only_built = 0, []
            for arguments in lists if builds < MOST else ():
                builds += 1
                built = _build(operator, types, arguments, extra, tuple(range(len(arguments))))
                if built is None:
                    continue
                if not _runs(*built, arguments):
                    only_built.append(arguments)
                    if len(only_built) > 40 and not valid:
                        break
                    continue
                yield types, arguments, extra
                for other in _other_settings(operator) if not valid else ():
                    if _build(operator, types, arguments, {**extra, **other}, ()) is not None:
                        yield types, arguments, {**extra, **other}
                valid += 1
                if valid == VALID:
                    break
            if not valid:
                for arguments in only_built[:2]:
                    yield types, arguments, extra
            found_types += bool(valid or only_built)
        if found_types >= TYPES:
            return


def _seeded(operator: Any, types: dict[str, str]) -> Iterator[list[NDArray[Any]]]:
    import tensorflow as tf

    rng = np.random.default_rng(5)
    for seed in [arguments for pattern, arguments in SEEDS if re.fullmatch(pattern, operator.name)]:
        arrays = []
        for argument, value in zip(operator.input_arg, seed, strict=False):
            kind = tf.as_dtype(_argument_type(argument, types))
            values = rng.uniform(0.1, 0.9, value) if isinstance(value, tuple) else np.array(value)
            text = values.dtype.kind in "SO"
            if (kind.is_floating or kind.is_complex) != (values.dtype.kind == "f") or (kind == tf.string) != text:
                break
            arrays.append(values if kind == tf.string else values.astype(kind.as_numpy_dtype))
        if len(arrays) == len(operator.input_arg):
            yield arrays


def _other_settings(operator: Any) -> Iterator[dict[str, Any]]:
    """Yield one changed attribute at a time: each flag the other way round, each text among those allowed."""
    for item in operator.attr:
        if item.type == "bool" and item.HasField("default_value"):
            yield {item.name: not item.default_value.b}
        if item.type == "string":
            for value in item.allowed_values.list.s:
                yield {item.name: value}


def _type_choices(operator: Any) -> Iterator[dict[str, str]]:
    """Yield choices of types: all type attributes alike where they may be, and the defaults of the others."""
    import tensorflow as tf

    attributes = [item for item in operator.attr if item.type == "type"]
    seen = []
    for preferred in PREFERRED_TYPES:
        choice = {}
        for item in attributes:
            allowed = [tf.as_dtype(number).name for number in item.allowed_values.list.type]
            if not allowed:
                allowed = [name for name in PREFERRED_TYPES if name != "resource"]
            if item.HasField("default_value") and preferred not in ("float32", "int32"):
                choice[item.name] = tf.as_dtype(item.default_value.type).name
            elif preferred in allowed:
                choice[item.name] = preferred
            else:
                choice[item.name] = next((name for name in PREFERRED_TYPES if name in allowed), allowed[0])
        if choice not in seen:
            seen.append(choice)
            yield choice
        defaults = {item.name: tf.as_dtype(item.default_value.type).name for item in attributes if item.HasField("default_value")}
        if {**choice, **defaults} not in seen:
            seen.append({**choice, **defaults})
            yield seen[-1]


def _argument_type(argument: Any, types: dict[str, str]) -> str:
    import tensorflow as tf

    if argument.type_attr:
        return types[argument.type_attr]
    return "float32" if argument.type_list_attr else str(tf.as_dtype(argument.type).name)


def _values(dtype: str) -> list[NDArray[Any]]:
    import tensorflow as tf

    if dtype == "string":
        return [np.array(b"a b"), np.array([b"a", b"b c"]), np.array(b""), np.array([b"x"]), np.array([], object)]
    rng = np.random.default_rng(3)
    kind = tf.as_dtype(dtype)
    if kind.is_bool:
        return [np.ones(shape, np.bool_) for shape in ((), (4,), (4, 4), (1, 8, 8, 4))]
    if kind.is_floating or kind.is_complex:
        values = [rng.uniform(0.1, 0.9, shape).astype(kind.as_numpy_dtype) for shape in FLOAT_SHAPES]
        return [*values, np.array(1.0, kind.as_numpy_dtype), np.array(0.0, kind.as_numpy_dtype)]
    try:
        plain = np.dtype({"qint8": "int8", "quint8": "uint8", "qint32": "int32"}.get(dtype, dtype))
    except TypeError:
        return []
    values = [np.array(value, plain) for value in INTEGERS]
    return [*values, *(np.ones(shape, plain) for shape in FLOAT_SHAPES[:6]), np.array(-1).astype(plain)]


def _build(
    operator: Any, types: dict[str, str], arguments: Sequence[NDArray[Any]], extra: dict[str, Any], variable: Sequence[int]
) -> tuple[Any, list[str], list[str]] | None:
    """Return a graph of one operator with its inputs and outputs, or None where shape inference refuses the arguments."""
    import tensorflow as tf
    from tensorflow.python.framework import op_def_library

    tf1 = tf.compat.v1
    with tf.Graph().as_default() as graph:
        inputs: list[Any] = []
        given: dict[str, Any] = {}
        for index, (argument, array) in enumerate(zip(operator.input_arg, arguments, strict=True)):
            dtype = tf.as_dtype(_argument_type(argument, types))

            def one(array: NDArray[Any] = array, dtype: Any = dtype, index: int = index) -> Any:
                if dtype == tf.resource:
                    maker, settings = HANDLES[str(_handle(operator.name))]
                    defaults = {item.name: None for item in operators()[maker].attr if item.HasField("default_value")}
                    made = op_def_library.apply_op(maker, **defaults, **settings)
                    return made if isinstance(made, tf.Tensor) else made[0]
                if index not in variable:
                    return tf.constant(array, None if dtype.is_quantized else dtype)
                inputs.append(tf1.placeholder(dtype, array.shape, name=f"input{len(inputs)}"))
                return inputs[-1]

            given[argument.name] = [one(), one()] if argument.number_attr or argument.type_list_attr else one()
        for item in operator.attr:
            if item.type == "type" and any(item.name == argument.type_attr for argument in operator.input_arg):
                continue
            if item.type == "type":
                given[item.name] = tf.as_dtype(types[item.name])
            elif item.name == "is_training":
                given[item.name] = extra.get(item.name, False)
            elif item.name in extra:
                given[item.name] = extra[item.name]
            elif not item.HasField("default_value") and item.name in ATTRIBUTES and not _inferred(operator, item.name):
                given[item.name] = [tf.float32, tf.float32] if item.type == "list(type)" else ATTRIBUTES[item.name]
            elif item.HasField("default_value"):
                given[item.name] = None
        with suppress(Exception):
            results = op_def_library.apply_op(operator.name, **given)
            flat = [results] if isinstance(results, tf.Tensor) else list(tf.nest.flatten(results))
            flat = [item for item in flat if isinstance(item, tf.Tensor) and item.dtype not in (tf.resource, tf.variant)]
            if not flat:
                return None
            if any(item.dtype._is_ref_dtype for item in flat):
                return None
            if not inputs:
                inputs.append(tf1.placeholder(tf.float32, [1], name="input0"))
                flat.append(inputs[0] + 1.0)
            outputs = [tf.identity(item, name=f"output{index}") for index, item in enumerate(flat)]
            return graph.as_graph_def(), [item.name for item in inputs], [item.name for item in outputs]
    return None


def _handle(name: str) -> str | None:
    return next((prefix for prefix in HANDLES if name.startswith(prefix)), None)


def _inferred(operator: Any, attribute: str) -> bool:
    return any(attribute in (item.number_attr, item.type_list_attr) for item in operator.input_arg)


def _runs(graph: Any, inputs: Sequence[str], outputs: Sequence[str], arguments: Sequence[NDArray[Any]]) -> bool:
    import tensorflow as tf

    with tf.Graph().as_default() as target, tf.compat.v1.Session(graph=target) as session:
        tf.graph_util.import_graph_def(graph, name="")
        feed = {}
        for item in inputs:
            tensor = target.get_tensor_by_name(item)
            shaped = [array for array in arguments if list(array.shape) == tensor.shape.as_list()]
            typed = [array for array in shaped if array.dtype == tensor.dtype.as_numpy_dtype or array.dtype.kind in "SO"]
            feed[tensor] = (typed or shaped or [np.zeros(tensor.shape, np.float32)])[0]
        try:
            session.run(list(outputs), feed)
        except Exception:
            return False
    return True


def survey(names: Sequence[str], seconds: int = 60) -> dict[str, tuple[str, str]]:
    """Return the verdict on each operator. Each is tried in a child process: a native abort ends that trial alone."""
    found = {}
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "verdict.json")
            child = os.fork()
            if child == 0:
                import signal

                signal.alarm(seconds)
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, 1)
                os.dup2(null, 2)
                try:
                    outcome = verdict(name)
                except BaseException as error:
                    outcome = UNKNOWN, f"{type(error).__name__}: {error}"
                file.write_text(json.dumps(outcome))
                os._exit(0)
            _, status = os.waitpid(child, 0)
            what, why = json.loads(file.read_text()) if file.exists() else (UNKNOWN, f"child ended with status {status}")
            found[name] = (what, why)
    return found


def table(found: Mapping[str, tuple[str, str]]) -> str:
    """Return the three sets as source text."""
    lines = []
    for name in (BUILTIN, SELECT, CUSTOM):
        names = " ".join(sorted(operator for operator, (what, _) in found.items() if what == name))
        lines.append(
            f'{name.upper()} = frozenset(\n    """\n{textwrap.indent(textwrap.fill(names, 120), "    ")}\n    """.split()\n)'
        )
    return "\n\n".join(lines)


def main() -> None:
    """Try every operator worth trying, or those named, with a line for each on standard error; print the sets."""
    names = sys.argv[1:] or sorted(name for name in operators() if not NOT_TRIED.search(name) or name in written())
    found = {}
    for name in names:
        found.update(survey([name]))
        print(json.dumps([name, *found[name]]), file=sys.stderr, flush=True)
    print(table(found))


if __name__ == "__main__":
    main()
