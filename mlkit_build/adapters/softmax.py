"""`softmax`: turns logits into scores in 0..1 that sum to 1. ML Kit applies none and would show confidences like 3.04."""

from __future__ import annotations

from mlkit_build.adapters import FrozenModel, only, replace_output
from mlkit_build.errors import ConfigError


def adapt(model: FrozenModel) -> FrozenModel:
    """Append a softmax over the last axis of the only output.

    Raises:
        ConfigError: There are several outputs, it has one class, or it is not floating point.
    """
    import tensorflow as tf

    output = only(model.signature.outputs, "output", "softmax")
    if not output.dtype.startswith("float") or not output.shape or output.shape[-1] < 2:
        raise ConfigError(
            f"adapters: softmax needs floating-point logits of at least two classes, found {output.name} "
            f"{list(output.shape)} {output.dtype}",
            "name the tensor of the logits in signature.outputs, or drop the adapter",
        )
    return replace_output(model, output, lambda logits: tf.nn.softmax(logits, name="adapters/softmax"))
