"""What TensorFlow's converter says when it fails, read as findings: operators, their nodes, and what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mlkit_build.graphs.operators import Finding, Place, describe, findings
from mlkit_build.graphs.operators_table import BUILTIN

if TYPE_CHECKING:
    from tensorflow.core.framework.graph_pb2 import GraphDef

_NEEDS_FLEX, _NEEDS_CUSTOM = 1, 2
"""`converter_error_data.proto`, ErrorCode."""
_SIGNATURE = re.compile(r" : (\(.*\) -> .*)$", re.MULTILINE)
_FLOAT_TYPES = {"f16": "float16", "bf16": "bfloat16", "f64": "float64"}
_FLOAT_TYPE = re.compile(rf"[<x]({'|'.join(_FLOAT_TYPES)})>")
_IN_FLOAT32 = (
    'export it in float32: a Keras model with the policy "float32" instead of mixed_float16 and its like, which has the same '
    "weights (`clone_model(model, clone_function=lambda layer: type(layer).from_config({**layer.get_config(), 'dtype': "
    "'float32'}))`, then `set_weights(model.get_weights())`); any other with tf.cast(..., tf.float32) on its inputs and weights"
)
_OPERATOR = re.compile(r"'?tf\.([A-Z]\w*)'?")
"""Operators in the converter's messages; MLIR's own attributes, such as `tf.entry_function`, begin with a small letter."""
_LITERT_OPERATOR = re.compile(r"supported for op: '(\w+)'")

KNOWN = (
    (
        "requires element_shape to be",
        "a loop keeps a list whose elements have no static shape",
        "give every input a static shape, batch 1 included, with signature.inputs.<name>.shape",
    ),
    (
        "requires max_num_elements to be",
        "a loop grows a list whose length is not known beforehand",
        "give the list its length: tf.TensorArray(..., size=steps), without dynamic_size",
    ),
    (
        "Failed to functionalize Control Flow V1",
        "a loop or condition of TensorFlow 1 cannot be rewritten as a function",
        "export the graph again after tf.compat.v1.enable_control_flow_v2(), or cut it before the loop",
    ),
    (
        "Lowering tensor list ops is failed",
        "a loop keeps a list in a way that LiteRT cannot",
        "give every input a static shape with signature.inputs.<name>.shape",
    ),
    (
        "does not support dynamic",
        "an operator needs a size that is known only when the model runs",
        "give every input a static shape with signature.inputs.<name>.shape",
    ),
    (
        "depends transitively on placeholder",
        "the outputs depend on a placeholder that is neither an input nor a constant",
        "give it a value in signature.constants",
    ),
    (
        "exceeded maximum protobuf size",
        "the model is larger than the 2 GB that one message can hold",
        "models of this size cannot be converted from a GraphDef",
    ),
    (
        "Quantization to 16x8-bit not yet supported for op",
        "TensorFlow's converter has no int16x8 for operators that the model has, such as those on integers",
        "use quantization.backend=litert, which leaves operators on integers as they are",
    ),
)
"""Part of a message, what it means, what to do."""


def explain_failure(error: Exception, graph_def: GraphDef, *, allow_select_ops: bool = False) -> tuple[str, str]:
    """Return a message that names the operators and nodes at fault, where the converter says which, and a hint."""
    text = str(error)
    reports = list(getattr(error, "errors", ()))
    known = next(((meaning, hint) for part, meaning, hint in KNOWN if part in text), None)
    missing = [report for report in reports if report.error_code in (_NEEDS_FLEX, _NEEDS_CUSTOM) and _operator(report)]
    of_a_type = [report for report in missing if _float_type(report)]
    if of_a_type:
        message, hint = _about_types(of_a_type)
        others = _findings([report for report in missing if report not in of_a_type], graph_def)
        more, advice = describe(others, allow_select_ops=allow_select_ops) if others else ("", "")
        return "; and ".join(filter(None, (message, more))), "; ".join(filter(None, (hint, advice)))
    if missing:
        return describe(_findings(missing, graph_def), allow_select_ops=allow_select_ops)
    illegal = [report for report in reports if _operator(report) and _places(report)]
    found = _findings(illegal, graph_def)
    if found:
        named, hint = describe([replace(item, hint="" if known else item.hint, selectable=False) for item in found])
        named = named.split(": ", 1)[1]
        if known:
            return f"{known[0]}: {named}", f"{known[1]}; {hint}" if hint else known[1]
        return f"TensorFlow's converter failed on {named}: {_first_line(illegal[0].error_message)}", hint
    operators = sorted({*_OPERATOR.findall(text), *_LITERT_OPERATOR.findall(text)})
    if known:
        return (f"{known[0]}: {', '.join(operators)}" if operators else known[0]), known[1]
    return f"TensorFlow's converter failed: {_first_line(text) or type(error).__name__}", ""


def _findings(reports: Sequence[Any], graph_def: GraphDef) -> list[Finding]:
    places: dict[str, list[Place]] = {}
    forms: dict[str, str] = {}
    for report in reports:
        operator = _operator(report)
        places.setdefault(operator, []).extend(place for place in _places(report) if place not in places[operator])
        form = _SIGNATURE.search(report.error_message)
        forms.setdefault(operator, form[1] if form else "")
    for found in places.values():
        found.sort(key=str)
    selectable = {_operator(report) for report in reports if report.error_code == _NEEDS_FLEX}
    return [
        replace(finding, hint=finding.hint or _about_form(finding.operator, forms[finding.operator]))
        for finding in findings(places, graph_def, selectable)
    ]


def _float_type(report: Any) -> str:
    """Return the type, other than float32, that keeps an operator from converting which has a counterpart; else ""."""
    form = _SIGNATURE.search(report.error_message) if _operator(report) in BUILTIN else None
    found = _FLOAT_TYPE.search(form[1]) if form else None
    return _FLOAT_TYPES[found[1]] if found else ""


def _about_types(reports: Sequence[Any]) -> tuple[str, str]:
    """Say of a whole model that computes in another type what would otherwise be said of each of its operators."""
    types = sorted({_float_type(report) for report in reports})
    operators = sorted({_operator(report) for report in reports})
    first = next((str(place) for report in reports for place in _places(report)), "")
    hint = _IN_FLOAT32 if "float64" in types else f"{_IN_FLOAT32}; quantization=float16 then ships weights of half the size"
    where = f"{', '.join(operators)}{f'; for instance {first}' if first else ''}"
    return f"the model computes in {' and '.join(types)} ({where}), and LiteRT's operators compute in float32", hint


def _about_form(operator: str, form: str) -> str:
    """Say what is special about this use of an operator that converts in other forms."""
    if operator not in BUILTIN or not form:
        return ""
    if re.search(r"tensor<[^>]*\?", form) or "tensor<*" in form:
        return f"it converts where the shapes are static; here they are not: {form}"
    return f"it converts in other forms, not in this one: {form}"


def _operator(report: Any) -> str:
    name = report.operator.name
    return name.removeprefix("tf.") if name.startswith("tf.") and name != "tf.Const" else ""


def _places(report: Any) -> list[Place]:
    """Return where the node is: a location names it, `@` and its function, and then the nodes that call the function."""
    names = [call.name for call in report.location.call if call.name]
    if not names:
        return []
    node, _, function = names[0].partition("@")
    callers = [name.partition("@")[0] for name in names[1:] if "@" not in name] if function else []
    return [Place(node, callers[-1] if callers else node)]


def _first_line(text: str) -> str:
    """Return the first line that says something, without a Python location before it."""
    for line in text.splitlines():
        said = re.sub(r"^(.*?error: )?(loc\(.*?\)+: )?", "", line).strip()
        if said and said not in ("^", "Could not translate MLIR to FlatBuffer."):
            return said
    return ""
