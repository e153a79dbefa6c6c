"""Forms of operators that some runtimes compute wrongly, or refuse, in the very version that TensorFlow's rules give them.

Measured with models of one layer in the runtimes 2.14, 2.16, 2.18, 2.19 and 2.20 of TensorFlow and 1.2, 1.4 and 2.3 of LiteRT,
against the float model: wrong is off by a third of the range of the outputs and more. What begins with an older runtime is the
version in which `runtimes` first knows such types.
"""

from __future__ import annotations

from mlkit_build.records import dataclass
from mlkit_build.tflite.versions.conditions import (
    Condition,
    Operation,
    both,
    grouped,
    kernel,
    per_channel,
    reads,
    unless,
    writes,
)


@dataclass(frozen=True)
class Form:
    """One form of an operator.

    Attributes:
        operator: Its name, e.g. `CONV_2D`.
        what: What makes the form.
        holds: Whether an operator is of the form.
        version: The lowest that no runtime has which computes the form wrongly; if each has it, the highest that there is.
        runtime: The first that computes it rightly; None where none does.
        silent: The runtimes that have the version and compute wrongly; empty when the version keeps them all out.
    """

    operator: str
    what: str
    holds: Condition
    version: int
    runtime: str | None
    silent: str = ""


_HYBRID = kernel("float32", "int8", "float32")
_HYBRID_INT4 = kernel("float32", "int4", "float32")
_INT8_BY_INT4 = kernel("int8", "int4", "int8")
_INT16_BY_INT8 = kernel("int16", "int8", "int16")


def _blocks(op: Operation) -> bool:
    return op.input(1).blocks


def _keeps_rank(op: Operation) -> bool:
    return len(op.output().shape) > 2


def _one_scale_of_many(op: Operation) -> bool:
    return len(op.input(1).scales) == 1 and op.input(1).shape[-1:] != (1,)


FORMS = (
    Form("FULLY_CONNECTED", "int4 weights", both(_HYBRID_INT4, unless(_blocks)), 10, "2.11.0"),
    Form("FULLY_CONNECTED", "weights with a scale per block", _blocks, 14, "2.21.0"),
    Form("FULLY_CONNECTED", "int4 weights with a scale per channel", both(_INT8_BY_INT4, per_channel(1)), 10, "2.19.0"),
    Form("FULLY_CONNECTED", "int16 data", _INT16_BY_INT8, 7, "2.3.0"),
    Form(
        "FULLY_CONNECTED",
        "int16 data of more than two dimensions by weights with a scale per channel",
        both(_INT16_BY_INT8, per_channel(1), _keeps_rank),
        14,
        "2.21.0",
    ),
    Form("CONV_2D", "int16 data", _INT16_BY_INT8, 4, "2.3.0"),
    Form("CONV_2D", "int4 weights", _HYBRID_INT4, 8, "2.19.0", "runtimes 2.15 to 2.18"),
    Form("CONV_2D", "int4 weights", kernel("int16", "int4", "int16"), 8, "2.19.0", "runtimes 2.15 to 2.18"),
    Form("CONV_2D", "groups and int8 weights with one scale", both(_HYBRID, grouped, unless(per_channel(1))), 8, "2.18.0"),
    Form("DEPTHWISE_CONV_2D", "int16 data", _INT16_BY_INT8, 5, "2.3.0"),
    Form("DEPTHWISE_CONV_2D", "int8 weights with one scale", both(_HYBRID, _one_scale_of_many), 4, None, "all runtimes"),
    Form("TRANSPOSE_CONV", "int16 data", both(reads(2, "int16"), writes(0, "int16")), 3, "2.3.0"),
    Form("TRANSPOSE_CONV", "int8 weights for float data", both(reads(1, "int8"), writes(0, "float32")), 2, "2.18.0"),
    Form(
        "BATCH_MATMUL",
        "int8 weights with a scale per channel",
        both(_HYBRID, per_channel(1)),
        4,
        "2.20.0",
        "runtimes before 2.18",
    ),
    Form(
        "BATCH_MATMUL",
        "integer data by weights with a scale per channel",
        both(reads(0, "int8", "int16"), per_channel(1)),
        1,
        None,
        "all runtimes",
    ),
)
